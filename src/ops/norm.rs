//! Group and layer normalisation, the former with SiLU.

use super::Products;
use super::cpu;
#[cfg(feature = "cuda")]
use super::cuda;
use super::products::no_kernels;
use candle_core::{D, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;

/// A norm on the device that computes it.
pub(super) trait Norm: Send + Sync {
    /// x: of the norm's channels. silu: whether that follows, and a convolution.
    fn apply(&self, x: &Tensor, silu: bool) -> Result<Tensor>;
}

/// Group normalisation over maps (B, h, w, C) (Wu & He 2018, arXiv 1803.08494).
pub struct GroupNorm {
    norm: Box<dyn Norm>,
    channels: usize,
}

/// LDM normalises in 32 groups everywhere.
pub(super) const GROUPS: usize = 32;

/// Reads `weight` and `bias` (C). LDM's `GroupNorm32` has eps 1e-5, its `Normalize` 1e-6.
pub fn group_norm(channels: usize, eps: f64, vb: VarBuilder) -> Result<GroupNorm> {
    let (products, vb) = Products::of(vb);
    GroupNorm::new(products, &vb.get(channels, "weight")?, &vb.get(channels, "bias")?, eps)
}

impl GroupNorm {
    /// products: of what it is followed by; weight, bias: (C), a multiple of 32.
    pub fn new(products: Products, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Self> {
        let channels = weight.elem_count();
        if channels == 0 || !channels.is_multiple_of(GROUPS) {
            bail!("a group norm takes a multiple of {GROUPS} channels, not {channels}");
        }
        let norm: Box<dyn Norm> = match weight.device() {
            Device::Cpu => Box::new(Groups(Affine::new(products, weight, bias, eps)?)),
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => Box::new(cuda::GroupNorm(cuda::Affine::new(products, weight, bias, eps)?)),
            device => no_kernels(device)?,
        };
        Ok(Self { norm, channels })
    }

    /// x: (B, h, w, C), the same shape comes out, as an operand of what follows.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, false)
    }

    /// silu(group_norm(x)): a 3×3 convolution follows, which on processors transforms it first, in f32.
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

/// What the kernels of ops/cpu take for a norm.
struct Affine {
    made_for: Products,
    weight: Vec<f32>, // (C)
    bias: Vec<f32>,   // (C)
    eps: f64,
}

impl Affine {
    fn new(products: Products, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Self> {
        let made_for = products.possible(cpu::isa(), weight.elem_count());
        Ok(Self { made_for, weight: weight.to_vec1()?, bias: bias.to_vec1()?, eps })
    }
}

/// A group norm on processors.
struct Groups(Affine);

impl Norm for Groups {
    fn apply(&self, x: &Tensor, silu: bool) -> Result<Tensor> {
        let (_, h, w, channels) = x.dims4()?;
        let Affine { weight, bias, eps, .. } = &self.0;
        let made_for = if silu { Products::F32 } else { self.0.made_for };
        let norm = cpu::Norm { channels, groups: GROUPS, eps: *eps, weight, bias, silu, made_for };
        cpu::tensor(cpu::numbers(x, |x| Ok(cpu::group_norm(x, h * w, norm)))?, x.shape())
    }
}

/// A layer norm on processors.
struct Rows(Affine);

impl Norm for Rows {
    fn apply(&self, x: &Tensor, _silu: bool) -> Result<Tensor> {
        let Affine { weight, bias, eps, made_for } = &self.0;
        let y = cpu::numbers(x, |x| Ok(cpu::layer_norm(x, weight, bias, *eps as f32, *made_for)))?;
        cpu::tensor(y, x.shape())
    }
}

/// `GroupNorm` in candle's own operations — weight, bias: (C).
pub fn group_norm_plain(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    let groups = x.reshape((b, h * w, GROUPS, c / GROUPS))?;
    let size = (h * w * c / GROUPS) as f64;
    let mean = (groups.sum_keepdim((1, 3))? / size)?; // (B, 1, G, 1)
    let centred = groups.broadcast_sub(&mean)?;
    let variance = (centred.sqr()?.sum_keepdim((1, 3))? / size)?;
    let normal = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normal.reshape((b, h, w, c))?.broadcast_mul(weight)?.broadcast_add(bias)
}

/// Layer normalisation over the last dimension (Ba et al. 2016, arXiv 1607.06450).
pub struct LayerNorm {
    norm: Box<dyn Norm>,
    channels: usize,
}

/// Reads `weight` and `bias` (C).
pub fn layer_norm(channels: usize, vb: VarBuilder) -> Result<LayerNorm> {
    let (products, vb) = Products::of(vb);
    LayerNorm::new(products, &vb.get(channels, "weight")?, &vb.get(channels, "bias")?)
}

/// torch's default.
const LAYER_NORM_EPS: f64 = 1e-5;

impl LayerNorm {
    /// products: of what it is followed by; weight, bias: (C).
    pub fn new(products: Products, weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let norm: Box<dyn Norm> = match weight.device() {
            Device::Cpu => Box::new(Rows(Affine::new(products, weight, bias, LAYER_NORM_EPS)?)),
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => Box::new(cuda::LayerNorm(cuda::Affine::new(products, weight, bias, LAYER_NORM_EPS)?)),
            device => no_kernels(device)?,
        };
        Ok(Self { norm, channels: weight.elem_count() })
    }

    /// x: (…, C), the same shape comes out, as an operand of what follows.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.dim(D::Minus1)? != self.channels {
            bail!("a layer norm of {} channels does not fit {:?}", self.channels, x.dims());
        }
        self.norm.apply(x, false)
    }
}

/// `LayerNorm` in candle's own operations — weight, bias: (C).
pub fn layer_norm_plain(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normal = centred.broadcast_div(&(variance + LAYER_NORM_EPS)?.sqrt()?)?;
    normal.broadcast_mul(weight)?.broadcast_add(bias)
}
