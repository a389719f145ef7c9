//! The CPU kernels as a [`Backend`] over candle's tensors.

use super::{Act, AttentionShape, Conv3x3, ConvEpilogue, ConvLayer, Epilogue, Format, MapShape, Norm, Output, Packed};
use super::{
    RowOffsets, UpsampledConv3x3, attention, copy_rows, gemm, group_norm, isa, layer_norm, quick_gelu, to_tensor,
    with_f32, with_operand, with_weight,
};
use crate::ops::backend::{self, Addends, Backend, Capture, LinearWeights, MatMul, Packer};
use crate::ops::conv2d::ConvOptions;
use crate::ops::linear::interleaved;
use crate::ops::norm::GROUPS;
use crate::ops::{Compute, Packing};
use candle_core::{DType, Result, Tensor};
use std::borrow::Cow;

/// The CPU backend.
pub struct Cpu {
    pub packing: Packing,
}

impl Cpu {
    /// Returns the format of the weight (C_out, C_in) of a linear layer.
    fn format(&self, compute: Compute, weight: &Tensor) -> Result<Format> {
        Ok(Format::of_linear(compute, self.packing, weight.dtype() == DType::F16, isa(), weight.dim(1)?))
    }
}

impl Packer for Cpu {
    fn linear(&self, layers: &[LinearWeights]) -> Result<Box<dyn MatMul>> {
        let LinearWeights { compute, weight, bias } = LinearWeights::stack(layers)?;
        Ok(Box::new(Linear::new(self.format(compute, &weight)?, &weight, bias.as_ref(), Act::None, Compute::F32)?))
    }

    fn projections(&self, layers: &[LinearWeights]) -> Result<Box<dyn backend::Projections>> {
        let pack = |LinearWeights { compute, weight, bias }: &LinearWeights| {
            Linear::new(self.format(*compute, weight)?, weight, bias.as_ref(), Act::None, *compute)
        };
        Ok(Box::new(Projections(layers.iter().map(pack).collect::<Result<_>>()?)))
    }

    fn geglu(&self, compute: Compute, weight: &Tensor, bias: &Tensor) -> Result<Box<dyn MatMul>> {
        let [weight, bias] = interleaved([weight, bias], isa().lanes())?;
        Ok(Box::new(Linear::new(self.format(compute, &weight)?, &weight, Some(&bias), Act::Geglu, compute)?))
    }

    fn conv3x3(
        &self,
        compute: Compute,
        weight: &Tensor,
        bias: &Tensor,
        options: ConvOptions,
    ) -> Result<Box<dyn MatMul>> {
        let layer = ConvLayer::new(compute, self.packing, weight, options)?;
        let packed = with_weight(weight, |weight| Ok(Conv3x3::new(layer, weight)))?;
        Ok(Box::new(Conv { weight: packed, bias: bias.to_vec1()?, options }))
    }

    fn conv3x3_upsampled(
        &self,
        compute: Compute,
        weight: &Tensor,
        bias: &Tensor,
        large_maps: bool,
    ) -> Result<Box<dyn backend::UpsampledConv>> {
        let layer = ConvLayer::upsampled(compute, self.packing, weight, large_maps)?;
        let packed = with_weight(weight, |weight| Ok(UpsampledConv3x3::new(layer, weight)))?;
        Ok(Box::new(UpsampledConv { weight: packed, bias: bias.to_vec1()? }))
    }

    fn group_norm(
        &self,
        compute: Compute,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
    ) -> Result<Box<dyn backend::GroupNorm>> {
        Ok(Box::new(Affine::new(compute, weight, bias, eps)?))
    }

    fn layer_norm(
        &self,
        compute: Compute,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
    ) -> Result<Box<dyn backend::LayerNorm>> {
        Ok(Box::new(Affine::new(compute, weight, bias, eps)?))
    }
}

impl Backend for Cpu {
    fn attention(&self, compute: Compute, q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
        let (b, n, c) = q.dims3()?;
        let shape = AttentionShape { b, n, m: k.dim(1)?, h: heads, d: c / heads, causal: false };
        let y = with_operand(q, |q| with_operand(k, |k| with_operand(v, |v| Ok(attention(compute, q, k, v, shape)))))?;
        to_tensor(y, (b, n, c))
    }

    fn causal_attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
        let (b, n, c) = q.dims3()?;
        let shape = AttentionShape { b, n, m: n, h: heads, d: c / heads, causal: true };
        let attend = |q: &[f32], k: &[f32], v: &[f32]| attention(Compute::F32, q.into(), k.into(), v.into(), shape);
        let y = with_f32(q, |q| with_f32(k, |k| with_f32(v, |v| Ok(attend(q, k, v)))))?;
        to_tensor(y, (b, n, c))
    }

    fn quick_gelu(&self, x: &Tensor) -> Result<Tensor> {
        to_tensor(Output::F32(with_f32(x, |x| Ok(quick_gelu(x)))?), x.shape())
    }

    fn concat(&self, x: &Tensor, skip: &Tensor) -> Result<Tensor> {
        let ((b, h, w, c_x), (b_skip, _, _, c_skip)) = (x.dims4()?, skip.dims4()?);
        let (pixels, pixels_skip, c) = (b * h * w, b_skip * h * w, c_x + c_skip);
        let copy = |x: &[f32], skip: &[f32]| {
            copy_rows(pixels, c, |i| [&x[i * c_x..][..c_x], &skip[i % pixels_skip * c_skip..][..c_skip]])
        };
        let y = with_f32(x, |x| with_f32(skip, |skip| Ok(copy(x, skip))))?;
        to_tensor(Output::F32(y), (b, h, w, c))
    }

    fn weighted_sum(&self, terms: &[(&Tensor, f64)]) -> Result<Tensor> {
        let mut sums = vec![0f64; terms[0].0.elem_count()];
        for (x, weight) in terms {
            with_f32(x, |x| {
                sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += weight * f64::from(*x));
                Ok(())
            })?;
        }
        to_tensor(Output::F32(sums.into_iter().map(|sum| sum as f32).collect()), terms[0].0.shape())
    }

    fn graph(&self) -> Box<dyn Capture> {
        Box::new(Uncaptured)
    }
}

/// A packed linear layer.
struct Linear {
    weight: Packed, // (C_in, C_out)
    bias: Option<Vec<f32>>,
    act: Act,
    c_in: usize,
    /// The channels of the output; with GEGLU, half of the weight's.
    width: usize,
    /// The type of the output.
    output: Compute,
}

impl Linear {
    /// Packs `weight` (C_out, C_in) and `bias` (C_out). `output`: the type of the output, if this CPU supports it.
    fn new(format: Format, weight: &Tensor, bias: Option<&Tensor>, act: Act, output: Compute) -> Result<Self> {
        let (rows, c_in) = weight.dims2()?;
        let weight = with_weight(weight, |weight| Ok(Packed::from_weight::<1>(isa(), format, weight, c_in)))?;
        let width = if act == Act::Geglu { rows / 2 } else { rows };
        let output = output.supported(isa(), width);
        Ok(Self { weight, bias: bias.map(Tensor::to_vec1).transpose()?, act, c_in, width, output })
    }

    /// `x`: (…, C_in), `residual`: (…, C_out) → (…, C_out).
    fn forward(&self, x: &Tensor, residual: Option<&[f32]>) -> Result<Tensor> {
        let epilogue = Epilogue { bias: self.bias.as_deref(), act: self.act, output: self.output, residual };
        let mut shape = x.dims().to_vec();
        shape.pop();
        let n: usize = shape.iter().product();
        shape.push(self.width);
        let rows: Vec<usize> = (0..n).map(|row| row * self.c_in).collect();
        let offsets = RowOffsets { rows: &rows, taps: &[0] };
        to_tensor(with_operand(x, |x| Ok(gemm(x, offsets, &self.weight, epilogue)))?, shape)
    }
}

impl MatMul for Linear {
    fn apply(&self, x: &Tensor, addends: Addends) -> Result<Tensor> {
        with_residual(addends, |residual| self.forward(x, residual))
    }
}

/// Linear layers that share their input, packed separately.
struct Projections(Vec<Linear>);

impl backend::Projections for Projections {
    fn apply(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        self.0.iter().map(|layer| layer.forward(x, None)).collect()
    }
}

/// A packed 3×3 convolution.
struct Conv {
    weight: Conv3x3,
    bias: Vec<f32>, // (C_out)
    options: ConvOptions,
}

impl MatMul for Conv {
    fn apply(&self, x: &Tensor, addends: Addends) -> Result<Tensor> {
        let bias = match addends.shift {
            Some(shift) => {
                let shift: Vec<f32> = shift.flatten_all()?.to_vec1()?;
                Cow::Owned(self.bias.iter().zip(shift).map(|(bias, shift)| bias + shift).collect())
            }
            None => Cow::Borrowed(&self.bias[..]),
        };
        let (ConvOptions { stride, relu, .. }, (b, h, w, _)) = (self.options, x.dims4()?);
        let y = with_residual(addends, |residual| {
            let epilogue = ConvEpilogue { bias: &bias, residual, relu };
            with_f32(x, |x| Ok(self.weight.forward(x, MapShape { b, h, w }, epilogue)))
        })?;
        to_tensor(y, (b, h.div_ceil(stride), w.div_ceil(stride), bias.len()))
    }
}

/// A packed 3×3 convolution of upsampled maps.
struct UpsampledConv {
    weight: UpsampledConv3x3,
    bias: Vec<f32>, // (C_out)
}

impl backend::UpsampledConv for UpsampledConv {
    fn apply(&self, x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
        let map = MapShape { b: x.dim(0)?, h: height, w: width };
        let epilogue = ConvEpilogue { bias: &self.bias, residual: None, relu: false };
        let y = with_f32(x, |x| Ok(self.weight.forward(x, map, epilogue)))?;
        to_tensor(y, (map.b, height, width, self.bias.len()))
    }
}

/// Calls `f` with the elements of the residual, if any.
fn with_residual<T>(addends: Addends, f: impl FnOnce(Option<&[f32]>) -> Result<T>) -> Result<T> {
    match addends.residual {
        Some(residual) => with_f32(residual, |residual| f(Some(residual))),
        None => f(None),
    }
}

/// The parameters of a group or layer norm.
struct Affine {
    /// The type of the output.
    output: Compute,
    weight: Vec<f32>, // (C)
    bias: Vec<f32>,   // (C)
    eps: f64,
}

impl Affine {
    fn new(compute: Compute, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Self> {
        let output = compute.supported(isa(), weight.elem_count());
        Ok(Self { output, weight: weight.to_vec1()?, bias: bias.to_vec1()?, eps })
    }
}

impl backend::GroupNorm for Affine {
    fn apply(&self, x: &Tensor, silu: bool) -> Result<Tensor> {
        let (_, h, w, channels) = x.dims4()?;
        let Self { weight, bias, eps, output } = self;
        // A 3×3 convolution follows SiLU, and transforms its input in f32.
        let output = if silu { Compute::F32 } else { *output };
        let norm = Norm { channels, groups: GROUPS, eps: *eps, weight, bias, silu, output };
        to_tensor(with_f32(x, |x| Ok(group_norm(x, h * w, norm)))?, x.shape())
    }
}

impl backend::LayerNorm for Affine {
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let Self { weight, bias, eps, output } = self;
        to_tensor(with_f32(x, |x| Ok(layer_norm(x, weight, bias, *eps as f32, *output)))?, x.shape())
    }
}

/// The CPU's [`Capture`], which captures nothing and repeats the work each time.
struct Uncaptured;

impl Capture for Uncaptured {
    fn run(&self, inputs: &[&Tensor], _: Option<f64>, work: &dyn Fn(&[&Tensor]) -> Result<Tensor>) -> Result<Tensor> {
        work(inputs)
    }
}
