//! 3×3 convolutions with padding 1: Winograd's where it pays, else nine matrix products in one.

use super::cost::Cost;
use super::gemm::{Epilogue, Places, gemm};
use super::isa::isa;
use super::operand::Made;
use super::packed::Packed;
use super::winograd::{LANES, Size, Winograd};
use crate::ops::Compute;

/// The size of an input: B maps of h·w pixels.
#[derive(Clone, Copy)]
pub struct Map {
    pub b: usize,
    pub h: usize,
    pub w: usize,
}

/// What is added to a convolution's output.
#[derive(Clone, Copy)]
pub struct Addends<'a> {
    /// C_out numbers, to each pixel.
    pub bias: &'a [f32],
    /// As large as the output.
    pub residual: Option<&'a [f32]>,
}

/// A kernel, packed.
pub enum Conv3x3 {
    /// K is 9 · C_in: taps from left to right and top to bottom.
    Direct { weight: Packed, c_in: usize, stride: usize },
    /// Stride 1 only.
    Winograd(Winograd),
}

/// Layers this wide work on maps so small that reading the weights takes the time: they had better not grow by 4.
const MANY_CHANNELS: usize = 1280;

/// With so many the products take longer than the transforms, of which there are more for the smaller tile.
const ENOUGH_CHANNELS: usize = 320;

/// How a kernel of these channels is applied.
enum Way {
    Direct(Compute),
    Winograd(Size, Compute),
}

impl Way {
    fn new(wanted: Compute, c_in: usize, c_out: usize, stride: usize) -> Self {
        match wanted.possible(isa(), c_in) {
            _ if stride > 1 => Self::Direct(wanted),
            // Too few for the transforms, and the less to save.
            _ if c_in < LANES || c_out < LANES => Self::Direct(Compute::F32),
            // The smaller tile: the larger one's transforms would cost two digits of the three there are.
            Compute::Half if c_in.min(c_out) >= ENOUGH_CHANNELS => Self::Winograd(Size::Two, Compute::Half),
            _ if c_out >= MANY_CHANNELS => Self::Winograd(Size::Two, Compute::F32),
            _ => Self::Winograd(Size::Four, Compute::F32),
        }
    }
}

impl Conv3x3 {
    /// weight: (C_out, C_in, 3, 3).
    pub fn new(wanted: Compute, weight: &[f32], c_in: usize, stride: usize) -> Self {
        let c_out = weight.len() / (9 * c_in);
        let at = |k: usize, o: usize| weight[(o * c_in + k % c_in) * 9 + k / c_in];
        match Way::new(wanted, c_in, c_out, stride) {
            Way::Direct(compute) => {
                Self::Direct { weight: Packed::new(isa(), compute, 9, 9 * c_in, c_out, at), c_in, stride }
            }
            Way::Winograd(size, compute) => Self::Winograd(Winograd::new(isa(), compute, size, weight, c_in, c_out)),
        }
    }

    /// What a kernel of these channels comes to, without its weights; for one pixel.
    pub fn cost(wanted: Compute, c_in: usize, c_out: usize, stride: usize) -> Cost {
        match Way::new(wanted, c_in, c_out, stride) {
            Way::Direct(compute) => Packed::cost(isa(), compute, 9, 9 * c_in, c_out),
            Way::Winograd(size, compute) => Winograd::cost(isa(), compute, size, c_in, c_out),
        }
    }

    /// x: (B, h, w, C_in) → (B, ⌈h/stride⌉, ⌈w/stride⌉, C_out).
    pub fn forward(&self, x: &[f32], map: Map, addends: Addends) -> Made {
        match self {
            Self::Winograd(winograd) => Made::F32(winograd.forward(x, map, addends)),
            Self::Direct { weight, c_in, stride } => direct(x, map, weight, *c_in, *stride, addends),
        }
    }
}

fn direct(x: &[f32], map: Map, weight: &Packed, c: usize, stride: usize, addends: Addends) -> Made {
    let (width, padded) = (map.w + 2, pad(x, map, c));
    let taps: Vec<usize> = (0..9).map(|tap| (tap / 3 * width + tap % 3) * c).collect();
    let (h, w) = (map.h.div_ceil(stride), map.w.div_ceil(stride));
    let rows: Vec<usize> = (0..map.b * h * w)
        .map(|i| ((i / (h * w) * (map.h + 2) + i / w % h * stride) * width + i % w * stride) * c)
        .collect();
    let epilogue = Epilogue { bias: Some(addends.bias), residual: addends.residual, ..Epilogue::default() };
    gemm(padded[..].into(), Places { rows: &rows, taps: &taps }, weight, epilogue)
}

/// A pixel of zeros around each map.
fn pad(x: &[f32], map: Map, c: usize) -> Vec<f32> {
    let line = (map.w + 2) * c;
    let mut padded = vec![0.; map.b * (map.h + 2) * line];
    for (i, row) in x.chunks_exact(map.w * c).enumerate() {
        let line = &mut padded[(i / map.h * (map.h + 2) + i % map.h + 1) * line..][..line];
        line[c..c + row.len()].copy_from_slice(row);
    }
    padded
}
