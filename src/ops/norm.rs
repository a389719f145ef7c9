//! Group and layer normalisation, the former with SiLU.

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;

/// Group normalisation over maps (B, h, w, C).
pub struct GroupNorm {
    weight: Tensor, // (C)
    bias: Tensor,   // (C)
    eps: f64,
}

/// LDM normalises in 32 groups everywhere.
const GROUPS: usize = 32;

/// Reads `weight` and `bias` (C). LDM's `GroupNorm32` has eps 1e-5, its `Normalize` 1e-6.
pub fn group_norm(channels: usize, eps: f64, vb: VarBuilder) -> Result<GroupNorm> {
    Ok(GroupNorm { weight: vb.get(channels, "weight")?, bias: vb.get(channels, "bias")?, eps })
}

impl GroupNorm {
    /// x: (B, h, w, C), the same shape comes out.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let groups = x.reshape((b, h * w, GROUPS, c / GROUPS))?;
        let size = (h * w * c / GROUPS) as f64;
        let mean = (groups.sum_keepdim((1, 3))? / size)?; // (B, 1, G, 1)
        let centred = groups.broadcast_sub(&mean)?;
        let variance = (centred.sqr()?.sum_keepdim((1, 3))? / size)?;
        let normal = centred.broadcast_div(&(variance + self.eps)?.sqrt()?)?;
        normal.reshape((b, h, w, c))?.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }

    /// silu(group_norm(x)).
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        self.forward(x)?.silu()
    }
}

/// Layer normalisation over the last dimension.
pub struct LayerNorm {
    weight: Tensor, // (C)
    bias: Tensor,   // (C)
}

/// Reads `weight` and `bias` (C).
pub fn layer_norm(channels: usize, vb: VarBuilder) -> Result<LayerNorm> {
    Ok(LayerNorm { weight: vb.get(channels, "weight")?, bias: vb.get(channels, "bias")? })
}

impl LayerNorm {
    /// torch's default.
    const EPS: f64 = 1e-5;

    /// x: (…, C), the same shape comes out.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let normal = centred.broadcast_div(&(variance + Self::EPS)?.sqrt()?)?;
        normal.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}
