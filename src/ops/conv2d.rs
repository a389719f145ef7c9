//! Convolutions over maps (B, h, w, C): 1×1, and 3×3 with padding 1.

use super::cpu::{self, Addends, Conv3x3, Map};
#[cfg(feature = "cuda")]
use super::cuda;
use super::linear::Weights;
use super::products::{Added, Product, no_kernels};
use super::{Linear, Linears, Products};
use candle_core::{Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use std::borrow::Cow;

/// A 3×3 convolution with padding 1, its weight packed once, at load, for the device that it came on.
pub struct Conv2d {
    product: Box<dyn Product>,
    c_in: usize,
    c_out: usize,
    stride: usize,
}

/// Reads `weight` (C_out, C_in, 3, 3) and `bias` (C_out).
pub fn conv3x3(c_in: usize, c_out: usize, vb: VarBuilder) -> Result<Conv2d> {
    read(c_in, c_out, 1, vb)
}

/// The same with stride 2: (B, h, w, C) → (B, ⌈h/2⌉, ⌈w/2⌉, C).
pub fn conv3x3_stride2(c_in: usize, c_out: usize, vb: VarBuilder) -> Result<Conv2d> {
    read(c_in, c_out, 2, vb)
}

fn read(c_in: usize, c_out: usize, stride: usize, vb: VarBuilder) -> Result<Conv2d> {
    let (products, vb) = Products::of(vb);
    Conv2d::new(products, &vb.get((c_out, c_in, 3, 3), "weight")?, &vb.get(c_out, "bias")?, stride)
}

/// A 1×1 convolution, which on channels-last maps is a linear layer. Reads `weight` (C_out, C_in, 1, 1) and `bias` (C_out).
pub fn conv1x1(c_in: usize, c_out: usize, vb: VarBuilder) -> Result<Linear> {
    Weights::read((c_out, c_in, 1, 1), true, vb)?.linear()
}

/// Several of them, of the same map.
pub fn conv1x1s<const N: usize>(c_in: usize, c_out: usize, vbs: [VarBuilder; N]) -> Result<Linears<N>> {
    Linears::new(vbs.map(|vb| Weights::read((c_out, c_in, 1, 1), true, vb)))
}

impl Conv2d {
    /// weight: (C_out, C_in, 3, 3), bias: (C_out), stride: 1 or 2.
    pub fn new(products: Products, weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Self> {
        let (c_out, c_in, _, _) = weight.dims4()?;
        let product: Box<dyn Product> = match weight.device() {
            Device::Cpu => Box::new(OnProcessor::new(products, weight, bias, stride)?),
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => Box::new(cuda::Product::conv3x3(products, weight, bias, stride)?),
            device => no_kernels(device)?,
        };
        Ok(Self { product, c_in, c_out, stride })
    }

    /// x: (B, h, w, C_in) → (B, ⌈h/stride⌉, ⌈w/stride⌉, C_out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, Added::default())
    }

    /// The same, with numbers (1, C_out) added to each pixel.
    pub fn forward_shift(&self, x: &Tensor, shift: &Tensor) -> Result<Tensor> {
        self.apply(x, Added { shift: Some(shift), ..Added::default() })
    }

    /// The same, with a residual as large as the output added.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.apply(x, Added { residual: Some(residual), ..Added::default() })
    }

    fn apply(&self, x: &Tensor, added: Added) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let count = b * h.div_ceil(self.stride) * w.div_ceil(self.stride) * self.c_out;
        if c != self.c_in
            || added.residual.is_some_and(|residual| residual.elem_count() != count)
            || added.shift.is_some_and(|shift| shift.elem_count() != self.c_out)
        {
            bail!("a convolution of {} to {} channels does not fit {:?}", self.c_in, self.c_out, x.dims());
        }
        self.product.apply(x, added, false)
    }
}

/// A convolution for the kernels of ops/cpu.
struct OnProcessor {
    weight: Conv3x3,
    bias: Vec<f32>, // (C_out)
    stride: usize,
}

impl OnProcessor {
    fn new(products: Products, weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Self> {
        let c_in = weight.dim(1)?;
        let packed = cpu::numbers(weight, |weight| Ok(Conv3x3::new(products, weight, c_in, stride)))?;
        Ok(Self { weight: packed, bias: bias.to_vec1()?, stride })
    }

    fn convolve(&self, x: &Tensor, bias: &[f32], residual: Option<&[f32]>) -> Result<Tensor> {
        let (b, h, w, _) = x.dims4()?;
        let y = cpu::numbers(x, |x| Ok(self.weight.forward(x, Map { b, h, w }, Addends { bias, residual })))?;
        cpu::tensor(y, (b, h.div_ceil(self.stride), w.div_ceil(self.stride), bias.len()))
    }
}

impl Product for OnProcessor {
    fn apply(&self, x: &Tensor, added: Added, _operand: bool) -> Result<Tensor> {
        let bias = match added.shift {
            Some(shift) => {
                let shift: Vec<f32> = shift.flatten_all()?.to_vec1()?;
                Cow::Owned(self.bias.iter().zip(shift).map(|(bias, shift)| bias + shift).collect())
            }
            None => Cow::Borrowed(&self.bias[..]),
        };
        match added.residual {
            Some(residual) => cpu::numbers(residual, |residual| self.convolve(x, &bias, Some(residual))),
            None => self.convolve(x, &bias, None),
        }
    }
}

/// The 3×3 convolution in candle's own operations — weight: (C_out, C_in, 3, 3), bias: (C_out).
pub fn conv3x3_plain(x: &Tensor, weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Tensor> {
    let x = x.permute((0, 3, 1, 2))?.contiguous()?; // (B, C_in, h, w)
    let y = x.conv2d(weight, 1, stride, 1, 1)?; // (B, C_out, h, w)
    y.permute((0, 2, 3, 1))?.contiguous()?.broadcast_add(bias)
}
