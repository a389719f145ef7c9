//! Group and layer normalisation.

use super::abi::{
    self, GROUP_NORM_PARAMS_SIZE, GROUP_NORM_THREADS, LANES, LAYER_NORM_PARAMS_SIZE, LAYER_NORM_ROWS, MOMENTS_SIZE,
    VECTOR,
};
use super::gemm::dtype_of;
use super::gpu::{Gpu, Grid, address, contiguous_as, kernel_params, launch, suffix, uninit};
use crate::ops::backend;
use crate::ops::norm::GROUPS;
use crate::ops::{Compute, plain};
use candle_core::{DType, Result, Tensor};

/// Channels times rows of threads of a group norm's block. Wider maps are left to candle's operations.
const BLOCK_CHANNELS: usize = 4096;

/// The most parts that a map's pixels are split into.
const MAX_PARTS: usize = 256;

/// The fewest pixels of a thread, unless the map is small.
const MIN_PIXELS: usize = 4;

/// Elements of the moments of a group.
const MOMENTS: usize = MOMENTS_SIZE / size_of::<f32>();

const _: () = assert!(abi::GROUPS == GROUPS);

/// The weights of a norm on a GPU.
pub struct Affine {
    dtype: DType,
    weight: Tensor, // (C) in f32
    bias: Tensor,   // (C) in f32
    eps: f64,
}

impl Affine {
    /// `weight`, `bias`: (C).
    pub fn new(compute: Compute, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Self> {
        let [weight, bias] = [weight, bias].map(|x| contiguous_as(x, DType::F32));
        Ok(Self { dtype: dtype_of(compute), weight: weight?, bias: bias?, eps })
    }
}

/// A group norm on a GPU.
pub struct GroupNorm(pub Affine);

/// `GroupNormParams` of kernels/norm.cu.
#[repr(C)]
struct GroupNormParams {
    x: u64,
    weight: u64,
    bias: u64,
    moments: u64,
    y: u64,
    parts: i32,
    pixels: i32,
    c: i32,
    eps: f32,
    silu: i32,
}

kernel_params!(GroupNormParams, GROUP_NORM_PARAMS_SIZE);

impl backend::GroupNorm for GroupNorm {
    fn apply(&self, x: &Tensor, silu: bool) -> Result<Tensor> {
        let Affine { dtype, weight, bias, eps } = &self.0;
        let (b, h, w, c) = x.dims4()?;
        if c > BLOCK_CHANNELS {
            let x = contiguous_as(x, DType::F32)?;
            let y = plain::group_norm(&x, weight, bias, *eps)?;
            return (if silu { y.silu()? } else { y }).to_dtype(*dtype);
        }
        let x = contiguous_as(x, *dtype)?;
        let device = x.device().as_cuda_device()?;
        let (across, pixels) = (c / VECTOR, h * w);
        let down = (BLOCK_CHANNELS / c).min(GROUP_NORM_THREADS / across).clamp(1, pixels.max(LANES.div_ceil(across)));
        let wanted = (2 * Gpu::of(device)?.multiprocessors).div_ceil(b);
        let parts = pixels.div_ceil(MIN_PIXELS * down).min(wanted).clamp(1, MAX_PARTS);
        // SAFETY: the first kernel writes all moments, the second all of y.
        let (moments, y) = unsafe {
            let moments = uninit(device, DType::F32, (b, parts, GROUPS, MOMENTS))?;
            (moments, uninit(device, *dtype, x.shape())?)
        };
        let params = GroupNormParams {
            x: address(&x)?,
            weight: address(weight)?,
            bias: address(bias)?,
            moments: address(&moments)?,
            y: address(&y)?,
            parts: parts as i32,
            pixels: pixels as i32,
            c: c as i32,
            eps: *eps as f32,
            silu: silu.into(),
        };
        let suffix = suffix(*dtype);
        let grid = |shared| Grid { blocks: [parts, b, 1], threads: [across, down], shared };
        // SAFETY: the addresses are those of tensors of these shapes.
        unsafe {
            launch(device, &format!("group_moments_{suffix}"), grid(down * c * MOMENTS * 4), &params)?;
            launch(device, &format!("group_norm_{suffix}"), grid(0), &params)?;
        }
        Ok(y)
    }
}

/// A layer norm on a GPU.
pub struct LayerNorm(pub Affine);

/// `LayerNormParams` of kernels/norm.cu.
#[repr(C)]
struct LayerNormParams {
    x: u64,
    weight: u64,
    bias: u64,
    y: u64,
    rows: i32,
    c: i32,
    eps: f32,
}

kernel_params!(LayerNormParams, LAYER_NORM_PARAMS_SIZE);

impl backend::LayerNorm for LayerNorm {
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let Affine { dtype, weight, bias, eps } = &self.0;
        let c = weight.elem_count();
        if !c.is_multiple_of(VECTOR) {
            let x = contiguous_as(x, DType::F32)?;
            return plain::layer_norm(&x, weight, bias)?.to_dtype(*dtype);
        }
        let x = contiguous_as(x, *dtype)?;
        let device = x.device().as_cuda_device()?;
        let rows = x.elem_count() / c;
        // SAFETY: the kernel writes all of it.
        let y = unsafe { uninit(device, *dtype, x.shape())? };
        let params = LayerNormParams {
            x: address(&x)?,
            weight: address(weight)?,
            bias: address(bias)?,
            y: address(&y)?,
            rows: rows as i32,
            c: c as i32,
            eps: *eps as f32,
        };
        let grid =
            Grid { blocks: [rows.div_ceil(LAYER_NORM_ROWS), 1, 1], threads: [LAYER_NORM_ROWS * LANES, 1], shared: 0 };
        // SAFETY: the addresses are those of tensors of these shapes.
        unsafe { launch(device, &format!("layer_norm_{}", suffix(*dtype)), grid, &params)? };
        Ok(y)
    }
}
