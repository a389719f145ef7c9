//! The transformer inside the UNet: self-attention of image tokens, then cross-attention to the prompt.

use super::repeated;
use crate::ops::{
    self, Compute, Geglu, GroupNorm, LayerBuilder, LayerNorm, Linear, Projections, conv1x1, geglu, group_norm,
    layer_norm, linear, projections_no_bias,
};
use candle_core::{Result, Tensor};

/// GroupNorm → 1×1 → transformer blocks → 1×1, added to its input (LDM `SpatialTransformer`).
pub struct SpatialTransformer {
    norm: GroupNorm,
    proj_in: Linear,
    blocks: Vec<TransformerBlock>,
    proj_out: Linear,
}

impl SpatialTransformer {
    /// `c`: the channels of the map. `c_context`: the width of a prompt token.
    pub fn new(c: usize, heads: usize, depth: usize, c_context: usize, lb: LayerBuilder) -> Result<Self> {
        let blocks = lb.pp("transformer_blocks");
        Ok(Self {
            norm: group_norm(c, 1e-6, lb.pp("norm"))?,
            proj_in: conv1x1(c, c, lb.pp("proj_in"))?,
            blocks: (0..depth)
                .map(|i| TransformerBlock::new(c, heads, c_context, blocks.pp(i)))
                .collect::<Result<_>>()?,
            proj_out: conv1x1(c, c, lb.pp("proj_out"))?,
        })
    }

    /// The keys and values of `context` (R·B, M, C_context) for each block.
    pub fn project(&self, context: &Tensor) -> Result<Vec<Kv>> {
        self.blocks.iter().map(|block| block.attn2.project(context)).collect()
    }

    /// `x`: (B, h, w, C) or (R·B, h, w, C), `prompt`: the projection of R·B contexts → (R·B, h, w, C).
    pub fn forward(&self, x: &Tensor, prompt: &[Kv]) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let mut tokens = self.proj_in.forward(&self.norm.forward(x)?)?.reshape((b, h * w, c))?; // (B, N, C)
        for (block, keys_values) in self.blocks.iter().zip(prompt) {
            tokens = block.forward(&tokens, keys_values)?; // (R·B, N, C)
        }
        let b = tokens.dim(0)?;
        self.proj_out.forward_add(&tokens, &repeated(x, b)?)?.reshape((b, h, w, c))
    }
}

/// Self-attention, cross-attention, feed-forward, each after a LayerNorm and added (LDM `BasicTransformerBlock`).
struct TransformerBlock {
    norm1: LayerNorm,
    attn1: SelfAttention,
    norm2: LayerNorm,
    attn2: CrossAttention,
    norm3: LayerNorm,
    ff: FeedForward,
}

impl TransformerBlock {
    fn new(c: usize, heads: usize, c_context: usize, lb: LayerBuilder) -> Result<Self> {
        Ok(Self {
            norm1: layer_norm(c, lb.pp("norm1"))?,
            attn1: SelfAttention::new(c, heads, lb.pp("attn1"))?,
            norm2: layer_norm(c, lb.pp("norm2"))?,
            attn2: CrossAttention::new(c, c_context, heads, lb.pp("attn2"))?,
            norm3: layer_norm(c, lb.pp("norm3"))?,
            ff: FeedForward::new(c, lb.pp("ff"))?,
        })
    }

    /// `x`: (B, N, C), `prompt`: of R·B contexts → (R·B, N, C).
    fn forward(&self, x: &Tensor, prompt: &Kv) -> Result<Tensor> {
        let x = self.attn1.forward_add(&self.norm1.forward(x)?, x)?;
        // Nothing before this line depends on the prompt.
        let x = repeated(&x, prompt.k.dim(0)?)?;
        let x = self.attn2.forward_add(&self.norm2.forward(&x)?, prompt, &x)?;
        self.ff.forward_add(&self.norm3.forward(&x)?, &x)
    }
}

/// Multi-head attention of image tokens to each other (LDM `CrossAttention` without a context).
struct SelfAttention {
    to_qkv: Projections<3>,
    heads: Heads,
}

impl SelfAttention {
    fn new(c: usize, heads: usize, lb: LayerBuilder) -> Result<Self> {
        let parts = ["to_q", "to_k", "to_v"].map(|part| lb.pp(part));
        Ok(Self { to_qkv: projections_no_bias(c, c, parts)?, heads: Heads::new(c, heads, lb)? })
    }

    /// `x`, `residual`: (B, N, C) → (B, N, C).
    fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let [q, k, v] = self.to_qkv.forward(x)?; // (B, N, C) each
        self.heads.forward_add(&q, &Kv { k, v }, residual)
    }
}

/// Multi-head attention of image tokens to a prompt (LDM `CrossAttention`).
struct CrossAttention {
    to_q: Projections<1>,
    to_kv: Projections<2>,
    heads: Heads,
}

impl CrossAttention {
    fn new(c: usize, c_context: usize, heads: usize, lb: LayerBuilder) -> Result<Self> {
        Ok(Self {
            to_q: projections_no_bias(c, c, [lb.pp("to_q")])?,
            to_kv: projections_no_bias(c_context, c, ["to_k", "to_v"].map(|part| lb.pp(part)))?,
            heads: Heads::new(c, heads, lb)?,
        })
    }

    /// The keys and values of `context` (B, M, C_context).
    fn project(&self, context: &Tensor) -> Result<Kv> {
        let [k, v] = self.to_kv.forward(context)?;
        Ok(Kv { k, v })
    }

    /// `x`, `residual`: (B, N, C) → (B, N, C).
    fn forward_add(&self, x: &Tensor, kv: &Kv, residual: &Tensor) -> Result<Tensor> {
        let [q] = self.to_q.forward(x)?; // (B, N, C)
        self.heads.forward_add(&q, kv, residual)
    }
}

/// Keys and values: (B, M, C) each.
pub struct Kv {
    k: Tensor,
    v: Tensor,
}

impl Kv {
    /// `k`, `v`: (B, M, C).
    pub fn new(k: &Tensor, v: &Tensor) -> Self {
        Self { k: k.clone(), v: v.clone() }
    }

    /// The keys, then the values.
    pub fn tensors(&self) -> [&Tensor; 2] {
        [&self.k, &self.v]
    }
}

/// Attention in heads and the output projection, which both kinds of attention share.
struct Heads {
    compute: Compute,
    count: usize,
    to_out: Linear,
}

impl Heads {
    fn new(c: usize, count: usize, lb: LayerBuilder) -> Result<Self> {
        Ok(Self { compute: lb.compute(), count, to_out: linear(c, c, lb.pp("to_out.0"))? })
    }

    /// `q`, `residual`: (B, N, C) → (B, N, C).
    fn forward_add(&self, q: &Tensor, kv: &Kv, residual: &Tensor) -> Result<Tensor> {
        self.to_out.forward_add(&ops::attention(self.compute, q, &kv.k, &kv.v, self.count)?, residual)
    }
}

/// Linear → GEGLU → linear, four times as wide inside (LDM `FeedForward`).
struct FeedForward {
    proj: Geglu,
    out: Linear,
}

impl FeedForward {
    fn new(c: usize, lb: LayerBuilder) -> Result<Self> {
        Ok(Self { proj: geglu(c, 4 * c, lb.pp("net.0.proj"))?, out: linear(4 * c, c, lb.pp("net.2"))? })
    }

    /// `x`, `residual`: (B, N, C) → (B, N, C).
    fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.out.forward_add(&self.proj.forward(x)?, residual)
    }
}
