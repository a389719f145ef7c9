//! Linear layers and convolutions.

use super::gpu::{Grid, LANES, VECTOR, address, contiguous_as, launch, suffix, uninit};
use super::maps::widened;
use super::way::{STRETCH, Way};
use crate::ops::Compute;
use crate::ops::backend::{Addends, MatMul};
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{DType, Result, Tensor};

/// Values that stand side by side in GEGLU's weight, then as many gates.
pub const GEGLU_RUN: usize = VECTOR / 2;

/// Rows that are so few that the weight is read once for all of them.
const FEW: usize = 4;

/// A weight on a card, and how it is multiplied.
pub struct Product {
    dtype: DType,
    weight: Tensor,       // (N, window, window, C), C filled up with zeros to a multiple of 8
    bias: Option<Tensor>, // (N) in f32
    n: usize,
    c: usize,
    window: usize,
    stride: usize,
    geglu: bool,
}

/// `Product` of kernels/product.cu.
#[repr(C)]
struct Parameters {
    x: u64,
    weight: u64,
    bias: u64,
    shift: u64,
    residual: u64,
    y: u64,
    sums: u64,
    slices: i32,
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

// SAFETY: the kernels' struct has the same fields in the same order, all of them plain numbers.
unsafe impl DeviceRepr for Parameters {}

impl Product {
    /// weight: (C_out, C_in), bias: (C_out).
    pub fn linear(compute: Compute, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let (n, c) = weight.dims2()?;
        Self::new(compute, &weight.reshape((n, 1, 1, c))?, bias, 1)
    }

    /// weight: (2C_out, C_in), bias: (2C_out): `GEGLU_RUN` values, as many gates, and so on.
    pub fn geglu(compute: Compute, weight: &Tensor, bias: &Tensor) -> Result<Self> {
        Ok(Self { geglu: true, ..Self::linear(compute, weight, Some(bias))? })
    }

    /// weight: (C_out, C_in, 3, 3), bias: (C_out).
    pub fn conv3x3(compute: Compute, weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Self> {
        Self::new(compute, &weight.permute((0, 2, 3, 1))?, Some(bias), stride)
    }

    /// weight: (N, window, window, C).
    fn new(compute: Compute, weight: &Tensor, bias: Option<&Tensor>, stride: usize) -> Result<Self> {
        let (n, window, _, c) = weight.dims4()?;
        let dtype = dtype_of(compute);
        let weight = widened(&weight.contiguous()?, c.next_multiple_of(VECTOR), dtype)?;
        let bias = bias.map(|bias| contiguous_as(bias, DType::F32)).transpose()?;
        Ok(Self { dtype, weight, bias, n, c, window, stride, geglu: false })
    }
}

impl MatMul for Product {
    fn apply(&self, x: &Tensor, addends: Addends) -> Result<Tensor> {
        let mut shape = x.dims().to_vec();
        let width = if self.geglu { self.n / 2 } else { self.n };
        // To a window of one point all pixels are one line.
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
        let x = &widened(x, c, self.dtype)?;
        let [shift, residual] =
            [addends.shift, addends.residual].map(|x| x.map(|x| contiguous_as(x, self.dtype)).transpose());
        let (shift, residual) = (shift?, residual?);
        let m = maps * h_out * w_out;
        let device = x.device().as_cuda_device()?;
        let is_few = m <= FEW && self.window == 1 && !self.geglu;
        let whole = is_few || self.geglu;
        let way = Way::fastest(self.dtype, m, self.n, self.window * self.window * c.div_ceil(STRETCH), whole, device)?;
        let at = |x: &Option<Tensor>| x.as_ref().map_or(Ok(0), address);
        // SAFETY: the kernels write all of both.
        let (y, sums) = unsafe {
            let sums = if way.slices > 1 { Some(uninit(device, DType::F32, (way.slices, m, self.n))?) } else { None };
            (uninit(device, self.dtype, shape)?, sums)
        };
        let parameters = Parameters {
            x: address(x)?,
            weight: address(&self.weight)?,
            bias: at(&self.bias)?,
            shift: at(&shift)?,
            residual: at(&residual)?,
            y: address(&y)?,
            sums: at(&sums)?,
            slices: way.slices as i32,
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
        let numbers = suffix(self.dtype);
        // SAFETY: the addresses are those of tensors of these shapes.
        unsafe {
            if is_few {
                let grid = Grid::of(self.n * LANES);
                launch(device, &format!("product_rows_{numbers}"), grid, &parameters)?;
            } else {
                launch(device, way.tile.kernel, way.grid(m, self.n), &parameters)?;
                if way.slices > 1 {
                    let grid = Grid::of(m * self.n.div_ceil(VECTOR));
                    launch(device, &format!("add_slices_{numbers}"), grid, &parameters)?;
                }
            }
        }
        Ok(y)
    }
}

/// What is multiplied on cards.
pub fn dtype_of(compute: Compute) -> DType {
    match compute {
        Compute::F32 => DType::F32,
        Compute::Half => DType::F16,
    }
}
