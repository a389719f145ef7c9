//! Maps made of others, and sums of latents.

use super::gpu::{Grid, address, contiguous_as, launch, suffix, uninit};
use crate::ops::sum::MAX_TERMS;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{DType, Result, Tensor};

/// `Upsample` of kernels/maps.cu.
#[repr(C)]
struct Upsample {
    x: u64,
    y: u64,
    words: u64,
    h: i32,
    w: i32,
    c: i32,
    height: i32,
    width: i32,
}

/// `Concat` of kernels/maps.cu.
#[repr(C)]
struct Concat {
    x: u64,
    skip: u64,
    y: u64,
    words: u64,
    pixels_skip: u64,
    c_x: i32,
    c_skip: i32,
}

/// `Widen` of kernels/maps.cu.
#[repr(C)]
struct Widen {
    x: u64,
    y: u64,
    numbers: u64,
    c: i32,
    wide: i32,
}

/// `Sum` of kernels/maps.cu.
#[repr(C)]
struct Sum {
    x: [u64; MAX_TERMS],
    weights: [f64; MAX_TERMS],
    y: u64,
    numbers: u64,
    terms: i32,
}

// SAFETY: the kernels' structs have the same fields in the same order, all of them plain numbers.
unsafe impl DeviceRepr for Upsample {}
// SAFETY: as above.
unsafe impl DeviceRepr for Concat {}
// SAFETY: as above.
unsafe impl DeviceRepr for Widen {}
// SAFETY: as above.
unsafe impl DeviceRepr for Sum {}

/// x: (B, h, w, C) → (B, height, width, C), doubled and cut.
pub fn upsample_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (b, h, w, c) = x.dims4()?;
    let device = x.device().as_cuda_device()?;
    // SAFETY: the kernel writes all of it.
    let y = unsafe { uninit(device, x.dtype(), (b, height, width, c))? };
    let size = x.dtype().size_in_bytes();
    let word = word([c * size]);
    let words = y.elem_count() * size / word;
    let parameters = Upsample {
        x: address(&x)?,
        y: address(&y)?,
        words: words as u64,
        h: h as i32,
        w: w as i32,
        c: (c * size / word) as i32,
        height: height as i32,
        width: width as i32,
    };
    // SAFETY: the addresses are those of tensors of these shapes.
    unsafe { launch(device, &format!("upsample_{word}"), Grid::of(words), &parameters)? };
    Ok(y)
}

/// x: (R·B, h, w, C_x), skip: (B, h, w, C_skip), again and again → (R·B, h, w, C_x + C_skip).
pub fn concat(x: &Tensor, skip: &Tensor) -> Result<Tensor> {
    let (x, skip) = (x.contiguous()?, contiguous_as(skip, x.dtype())?);
    let ((b, h, w, c_x), (b_skip, _, _, c_skip)) = (x.dims4()?, skip.dims4()?);
    let device = x.device().as_cuda_device()?;
    // SAFETY: the kernel writes all of it.
    let y = unsafe { uninit(device, x.dtype(), (b, h, w, c_x + c_skip))? };
    let size = x.dtype().size_in_bytes();
    let word = word([c_x * size, c_skip * size]);
    let words = y.elem_count() * size / word;
    let parameters = Concat {
        x: address(&x)?,
        skip: address(&skip)?,
        y: address(&y)?,
        words: words as u64,
        pixels_skip: (b_skip * h * w) as u64,
        c_x: (c_x * size / word) as i32,
        c_skip: (c_skip * size / word) as i32,
    };
    // SAFETY: the addresses are those of tensors of these shapes.
    unsafe { launch(device, &format!("concat_{word}"), Grid::of(words), &parameters)? };
    Ok(y)
}

/// x: (…, C) → (…, wide) in one piece, zeros behind each row, as this type.
pub fn widened(x: &Tensor, wide: usize, dtype: DType) -> Result<Tensor> {
    let x = x.contiguous()?;
    let mut shape = x.dims().to_vec();
    let c = shape.pop().unwrap_or(1);
    if c == wide && x.dtype() == dtype {
        return Ok(x);
    }
    shape.push(wide);
    let device = x.device().as_cuda_device()?;
    // SAFETY: the kernel writes all of it.
    let y = unsafe { uninit(device, dtype, shape)? };
    let numbers = y.elem_count();
    let parameters =
        Widen { x: address(&x)?, y: address(&y)?, numbers: numbers as u64, c: c as i32, wide: wide as i32 };
    let name = format!("widen_{}_{}", suffix(x.dtype()), suffix(dtype));
    // SAFETY: the addresses are those of tensors of these shapes.
    unsafe { launch(device, &name, Grid::of(numbers), &parameters)? };
    Ok(y)
}

/// Σ weight · x: at least one term and at most `MAX_TERMS`, of one shape.
pub fn weighted_sum(terms: &[(&Tensor, f64)]) -> Result<Tensor> {
    let device = terms[0].0.device().as_cuda_device()?;
    let all = terms.iter().map(|(x, _)| contiguous_as(x, DType::F32)).collect::<Result<Vec<_>>>()?;
    // SAFETY: the kernel writes all of it.
    let y = unsafe { uninit(device, DType::F32, terms[0].0.shape())? };
    let numbers = y.elem_count();
    let (mut x, mut weights) = ([0; MAX_TERMS], [0.; MAX_TERMS]);
    for (i, (term, (_, weight))) in all.iter().zip(terms).enumerate() {
        (x[i], weights[i]) = (address(term)?, *weight);
    }
    let parameters = Sum { x, weights, y: address(&y)?, numbers: numbers as u64, terms: terms.len() as i32 };
    // SAFETY: the addresses are those of tensors of this shape.
    unsafe { launch(device, "weighted_sum", Grid::of(numbers), &parameters)? };
    Ok(y)
}

/// The largest word that rows of so many bytes are whole numbers of.
fn word<const N: usize>(bytes: [usize; N]) -> usize {
    [16, 4, 2].into_iter().find(|word| bytes.iter().all(|bytes| bytes % word == 0)).unwrap_or(2)
}
