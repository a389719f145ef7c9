//! Group and layer normalisation.

use super::bf16::store_pairs;
use super::math::{for_each_isa, silu};
use super::operand::Output;
use super::parallel::{DisjointSlice, for_each};
use crate::ops::Compute;

/// The number of pixels, or of a layer norm's rows, in a task.
const CHUNK: usize = 256;

/// The parameters of a group norm. `weight` and `bias`: (C).
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    pub channels: usize,
    pub groups: usize,
    pub eps: f64,
    pub weight: &'a [f32],
    pub bias: &'a [f32],
    /// Whether to apply SiLU to the result.
    pub silu: bool,
    /// The type of the output.
    pub output: Compute,
}

/// `x`: (B, `pixels`, C) → the same shape.
pub fn group_norm(x: &[f32], pixels: usize, norm: Norm) -> Output {
    let c = norm.channels;
    let chunks = pixels.div_ceil(CHUNK);
    let images = x.len() / (pixels * c);
    // The offset and length of chunk i, counted over all images.
    let chunk = |i: usize| {
        let first = i % chunks * CHUNK;
        ((i / chunks * pixels + first) * c, CHUNK.min(pixels - first) * c)
    };
    let mut moments = vec![0.; images * chunks * 2 * norm.groups];
    let shared = DisjointSlice::new(&mut moments);
    for_each(images * chunks, |i| {
        let (offset, length) = chunk(i);
        // SAFETY: each chunk has moments of its own.
        let moments = unsafe { shared.slice_mut(i * 2 * norm.groups, 2 * norm.groups) };
        chunk_moments(&x[offset..offset + length], c, norm.groups, moments);
    });
    let scales: Vec<Vec<f32>> =
        moments.chunks(chunks * 2 * norm.groups).map(|moments| scales(moments, pixels, norm)).collect();
    let scale = |out: &DisjointSlice| {
        for_each(images * chunks, |i| {
            let (offset, length) = chunk(i);
            // SAFETY: chunks do not overlap.
            let y = unsafe { out.slice_mut(norm.output.slots(offset), norm.output.slots(length)) };
            scale_chunk(&x[offset..offset + length], &scales[i / chunks], norm.silu, norm.output, y);
        });
    };
    // SAFETY: the chunks cover all of x.
    unsafe { Output::new(norm.output, x.len(), scale) }
}

for_each_isa! {
    /// Writes the mean and the variance of each group in a chunk of pixels to `out` (groups, 2).
    fn chunk_moments(x: &[f32], c: usize, groups: usize, out: &mut [f32]) {
        let size = c / groups;
        let count = (x.len() / groups) as f32;
        let mut sums = vec![0f32; c];
        for pixel in x.chunks_exact(c) {
            sums.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += x);
        }
        let mut means = vec![0f32; c];
        for (group, sums) in sums.chunks_exact(size).enumerate() {
            let mean = sums.iter().sum::<f32>() / count;
            means[group * size..][..size].fill(mean);
            out[2 * group] = mean;
        }
        let mut squares = vec![0f32; c];
        for pixel in x.chunks_exact(c) {
            for ((square, x), mean) in squares.iter_mut().zip(pixel).zip(&means) {
                *square += (x - mean) * (x - mean);
            }
        }
        for (group, squares) in squares.chunks_exact(size).enumerate() {
            out[2 * group + 1] = squares.iter().sum::<f32>() / count;
        }
    }
}

/// The factors of an image's channels, followed by their offsets: normalised x is factor · x + offset. `chunks`: the
/// moments of its chunks.
fn scales(chunks: &[f32], pixels: usize, norm: Norm) -> Vec<f32> {
    let c = norm.channels;
    let mut scales = vec![0.; 2 * c];
    for group in 0..norm.groups {
        // Chan et al. 1979: the variance of a set from those of its parts.
        let (mut n, mut mean, mut deviation) = (0., 0., 0.);
        for (i, chunk) in chunks.chunks_exact(2 * norm.groups).enumerate() {
            let count = CHUNK.min(pixels - i * CHUNK) as f64;
            let delta = f64::from(chunk[2 * group]) - mean;
            deviation += f64::from(chunk[2 * group + 1]) * count + delta * delta * n * count / (n + count);
            mean += delta * count / (n + count);
            n += count;
        }
        let inverse = 1. / (deviation / n + norm.eps).sqrt();
        let size = c / norm.groups;
        for channel in group * size..(group + 1) * size {
            let scale = inverse * f64::from(norm.weight[channel]);
            scales[channel] = scale as f32;
            scales[c + channel] = (f64::from(norm.bias[channel]) - mean * scale) as f32;
        }
    }
    scales
}

/// Computes each row of `$y`, slots of type `$output`, from the same row of `$x` by the body. This is a macro because a
/// closure would be compiled without the caller's target features.
macro_rules! each_row {
    ($x:ident, $c:ident, $output:ident, $y:ident, $bf16:ident, |$row:ident, $out:ident| $body:expr) => {
        match $output {
            Compute::F32 => {
                for ($row, $out) in $x.chunks_exact($c).zip($y.chunks_exact_mut($c)) {
                    $body;
                }
            }
            Compute::Half => {
                let mut unrounded = vec![0.; $c];
                for ($row, slots) in $x.chunks_exact($c).zip($y.chunks_exact_mut($c / 2)) {
                    let $out = &mut unrounded[..];
                    $body;
                    // SAFETY: `for_each_isa` sets `BF16` only for instruction sets that have it.
                    unsafe { store_pairs::<$bf16>(&unrounded, slots) };
                }
            }
        }
    };
}

for_each_isa! {
    fn scale_chunk(x: &[f32], scales: &[f32], with_silu: bool, output: Compute, y: &mut [f32]) {
        let c = scales.len() / 2;
        each_row!(x, c, output, y, BF16, |x, y| scale_row::<FMA>(x, scales, with_silu, y));
    }
}

#[inline(always)]
fn scale_row<const FMA: bool>(x: &[f32], scales: &[f32], with_silu: bool, y: &mut [f32]) {
    let (scale, shift) = scales.split_at(x.len());
    if with_silu {
        for (((y, x), a), b) in y.iter_mut().zip(x).zip(scale).zip(shift) {
            *y = silu::<FMA>(x * a + b);
        }
    } else {
        for (((y, x), a), b) in y.iter_mut().zip(x).zip(scale).zip(shift) {
            *y = x * a + b;
        }
    }
}

/// `x`: (N, C), `weight`, `bias`: (C) → the shape of `x`.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, output: Compute) -> Output {
    let c = weight.len();
    let normalise = |out: &DisjointSlice| {
        for_each(x.len().div_ceil(CHUNK * c), |i| {
            let offset = i * CHUNK * c;
            let x = &x[offset..x.len().min(offset + CHUNK * c)];
            // SAFETY: chunks do not overlap.
            let y = unsafe { out.slice_mut(output.slots(offset), output.slots(x.len())) };
            normalise_rows(x, weight, bias, eps, output, y);
        });
    };
    // SAFETY: the chunks cover all of x.
    unsafe { Output::new(output, x.len(), normalise) }
}

for_each_isa! {
    fn normalise_rows(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, output: Compute, y: &mut [f32]) {
        let c = weight.len();
        each_row!(x, c, output, y, BF16, |x, y| normalise_row(x, weight, bias, eps, y));
    }
}

#[inline(always)]
fn normalise_row(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    let c = x.len() as f32;
    let mean = sum(x, |x| x) / c;
    let variance = sum(x, |x| (x - mean) * (x - mean)) / c;
    let inverse = 1. / (variance + eps).sqrt();
    for (((y, x), a), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
        *y = (x - mean) * inverse * a + b;
    }
}

/// Σ f(x), accumulated in 16 partial sums, which the compiler keeps in a vector.
#[inline(always)]
fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0f32; 16];
    let (vectors, rest) = x.as_chunks::<16>();
    for vector in vectors {
        for (sum, &x) in sums.iter_mut().zip(vector) {
            *sum += f(x);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|&x| f(x)).sum::<f32>()
}
