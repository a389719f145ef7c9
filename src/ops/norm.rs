//! Group and layer normalisation.

use super::backend::{self, Packer};
use super::{Compute, LayerBuilder};
use candle_core::{D, Result, Tensor, bail};

/// The number of groups of every group norm in LDM.
pub(super) const GROUPS: usize = 32;

/// The epsilon of every layer norm in LDM (torch's default).
pub(super) const LAYER_NORM_EPS: f64 = 1e-5;

/// Group normalisation over maps (B, h, w, C) (Wu & He 2018, arXiv 1803.08494).
pub struct GroupNorm {
    norm: Box<dyn backend::GroupNorm>,
    channels: usize,
}

/// Reads a group norm's `weight` and `bias` (C). LDM's `GroupNorm32` has `eps` 1e-5, its `Normalize` 1e-6.
///
/// # Errors
/// If a tensor is missing or has another shape.
pub fn group_norm(channels: usize, eps: f64, lb: LayerBuilder) -> Result<GroupNorm> {
    GroupNorm::pack(lb.compute(), &lb.get(channels, "weight")?, &lb.get(channels, "bias")?, eps, lb.packer())
}

impl GroupNorm {
    /// `compute`: the arithmetic of the layer that follows. `weight`, `bias`: (C), a multiple of 32.
    ///
    /// # Errors
    /// If the number of channels is not a multiple of 32.
    pub fn new(compute: Compute, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Self> {
        Self::pack(compute, weight, bias, eps, backend::of(weight.device())?)
    }

    fn pack(compute: Compute, weight: &Tensor, bias: &Tensor, eps: f64, packer: &dyn Packer) -> Result<Self> {
        let channels = weight.elem_count();
        if channels == 0 || !channels.is_multiple_of(GROUPS) {
            bail!("a group norm takes a multiple of {GROUPS} channels, not {channels}");
        }
        Ok(Self { norm: packer.group_norm(compute, weight, bias, eps)?, channels })
    }

    /// `x`: (B, h, w, C) → the same shape, as an operand of the product that follows.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, false)
    }

    /// silu(group_norm(x)), as the input of a 3×3 convolution. On CPUs it is f32, as the convolution transforms it first.
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, true)
    }

    fn apply(&self, x: &Tensor, silu: bool) -> Result<Tensor> {
        if x.dims4()?.3 != self.channels {
            bail!("a group norm of {} channels does not fit {:?}", self.channels, x.dims());
        }
        self.norm.apply(x, silu)
    }
}

/// Layer normalisation over the last dimension (Ba et al. 2016, arXiv 1607.06450).
pub struct LayerNorm {
    norm: Box<dyn backend::LayerNorm>,
    channels: usize,
}

/// Reads a layer norm's `weight` and `bias` (C).
///
/// # Errors
/// If a tensor is missing or has another shape.
pub fn layer_norm(channels: usize, lb: LayerBuilder) -> Result<LayerNorm> {
    LayerNorm::pack(lb.compute(), &lb.get(channels, "weight")?, &lb.get(channels, "bias")?, lb.packer())
}

impl LayerNorm {
    /// `compute`: the arithmetic of the layer that follows. `weight`, `bias`: (C).
    ///
    /// # Errors
    /// If there are no kernels for the device.
    pub fn new(compute: Compute, weight: &Tensor, bias: &Tensor) -> Result<Self> {
        Self::pack(compute, weight, bias, backend::of(weight.device())?)
    }

    fn pack(compute: Compute, weight: &Tensor, bias: &Tensor, packer: &dyn Packer) -> Result<Self> {
        let norm = packer.layer_norm(compute, weight, bias, LAYER_NORM_EPS)?;
        Ok(Self { norm, channels: weight.elem_count() })
    }

    /// `x`: (…, C) → the same shape, as an operand of the product that follows.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.dim(D::Minus1)? != self.channels {
            bail!("a layer norm of {} channels does not fit {:?}", self.channels, x.dims());
        }
        self.norm.apply(x)
    }
}
