//! Linear layers and convolutions.

use super::abi::{GEMM_F16_BK, GEMM_PARAMS_SIZE, GEMV_ROWS, LANES, VECTOR};
use super::gemm_config::GemmConfig;
use super::gpu::{Grid, address, contiguous_as, kernel_params, launch, suffix, uninit};
use super::maps::pad_channels;
use crate::ops::Compute;
use crate::ops::backend::{Addends, MatMul};
use candle_core::{DType, Result, Tensor};

/// The successive values in GEGLU's weight, which as many gates follow.
pub const GEGLU_RUN: usize = VECTOR / 2;

/// The weight of a linear layer or convolution on a GPU.
pub struct Gemm {
    dtype: DType,
    weight: Tensor,       // (N, window, window, C), C padded with zeros to a multiple of `VECTOR`
    bias: Option<Tensor>, // (N) in f32
    n: usize,
    c: usize,
    window: usize,
    stride: usize,
    geglu: bool,
}

/// `GemmParams` of kernels/gemm.cu.
#[repr(C)]
struct GemmParams {
    x: u64,
    weight: u64,
    bias: u64,
    shift: u64,
    residual: u64,
    y: u64,
    partials: u64,
    splits: i32,
    m: i32,
    n: i32,
    c: i32,
    h: i32,
    w: i32,
    h_out: i32,
    w_out: i32,
    window: i32,
    stride: i32,
    geglu: i32,
}

kernel_params!(GemmParams, GEMM_PARAMS_SIZE);

impl Gemm {
    /// A linear layer. `weight`: (C_out, C_in), `bias`: (C_out).
    pub fn linear(compute: Compute, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let (n, c) = weight.dims2()?;
        Self::new(compute, &weight.reshape((n, 1, 1, c))?, bias, 1)
    }

    /// A linear layer followed by GEGLU. `weight`: (2C_out, C_in), `bias`: (2C_out), `GEGLU_RUN` values and as many gates
    /// in turn.
    pub fn geglu(compute: Compute, weight: &Tensor, bias: &Tensor) -> Result<Self> {
        Ok(Self { geglu: true, ..Self::linear(compute, weight, Some(bias))? })
    }

    /// A 3×3 convolution with padding 1. `weight`: (C_out, C_in, 3, 3), `bias`: (C_out).
    pub fn conv3x3(compute: Compute, weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Self> {
        Self::new(compute, &weight.permute((0, 2, 3, 1))?, Some(bias), stride)
    }

    /// `weight`: (N, window, window, C), `bias`: (N).
    fn new(compute: Compute, weight: &Tensor, bias: Option<&Tensor>, stride: usize) -> Result<Self> {
        let (n, window, _, c) = weight.dims4()?;
        let dtype = dtype_of(compute);
        let weight = pad_channels(&weight.contiguous()?, c.next_multiple_of(VECTOR), dtype)?;
        let bias = bias.map(|bias| contiguous_as(bias, DType::F32)).transpose()?;
        Ok(Self { dtype, weight, bias, n, c, window, stride, geglu: false })
    }
}

impl MatMul for Gemm {
    fn apply(&self, x: &Tensor, addends: Addends) -> Result<Tensor> {
        let mut shape = x.dims().to_vec();
        let width = if self.geglu { self.n / 2 } else { self.n };
        // For a linear layer all rows form one line of one map.
        let (h, w) = if self.window == 1 { (1, x.elem_count() / self.c) } else { (shape[1], shape[2]) };
        let (h_out, w_out) = (h.div_ceil(self.stride), w.div_ceil(self.stride));
        let maps = if self.window == 1 { 1 } else { shape[0] };
        if self.window > 1 {
            (shape[1], shape[2]) = (h_out, w_out);
        }
        if let Some(channels) = shape.last_mut() {
            *channels = width;
        }
        let c = self.c.next_multiple_of(VECTOR);
        let x = &pad_channels(x, c, self.dtype)?;
        let [shift, residual] =
            [addends.shift, addends.residual].map(|x| x.map(|x| contiguous_as(x, self.dtype)).transpose());
        let (shift, residual) = (shift?, residual?);
        let m = maps * h_out * w_out;
        let device = x.device().as_cuda_device()?;
        let is_gemv = m <= GEMV_ROWS && self.window == 1 && !self.geglu;
        let may_split = !is_gemv && !self.geglu;
        let k_tiles = self.window * self.window * c.div_ceil(GEMM_F16_BK);
        let config = GemmConfig::fastest(self.dtype, m, self.n, k_tiles, may_split, device)?;
        let address_or_null = |x: &Option<Tensor>| x.as_ref().map_or(Ok(0), address);
        // SAFETY: the kernels write all of both.
        let (y, partials) = unsafe {
            let partials =
                (config.splits > 1).then(|| uninit(device, DType::F32, (config.splits, m, self.n))).transpose()?;
            (uninit(device, self.dtype, shape)?, partials)
        };
        let params = GemmParams {
            x: address(x)?,
            weight: address(&self.weight)?,
            bias: address_or_null(&self.bias)?,
            shift: address_or_null(&shift)?,
            residual: address_or_null(&residual)?,
            y: address(&y)?,
            partials: address_or_null(&partials)?,
            splits: config.splits as i32,
            m: m as i32,
            n: self.n as i32,
            c: c as i32,
            h: h as i32,
            w: w as i32,
            h_out: h_out as i32,
            w_out: w_out as i32,
            window: self.window as i32,
            stride: self.stride as i32,
            geglu: self.geglu.into(),
        };
        let suffix = suffix(self.dtype);
        // SAFETY: the addresses are those of tensors of these shapes.
        unsafe {
            if is_gemv {
                launch(device, &format!("gemv_{suffix}"), Grid::of(self.n * LANES), &params)?;
            } else {
                launch(device, config.tile.kernel, config.grid(m, self.n), &params)?;
                if config.splits > 1 {
                    let grid = Grid::of(m * self.n.div_ceil(VECTOR));
                    launch(device, &format!("splitk_reduce_{suffix}"), grid, &params)?;
                }
            }
        }
        Ok(y)
    }
}

/// The type of operands on GPUs.
pub fn dtype_of(compute: Compute) -> DType {
    match compute {
        Compute::F32 => DType::F32,
        Compute::Half => DType::F16,
    }
}
