//! Group and layer normalisation.

use super::gpu::{Gpu, Grid, LANES, VECTOR, address, contiguous_as, launch, suffix, uninit};
use super::product::dtype_of;
use crate::ops::backend;
use crate::ops::norm::GROUPS;
use crate::ops::{Compute, plain};
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{DType, Result, Tensor};

/// Channels times pixels that a block has in hand at once; more channels are left to candle's operations.
const IN_HAND: usize = 4096;

/// Threads of a block at most.
const MOST_THREADS: usize = 512;

/// Parts that a map's pixels are cut into at most.
const MOST_PARTS: usize = 256;

/// Steps that a thread takes through its part at least.
const STEPS: usize = 4;

/// Numbers that are a part's moments of a group.
const MOMENTS: usize = 3;

/// What the kernels take for a norm.
pub struct Affine {
    dtype: DType,
    weight: Tensor, // (C) in f32
    bias: Tensor,   // (C) in f32
    eps: f64,
}

impl Affine {
    /// weight, bias: (C).
    pub fn new(compute: Compute, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Self> {
        let [weight, bias] = [weight, bias].map(|x| contiguous_as(x, DType::F32));
        Ok(Self { dtype: dtype_of(compute), weight: weight?, bias: bias?, eps })
    }
}

/// A group norm on a card.
pub struct GroupNorm(pub Affine);

/// `GroupNorm` of kernels/norm.cu.
#[repr(C)]
struct Groups {
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

// SAFETY: the kernels' struct has the same fields in the same order, all of them plain numbers.
unsafe impl DeviceRepr for Groups {}

impl backend::GroupNorm for GroupNorm {
    fn apply(&self, x: &Tensor, silu: bool) -> Result<Tensor> {
        let Affine { dtype, weight, bias, eps } = &self.0;
        let (b, h, w, c) = x.dims4()?;
        if c > IN_HAND {
            let x = contiguous_as(x, DType::F32)?;
            let y = plain::group_norm(&x, weight, bias, *eps)?;
            return (if silu { y.silu()? } else { y }).to_dtype(*dtype);
        }
        let x = contiguous_as(x, *dtype)?;
        let device = x.device().as_cuda_device()?;
        let (across, pixels) = (c / VECTOR, h * w);
        let down = (IN_HAND / c).min(MOST_THREADS / across).clamp(1, pixels.max(LANES.div_ceil(across)));
        let wanted = (2 * Gpu::of(device)?.multiprocessors).div_ceil(b);
        let parts = pixels.div_ceil(STEPS * down).min(wanted).clamp(1, MOST_PARTS);
        // SAFETY: the first kernel writes all moments, the second all of y.
        let (moments, y) = unsafe {
            let moments = uninit(device, DType::F32, (b, parts, GROUPS, MOMENTS))?;
            (moments, uninit(device, *dtype, x.shape())?)
        };
        let parameters = Groups {
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
        let numbers = suffix(*dtype);
        let grid = |shared| Grid { blocks: [parts, b, 1], threads: [across, down], shared };
        // SAFETY: the addresses are those of tensors of these shapes.
        unsafe {
            launch(device, &format!("group_moments_{numbers}"), grid(down * c * MOMENTS * 4), &parameters)?;
            launch(device, &format!("group_norm_{numbers}"), grid(0), &parameters)?;
        }
        Ok(y)
    }
}

/// A layer norm on a card.
pub struct LayerNorm(pub Affine);

/// `LayerNorm` of kernels/norm.cu.
#[repr(C)]
struct Rows {
    x: u64,
    weight: u64,
    bias: u64,
    y: u64,
    rows: i32,
    c: i32,
    eps: f32,
}

// SAFETY: the kernels' struct has the same fields in the same order, all of them plain numbers.
unsafe impl DeviceRepr for Rows {}

/// Rows to a block: a warp for each.
const ROWS: usize = 4;

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
        let parameters = Rows {
            x: address(&x)?,
            weight: address(weight)?,
            bias: address(bias)?,
            y: address(&y)?,
            rows: rows as i32,
            c: c as i32,
            eps: *eps as f32,
        };
        let grid = Grid { blocks: [rows.div_ceil(ROWS), 1, 1], threads: [ROWS * LANES, 1], shared: 0 };
        // SAFETY: the addresses are those of tensors of these shapes.
        unsafe { launch(device, &format!("layer_norm_{}", suffix(*dtype)), grid, &parameters)? };
        Ok(y)
    }
}
