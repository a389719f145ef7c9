//! The transformer of CLIP's text encoder (Radford et al. 2021, arXiv 2103.00020), under the names of transformers.

use crate::ops::{LayerBuilder, LayerNorm, Linear, Projections};
use crate::ops::{causal_attention, layer_norm, linear, projections, quick_gelu};
use candle_core::{Result, Tensor};

/// A layer: self-attention, then a feed-forward network, each after a layer norm and added to its input.
pub struct Layer {
    norm1: LayerNorm,
    attention: CausalAttention,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Layer {
    /// `c`: the width of a token, `intermediate`: that inside the feed-forward network.
    pub fn new(c: usize, intermediate: usize, heads: usize, lb: LayerBuilder) -> Result<Self> {
        Ok(Self {
            norm1: layer_norm(c, lb.pp("layer_norm1"))?,
            attention: CausalAttention::new(c, heads, lb.pp("self_attn"))?,
            norm2: layer_norm(c, lb.pp("layer_norm2"))?,
            fc1: linear(c, intermediate, lb.pp("mlp.fc1"))?,
            fc2: linear(intermediate, c, lb.pp("mlp.fc2"))?,
        })
    }

    /// `x`: (B, N, C) → (B, N, C).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.attention.forward_add(&self.norm1.forward(x)?, x)?;
        let inner = self.fc1.forward(&self.norm2.forward(&x)?)?; // (B, N, intermediate)
        self.fc2.forward_add(&quick_gelu(&inner)?, &x)
    }
}

/// Multi-head attention of each token to itself and those before it.
struct CausalAttention {
    qkv: Projections<3>,
    out: Linear,
    heads: usize,
}

impl CausalAttention {
    fn new(c: usize, heads: usize, lb: LayerBuilder) -> Result<Self> {
        let qkv = ["q_proj", "k_proj", "v_proj"].map(|part| lb.pp(part));
        Ok(Self { qkv: projections(c, c, qkv)?, out: linear(c, c, lb.pp("out_proj"))?, heads })
    }

    /// `x`, `residual`: (B, N, C) → (B, N, C).
    fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let [q, k, v] = self.qkv.forward(x)?; // (B, N, C) each
        self.out.forward_add(&causal_attention(&q, &k, &v, self.heads)?, residual)
    }
}
