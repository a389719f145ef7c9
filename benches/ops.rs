//! Each operation at each shape that Stable Diffusion 1.5 has at 512×512 with guidance: checked against its definition in
//! `ops::plain`, timed, and divided by the best rate that a matrix product reaches here.
//!
//! `cargo bench --bench ops [-- half] [cuda] [WORD]`: `half` for products in half precision, which is bf16 or on GPUs f16;
//! `cuda` for a GPU; WORD for only the operations whose line contains it.

mod support;

use candle_core::{DType, Result, Tensor};
use support::{median_with, on_device, place, random, relative_rms, take, weight};
use txt2img::ops::{self, Compute, Conv2d, ConvOptions, Geglu, GroupNorm, LayerNorm, Linear, UpsampledConv2d};

/// 3×3 convolutions: (calls per step, B, side, C_in, C_out); the last six are the decoder's, for one image.
const CONVOLUTIONS: [(usize, usize, usize, usize, usize); 22] = [
    (7, 2, 64, 320, 320),
    (2, 2, 64, 640, 320),
    (1, 2, 64, 960, 320),
    (1, 2, 32, 320, 640),
    (6, 2, 32, 640, 640),
    (1, 2, 32, 960, 640),
    (1, 2, 32, 1280, 640),
    (1, 2, 32, 1920, 640),
    (1, 2, 16, 640, 1280),
    (6, 2, 16, 1280, 1280),
    (1, 2, 16, 1920, 1280),
    (2, 2, 16, 2560, 1280),
    (11, 2, 8, 1280, 1280),
    (3, 2, 8, 2560, 1280),
    (1, 2, 64, 4, 320),
    (1, 2, 64, 320, 4),
    (10, 1, 64, 512, 512),
    (6, 1, 128, 512, 512),
    (1, 1, 256, 512, 256),
    (5, 1, 256, 256, 256),
    (1, 1, 512, 256, 128),
    (5, 1, 512, 128, 128),
];

/// 3×3 convolutions of upsampled maps, once per step or picture: (B, side of the output, C); the last three are the decoder's.
const UPSAMPLED: [(usize, usize, usize); 6] =
    [(2, 16, 1280), (2, 32, 1280), (2, 64, 640), (1, 128, 512), (1, 256, 512), (1, 512, 256)];

/// Linear layers and 1×1 convolutions: (calls per step, rows, C_in, C_out).
const LINEARS: [(usize, usize, usize, usize); 9] = [
    (30, 8192, 320, 320),
    (5, 8192, 1280, 320),
    (30, 2048, 640, 640),
    (5, 2048, 2560, 640),
    (30, 512, 1280, 1280),
    (5, 512, 5120, 1280),
    (6, 128, 1280, 1280),
    (10, 154, 768, 1280),
    (1, 1, 1280, 20160),
];

/// GEGLU: (calls per step, rows, C).
const GEGLUS: [(usize, usize, usize); 4] = [(5, 8192, 320), (5, 2048, 640), (5, 512, 1280), (1, 128, 1280)];

/// Attention: (calls per step, B, queries, keys, heads, width of a head).
const ATTENTIONS: [(usize, usize, usize, usize, usize, usize); 9] = [
    (5, 2, 4096, 4096, 8, 40),
    (5, 2, 1024, 1024, 8, 80),
    (5, 2, 256, 256, 8, 160),
    (1, 2, 64, 64, 8, 160),
    (5, 2, 4096, 77, 8, 40),
    (5, 2, 1024, 77, 8, 80),
    (5, 2, 256, 77, 8, 160),
    (1, 2, 64, 77, 8, 160),
    (1, 1, 4096, 4096, 1, 512),
];

/// The sum of a step of PLMS: the number of eps, and the number of elements of each.
const EPS: [usize; 2] = [4, 16384];

/// Norms: (B, side, C).
const NORMS: [(usize, usize, usize); 5] = [(2, 64, 320), (2, 32, 640), (2, 16, 1280), (2, 8, 2560), (1, 256, 256)];

fn main() -> anyhow::Result<()> {
    ops::keep_memory();
    on_device(operations)
}

/// Measures the operations that `words` ask for.
fn operations(mut words: Vec<String>) -> anyhow::Result<()> {
    let products = if take(&mut words, "half") { Compute::Half } else { Compute::F32 };
    let mut table = Table { products, peak: peak(products)?, word: words.pop().unwrap_or_default() };
    println!("{products:?}, best product: {:.0} GFLOP/s on {}", table.peak, place());
    println!("| operation | calls | ms | GFLOP/s | of the best | error |\n| --- | ---: | ---: | ---: | ---: | ---: |");
    for (calls, b, side, c_in, c_out) in CONVOLUTIONS {
        let name = format!("conv 3×3 {b}×{side}²×{c_in} → {c_out}");
        let flop = 18. * (b * side * side * c_in * c_out) as f64;
        table.line(&name, calls, flop, || {
            let (x, w, bias) =
                (map(products, &[b, side, side, c_in])?, weight(&[c_out, c_in, 3, 3])?, random(&[c_out])?);
            let conv = Conv2d::new(products, &w, &bias, ConvOptions { large_maps: b == 1, ..1.into() })?;
            Ok((move |x: &Tensor| conv.forward(x), x, move |x: &Tensor| ops::plain::conv3x3(&plain(x)?, &w, &bias, 1)))
        })?;
    }
    for (b, side, c) in UPSAMPLED {
        let name = format!("upsampled conv 3×3 {b}×{side}²×{c}");
        table.line(&name, 1, 18. * (b * side * side * c * c) as f64, || {
            let x = map(products, &[b, side / 2, side / 2, c])?;
            let (w, bias) = (weight(&[c, c, 3, 3])?, random(&[c])?);
            let conv = UpsampledConv2d::new(products, &w, &bias, b == 1)?;
            let definition = move |x: &Tensor| ops::plain::conv3x3_upsampled(&plain(x)?, &w, &bias, side, side);
            Ok((move |x: &Tensor| conv.forward(x, side, side), x, definition))
        })?;
    }
    for (calls, n, c_in, c_out) in LINEARS {
        let name = format!("linear {n}×{c_in} → {c_out}");
        table.line(&name, calls, 2. * (n * c_in * c_out) as f64, || {
            let (x, w, bias) = (operand(products, &[n, c_in])?, weight(&[c_out, c_in])?, random(&[c_out])?);
            let linear = Linear::new(products, &w, Some(&bias))?;
            Ok((
                move |x: &Tensor| linear.forward(x),
                x,
                move |x: &Tensor| ops::plain::linear(&plain(x)?, &w, Some(&bias)),
            ))
        })?;
    }
    for (calls, n, c) in GEGLUS {
        let name = format!("geglu {n}×{c} → {}", 4 * c);
        table.line(&name, calls, 16. * (n * c * c) as f64, || {
            let (x, w, bias) = (operand(products, &[n, c])?, weight(&[8 * c, c])?, random(&[8 * c])?);
            let geglu = Geglu::new(products, &w, &bias)?;
            Ok((move |x: &Tensor| geglu.forward(x), x, move |x: &Tensor| ops::plain::geglu(&plain(x)?, &w, &bias)))
        })?;
    }
    for (calls, b, n, m, h, d) in ATTENTIONS {
        let name = format!("attention {b}×{n}×{m}, {h} heads of {d}");
        table.line(&name, calls, 4. * (b * n * m * h * d) as f64, || {
            let (q, k) = (operand(products, &[b, n, h * d])?, operand(products, &[b, m, h * d])?);
            let keys = plain(&k)?;
            Ok((
                move |q: &Tensor| ops::attention(products, q, &k, &k, h),
                q,
                move |q: &Tensor| ops::plain::attention(&plain(q)?, &keys, &keys, h),
            ))
        })?;
    }
    for (b, side, c) in NORMS {
        let (weight, bias) = (random(&[c])?, random(&[c])?);
        table.line(&format!("group norm, silu {b}×{side}²×{c}"), 1, 10. * (b * side * side * c) as f64, || {
            let norm = GroupNorm::new(products, &weight, &bias, 1e-5)?;
            let plain = move |x: &Tensor| ops::plain::group_norm(&plain(x)?, &weight, &bias, 1e-5)?.silu();
            Ok((move |x: &Tensor| norm.forward_silu(x), map(products, &[b, side, side, c])?, plain))
        })?;
        let (weight, bias) = (random(&[c])?, random(&[c])?);
        table.line(&format!("layer norm {b}×{side}²×{c}"), 1, 8. * (b * side * side * c) as f64, || {
            let norm = LayerNorm::new(products, &weight, &bias)?;
            let plain = move |x: &Tensor| ops::plain::layer_norm(&plain(x)?, &weight, &bias);
            Ok((move |x: &Tensor| norm.forward(x), map(products, &[b, side * side, c])?, plain))
        })?;
    }
    let [n, numbers] = EPS;
    table.line(&format!("sum of {n}×{numbers}"), 1, 2. * (n * numbers) as f64, || {
        let terms = move |x: &Tensor| ops::weighted_sum(&vec![(x, 0.3); n]);
        Ok((terms, random(&[numbers])?, move |x: &Tensor| ops::plain::weighted_sum(&vec![(x, 0.3); n])))
    })?;
    Ok(())
}

/// A random map of the type that is kept between layers.
fn map(products: Compute, shape: &[usize]) -> Result<Tensor> {
    let x = random(shape)?;
    if x.device().is_cuda() { operand(products, shape) } else { Ok(x) }
}

/// A random operand of a product, of the type that the layer before it would return.
fn operand(products: Compute, shape: &[usize]) -> Result<Tensor> {
    let x = random(shape)?;
    x.to_dtype(match products {
        Compute::Half if x.device().is_cuda() => DType::F16,
        Compute::Half if ops::has_bf16() => DType::BF16,
        _ => DType::F32,
    })
}

/// Converts an operand for candle's operations.
fn plain(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::F32)
}

/// The best rate of a product in GFLOP/s: on CPUs of one whose operands stay in the caches, on GPUs of one that occupies
/// all multiprocessors.
fn peak(products: Compute) -> Result<f64> {
    let (n, c) = if random(&[1])?.device().is_cuda() { (8192, 4096) } else { (1536, 512) };
    let (x, linear) = (operand(products, &[n, c])?, Linear::new(products, &weight(&[c, c])?, None)?);
    Ok(2. * (n * c * c) as f64 / median_with(50, &x, |x| linear.forward(x))? / 1e9)
}

struct Table {
    products: Compute,
    peak: f64, // GFLOP/s
    word: String,
}

impl Table {
    /// Prints the line of an operation. `case` returns the kernel, its input, and its definition.
    fn line<K, P>(
        &mut self,
        name: &str,
        calls: usize,
        flop: f64,
        case: impl FnOnce() -> Result<(K, Tensor, P)>,
    ) -> Result<()>
    where
        K: Fn(&Tensor) -> Result<Tensor>,
        P: Fn(&Tensor) -> Result<Tensor>,
    {
        if !name.contains(&self.word) {
            return Ok(());
        }
        let (kernel, x, plain) = case()?;
        let error = relative_rms(&kernel(&x)?, &plain(&x)?)?;
        let limit = if self.products == Compute::Half { 1e-2 } else { 1e-5 };
        assert!(error < limit, "{name}: relative RMS error {error:.1e}");
        let seconds = median_with(5, &x, kernel)?;
        let rate = flop / seconds / 1e9;
        let share = 100. * rate / self.peak;
        println!("| {name} | {calls} | {:.3} | {rate:.0} | {share:.0}% | {error:.0e} |", 1e3 * seconds);
        Ok(())
    }
}
