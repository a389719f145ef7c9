//! Convolutions over maps (B, h, w, C): 1×1, and 3×3 with padding 1.

use super::backend::{self, Addends, MatMul, Packer, UpsampledConv};
use super::linear::{Linear, Projections, read};
use super::{Compute, LayerBuilder};
use candle_core::{DType, Result, Tensor, bail};

/// The options of a 3×3 convolution.
#[derive(Clone, Copy)]
pub struct ConvOptions {
    /// 1 or 2.
    pub stride: usize,
    /// If true, negative results become 0.
    pub relu: bool,
    /// If true, maps are mostly of 32×32 pixels or more, and larger weights for fewer products are worth their memory.
    pub large_maps: bool,
}

impl From<usize> for ConvOptions {
    /// Returns the options of a convolution with this stride, without ReLU, of maps of any size.
    fn from(stride: usize) -> Self {
        Self { stride, relu: false, large_maps: false }
    }
}

/// A 3×3 convolution with padding 1, packed at load for the device of its weight.
pub struct Conv2d {
    weight: Box<dyn MatMul>,
    c_in: usize,
    c_out: usize,
    stride: usize,
}

/// Reads `weight` (C_out, C_in, 3, 3) and `bias` (C_out) of a convolution with stride 1.
///
/// # Errors
/// If a tensor is missing or has another shape.
pub fn conv3x3(c_in: usize, c_out: usize, lb: LayerBuilder) -> Result<Conv2d> {
    Conv2d::read(c_in, c_out, 1.into(), lb)
}

/// Reads `weight` (C_out, C_in, 3, 3) and `bias` (C_out) of a convolution with stride 1, followed by ReLU, which comes after
/// any addend.
///
/// # Errors
/// If a tensor is missing or has another shape.
pub fn conv3x3_relu(c_in: usize, c_out: usize, lb: LayerBuilder) -> Result<Conv2d> {
    Conv2d::read(c_in, c_out, ConvOptions { relu: true, ..1.into() }, lb)
}

/// Reads `weight` (C_out, C_in, 3, 3) and `bias` (C_out) of a convolution of upsampled maps.
///
/// # Errors
/// If a tensor is missing or has another shape.
pub fn conv3x3_upsampled(c_in: usize, c_out: usize, lb: LayerBuilder) -> Result<UpsampledConv2d> {
    let (weight, bias) = (lb.weight((c_out, c_in, 3, 3))?, lb.get(c_out, "bias")?);
    UpsampledConv2d::pack(lb.compute(), &weight, &bias, lb.has_large_maps(), lb.packer())
}

/// Reads `weight` (C_out, C_in, 3, 3) of a convolution of upsampled maps without a bias.
///
/// # Errors
/// If the tensor is missing or has another shape.
pub fn conv3x3_upsampled_no_bias(c_in: usize, c_out: usize, lb: LayerBuilder) -> Result<UpsampledConv2d> {
    let weight = lb.weight((c_out, c_in, 3, 3))?;
    let bias = Tensor::zeros(c_out, DType::F32, weight.device())?;
    UpsampledConv2d::pack(lb.compute(), &weight, &bias, lb.has_large_maps(), lb.packer())
}

/// Reads `weight` (C_out, C_in, 3, 3) and `bias` (C_out) of a convolution with stride 2: (B, h, w, C_in) → (B, ⌈h/2⌉,
/// ⌈w/2⌉, C_out).
///
/// # Errors
/// If a tensor is missing or has another shape.
pub fn conv3x3_stride2(c_in: usize, c_out: usize, lb: LayerBuilder) -> Result<Conv2d> {
    Conv2d::read(c_in, c_out, 2.into(), lb)
}

/// Reads `weight` (C_out, C_in, 1, 1) and `bias` (C_out) of a 1×1 convolution, which is a linear layer on channels-last
/// maps.
///
/// # Errors
/// If a tensor is missing or has another shape.
pub fn conv1x1(c_in: usize, c_out: usize, lb: LayerBuilder) -> Result<Linear> {
    Linear::pack(&[read((c_out, c_in, 1, 1), true, &lb)?], lb.packer())
}

/// Reads 1×1 convolutions of the same map.
///
/// # Errors
/// If a tensor is missing or has another shape.
pub fn conv1x1s<const N: usize>(c_in: usize, c_out: usize, lbs: [LayerBuilder; N]) -> Result<Projections<N>> {
    Projections::read((c_out, c_in, 1, 1), true, lbs)
}

impl Conv2d {
    fn read(c_in: usize, c_out: usize, options: ConvOptions, lb: LayerBuilder) -> Result<Self> {
        let (weight, bias) = (lb.weight((c_out, c_in, 3, 3))?, lb.get(c_out, "bias")?);
        let options = ConvOptions { large_maps: lb.has_large_maps(), ..options };
        Self::pack(lb.compute(), &weight, &bias, options, lb.packer())
    }

    /// `weight`: (C_out, C_in, 3, 3), `bias`: (C_out), `options`: the stride, 1 or 2, or all options.
    ///
    /// # Errors
    /// If there are no kernels for the device of `weight`.
    pub fn new(compute: Compute, weight: &Tensor, bias: &Tensor, options: impl Into<ConvOptions>) -> Result<Self> {
        Self::pack(compute, weight, bias, options.into(), backend::of(weight.device())?)
    }

    fn pack(
        compute: Compute,
        weight: &Tensor,
        bias: &Tensor,
        options: ConvOptions,
        packer: &dyn Packer,
    ) -> Result<Self> {
        let (c_out, c_in, _, _) = weight.dims4()?;
        let weight = packer.conv3x3(compute, weight, bias, options)?;
        Ok(Self { weight, c_in, c_out, stride: options.stride })
    }

    /// `x`: (B, h, w, C_in) → (B, ⌈h/stride⌉, ⌈w/stride⌉, C_out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, Addends::default())
    }

    /// Adds `shift` (1, C_out) to each pixel of the convolution of `x` (B, h, w, C_in).
    pub fn forward_shift(&self, x: &Tensor, shift: &Tensor) -> Result<Tensor> {
        self.apply(x, Addends { shift: Some(shift), ..Addends::default() })
    }

    /// Adds `residual` (B, ⌈h/stride⌉, ⌈w/stride⌉, C_out) to the convolution of `x` (B, h, w, C_in).
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.apply(x, Addends { residual: Some(residual), ..Addends::default() })
    }

    fn apply(&self, x: &Tensor, addends: Addends) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let count = b * h.div_ceil(self.stride) * w.div_ceil(self.stride) * self.c_out;
        if c != self.c_in
            || addends.residual.is_some_and(|residual| residual.elem_count() != count)
            || addends.shift.is_some_and(|shift| shift.elem_count() != self.c_out)
        {
            bail!("a convolution of {} to {} channels does not fit {:?}", self.c_in, self.c_out, x.dims());
        }
        self.weight.apply(x, addends)
    }
}

/// A 3×3 convolution with padding 1 of a map that is first upsampled to twice its size, by repeating every pixel in a 2×2 square.
/// It is packed at load for the device of its weight.
pub struct UpsampledConv2d {
    weight: Box<dyn UpsampledConv>,
    c_in: usize,
    c_out: usize,
    large_maps: bool,
}

impl UpsampledConv2d {
    /// `weight`: (C_out, C_in, 3, 3), `bias`: (C_out), `large_maps`: whether maps are mostly of 32×32 pixels or more, and are not
    /// cropped once they are upsampled, so that larger weights for fewer products are worth their memory.
    ///
    /// # Errors
    /// If there are no kernels for the device of `weight`.
    pub fn new(compute: Compute, weight: &Tensor, bias: &Tensor, large_maps: bool) -> Result<Self> {
        Self::pack(compute, weight, bias, large_maps, backend::of(weight.device())?)
    }

    fn pack(compute: Compute, weight: &Tensor, bias: &Tensor, large_maps: bool, packer: &dyn Packer) -> Result<Self> {
        let (c_out, c_in, _, _) = weight.dims4()?;
        Ok(Self { weight: packer.conv3x3_upsampled(compute, weight, bias, large_maps)?, c_in, c_out, large_maps })
    }

    /// Upsamples `x` (B, h, w, C_in), crops it, and convolves it → (B, `height`, `width`, C_out).
    ///
    /// # Errors
    /// If `height` is neither 2h nor 2h − 1, `width` neither 2w nor 2w − 1, one of them is odd in a layer for large maps, `x` has
    /// other channels, or the device fails.
    pub fn forward(&self, x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
        let (_, h, w, c) = x.dims4()?;
        let is_cropped = (height, width) != (2 * h, 2 * w);
        if c != self.c_in || height.div_ceil(2) != h || width.div_ceil(2) != w || self.large_maps && is_cropped {
            let Self { c_in, c_out, .. } = self;
            bail!("a convolution of {c_in} to {c_out} channels cannot upsample {:?} to {height}×{width}", x.dims());
        }
        self.weight.apply(x, height, width)
    }
}
