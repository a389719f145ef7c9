//! The transformer of CLIP's text encoder (Radford et al. 2021, arXiv 2103.00020), under the names of transformers.

use crate::ops::{LayerBuilder, LayerNorm, Linear, StackedLinears, layer_norm, linear};
use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

/// The factor of CLIP's approximation of GELU, x · sigmoid(1.702 · x) (Hendrycks & Gimpel 2016, arXiv 1606.08415).
const QUICK_GELU: f64 = 1.702;

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

    /// `x`: (B, N, C) → (B, N, C). `mask`: that of [`causal_mask`].
    pub fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let x = self.attention.forward_add(&self.norm1.forward(x)?, mask, x)?;
        let inner = self.fc1.forward(&self.norm2.forward(&x)?)?; // (B, N, intermediate)
        self.fc2.forward_add(&quick_gelu(&inner)?, &x)
    }
}

/// Multi-head attention of each token to itself and those before it.
struct CausalAttention {
    qkv: StackedLinears,
    out: Linear,
    heads: usize,
}

impl CausalAttention {
    fn new(c: usize, heads: usize, lb: LayerBuilder) -> Result<Self> {
        let qkv = ["q_proj", "k_proj", "v_proj"].map(|part| (c, lb.pp(part)));
        Ok(Self { qkv: StackedLinears::new(c, &qkv)?, out: linear(c, c, lb.pp("out_proj"))?, heads })
    }

    /// `x`, `residual`: (B, N, C) → (B, N, C).
    fn forward_add(&self, x: &Tensor, mask: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let (b, n, c) = x.dims3()?;
        let d = c / self.heads;
        let split = |x: &Tensor| x.reshape((b, n, self.heads, d))?.transpose(1, 2)?.contiguous();
        let qkv = self.qkv.forward(x)?.iter().map(split).collect::<Result<Vec<_>>>()?; // (B, H, N, D) each
        let scores = (qkv[0].matmul(&qkv[1].t()?)? * (d as f64).powf(-0.5))?.broadcast_add(mask)?; // (B, H, N, N)
        let y = softmax_last_dim(&scores)?.matmul(&qkv[2])?; // (B, H, N, D)
        self.out.forward_add(&y.transpose(D::Minus2, 1)?.reshape((b, n, c))?, residual)
    }
}

/// Returns what is added to attention scores of N tokens, (N, N): −∞ for later tokens, else 0.
pub fn causal_mask(n: usize, device: &Device) -> Result<Tensor> {
    let score = |i: usize| if i % n > i / n { f32::NEG_INFINITY } else { 0. };
    Tensor::from_iter((0..n * n).map(score), device)?.reshape((n, n))
}

fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    (x * QUICK_GELU)?.silu()? / QUICK_GELU
}
