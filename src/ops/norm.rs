//! Group and layer normalisation, the former with SiLU.

use super::Products;
use super::cpu::{self, Norm};
use candle_core::{D, Result, Tensor, bail};
use candle_nn::VarBuilder;

/// Group normalisation over maps (B, h, w, C) (Wu & He 2018, arXiv 1803.08494).
pub struct GroupNorm {
    made_for: Products,
    weight: Vec<f32>, // (C)
    bias: Vec<f32>,   // (C)
    eps: f64,
}

/// LDM normalises in 32 groups everywhere.
const GROUPS: usize = 32;

/// Reads `weight` and `bias` (C). LDM's `GroupNorm32` has eps 1e-5, its `Normalize` 1e-6.
pub fn group_norm(channels: usize, eps: f64, vb: VarBuilder) -> Result<GroupNorm> {
    let (products, vb) = Products::of(vb);
    GroupNorm::new(products, &vb.get(channels, "weight")?, &vb.get(channels, "bias")?, eps)
}

impl GroupNorm {
    /// products: of what it is followed by; weight, bias: (C), a multiple of 32.
    pub fn new(products: Products, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Self> {
        let made_for = products.possible(cpu::isa(), weight.elem_count());
        Ok(Self { made_for, weight: weight.to_vec1()?, bias: bias.to_vec1()?, eps })
    }

    /// x: (B, h, w, C), the same shape comes out, as an operand of what follows.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, false, self.made_for)
    }

    /// silu(group_norm(x)), in f32: a 3×3 convolution follows, which transforms it first.
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, true, Products::F32)
    }

    fn apply(&self, x: &Tensor, silu: bool, made_for: Products) -> Result<Tensor> {
        let (_, h, w, c) = x.dims4()?;
        if c != self.weight.len() || c % GROUPS != 0 {
            bail!("a group norm of {} channels does not fit {:?}", self.weight.len(), x.dims());
        }
        let Self { weight, bias, eps, .. } = self;
        let norm = Norm { channels: c, groups: GROUPS, eps: *eps, weight, bias, silu, made_for };
        cpu::tensor(cpu::numbers(x, |x| Ok(cpu::group_norm(x, h * w, norm)))?, x.shape())
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
    made_for: Products,
    weight: Vec<f32>, // (C)
    bias: Vec<f32>,   // (C)
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
        let made_for = products.possible(cpu::isa(), weight.elem_count());
        Ok(Self { made_for, weight: weight.to_vec1()?, bias: bias.to_vec1()? })
    }

    /// x: (…, C), the same shape comes out, as an operand of what follows.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.dim(D::Minus1)? != self.weight.len() {
            bail!("a layer norm of {} channels does not fit {:?}", self.weight.len(), x.dims());
        }
        let normalise =
            |x: &[f32]| Ok(cpu::layer_norm(x, &self.weight, &self.bias, LAYER_NORM_EPS as f32, self.made_for));
        let y = cpu::numbers(x, normalise)?;
        cpu::tensor(y, x.shape())
    }
}

/// `LayerNorm` in candle's own operations — weight, bias: (C).
pub fn layer_norm_plain(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normal = centred.broadcast_div(&(variance + LAYER_NORM_EPS)?.sqrt()?)?;
    normal.broadcast_mul(weight)?.broadcast_add(bias)
}
