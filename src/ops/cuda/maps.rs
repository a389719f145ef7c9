//! Copies of maps, and sums of latents.

use super::abi::{self, CONCAT_PARAMS_SIZE, PAD_PARAMS_SIZE, UPSAMPLE_PARAMS_SIZE, WEIGHTED_SUM_PARAMS_SIZE};
use super::gpu::{Grid, address, contiguous_as, kernel_params, launch, suffix, uninit};
use crate::ops::sum::MAX_TERMS;
use candle_core::{DType, Result, Tensor};

/// `UpsampleParams` of kernels/maps.cu.
#[repr(C)]
struct UpsampleParams {
    x: u64,
    y: u64,
    words: u64,
    h: i32,
    w: i32,
    c: i32,
    height: i32,
    width: i32,
}

/// `ConcatParams` of kernels/maps.cu.
#[repr(C)]
struct ConcatParams {
    x: u64,
    skip: u64,
    y: u64,
    words: u64,
    pixels_skip: u64,
    c_x: i32,
    c_skip: i32,
}

/// `PadParams` of kernels/maps.cu.
#[repr(C)]
struct PadParams {
    x: u64,
    y: u64,
    elements: u64,
    c: i32,
    padded: i32,
}

/// `WeightedSumParams` of kernels/maps.cu.
#[repr(C)]
struct WeightedSumParams {
    x: [u64; MAX_TERMS],
    weights: [f64; MAX_TERMS],
    y: u64,
    elements: u64,
    terms: i32,
}

kernel_params!(UpsampleParams, UPSAMPLE_PARAMS_SIZE);
kernel_params!(ConcatParams, CONCAT_PARAMS_SIZE);
kernel_params!(PadParams, PAD_PARAMS_SIZE);
kernel_params!(WeightedSumParams, WEIGHTED_SUM_PARAMS_SIZE);

const _: () = assert!(abi::MAX_TERMS == MAX_TERMS);

/// Nearest-neighbour doubling, cropped. `x`: (B, h, w, C) → (B, `height`, `width`, C).
pub fn upsample_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (b, h, w, c) = x.dims4()?;
    let device = x.device().as_cuda_device()?;
    // SAFETY: the kernel writes all of it.
    let y = unsafe { uninit(device, x.dtype(), (b, height, width, c))? };
    let size = x.dtype().size_in_bytes();
    let word = word([c * size]);
    let words = y.elem_count() * size / word;
    let params = UpsampleParams {
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
    unsafe { launch(device, &format!("upsample_{word}"), Grid::of(words), &params)? };
    Ok(y)
}

/// Concatenates channels, repeating `skip`. `x`: (R·B, h, w, C_x), `skip`: (B, h, w, C_skip) → (R·B, h, w, C_x + C_skip).
pub fn concat(x: &Tensor, skip: &Tensor) -> Result<Tensor> {
    let (x, skip) = (x.contiguous()?, contiguous_as(skip, x.dtype())?);
    let ((b, h, w, c_x), (b_skip, _, _, c_skip)) = (x.dims4()?, skip.dims4()?);
    let device = x.device().as_cuda_device()?;
    // SAFETY: the kernel writes all of it.
    let y = unsafe { uninit(device, x.dtype(), (b, h, w, c_x + c_skip))? };
    let size = x.dtype().size_in_bytes();
    let word = word([c_x * size, c_skip * size]);
    let words = y.elem_count() * size / word;
    let params = ConcatParams {
        x: address(&x)?,
        skip: address(&skip)?,
        y: address(&y)?,
        words: words as u64,
        pixels_skip: (b_skip * h * w) as u64,
        c_x: (c_x * size / word) as i32,
        c_skip: (c_skip * size / word) as i32,
    };
    // SAFETY: the addresses are those of tensors of these shapes.
    unsafe { launch(device, &format!("concat_{word}"), Grid::of(words), &params)? };
    Ok(y)
}

/// Pads channels with zeros and converts to `dtype`. `x`: (…, C) → (…, `padded`), contiguous.
pub fn pad_channels(x: &Tensor, padded: usize, dtype: DType) -> Result<Tensor> {
    let x = x.contiguous()?;
    let mut shape = x.dims().to_vec();
    let c = shape.pop().unwrap_or(1);
    if c == padded && x.dtype() == dtype {
        return Ok(x);
    }
    shape.push(padded);
    let device = x.device().as_cuda_device()?;
    // SAFETY: the kernel writes all of it.
    let y = unsafe { uninit(device, dtype, shape)? };
    let elements = y.elem_count();
    let params =
        PadParams { x: address(&x)?, y: address(&y)?, elements: elements as u64, c: c as i32, padded: padded as i32 };
    let name = format!("pad_{}_{}", suffix(x.dtype()), suffix(dtype));
    // SAFETY: the addresses are those of tensors of these shapes.
    unsafe { launch(device, &name, Grid::of(elements), &params)? };
    Ok(y)
}

/// Σ weight · x in f64, rounded once to f32. `terms`: 1 to `MAX_TERMS` tensors of one shape.
pub fn weighted_sum(terms: &[(&Tensor, f64)]) -> Result<Tensor> {
    let device = terms[0].0.device().as_cuda_device()?;
    let all = terms.iter().map(|(x, _)| contiguous_as(x, DType::F32)).collect::<Result<Vec<_>>>()?;
    // SAFETY: the kernel writes all of it.
    let y = unsafe { uninit(device, DType::F32, terms[0].0.shape())? };
    let elements = y.elem_count();
    let (mut x, mut weights) = ([0; MAX_TERMS], [0.; MAX_TERMS]);
    for (i, (term, (_, weight))) in all.iter().zip(terms).enumerate() {
        (x[i], weights[i]) = (address(term)?, *weight);
    }
    let params =
        WeightedSumParams { x, weights, y: address(&y)?, elements: elements as u64, terms: terms.len() as i32 };
    // SAFETY: the addresses are those of tensors of this shape.
    unsafe { launch(device, "weighted_sum", Grid::of(elements), &params)? };
    Ok(y)
}

/// Returns the size of the largest word that divides rows of each of these sizes, in bytes.
fn word<const N: usize>(bytes: [usize; N]) -> usize {
    [16, 4, 2].into_iter().find(|word| bytes.iter().all(|bytes| bytes % word == 0)).unwrap_or(2)
}
