//! The transformer inside the UNet: image tokens look at each other, then at the prompt.

use super::repeated;
use crate::ops::{
    self, Geglu, GroupNorm, LayerNorm, Linear, Products, conv1x1, group_norm, layer_norm, linear, linear_no_bias,
};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

/// GroupNorm → 1×1 → transformer blocks → 1×1, added to its input (LDM `SpatialTransformer`).
pub struct SpatialTransformer {
    norm: GroupNorm,
    proj_in: Linear,
    blocks: Vec<TransformerBlock>,
    proj_out: Linear,
}

impl SpatialTransformer {
    /// c: channels of the map; c_context: width of a prompt token.
    pub fn new(c: usize, heads: usize, depth: usize, c_context: usize, vb: VarBuilder) -> Result<Self> {
        let blocks = vb.pp("transformer_blocks");
        Ok(Self {
            norm: group_norm(c, 1e-6, vb.pp("norm"))?,
            proj_in: conv1x1(c, c, vb.pp("proj_in"))?,
            blocks: (0..depth)
                .map(|i| TransformerBlock::new(c, heads, c_context, blocks.pp(i)))
                .collect::<Result<_>>()?,
            proj_out: conv1x1(c, c, vb.pp("proj_out"))?,
        })
    }

    /// context: (R·B, M, C_context) → what each block makes of it.
    pub fn read(&self, context: &Tensor) -> Result<Vec<KeysValues>> {
        self.blocks.iter().map(|block| block.attn2.read(context)).collect()
    }

    /// x: (B, h, w, C), prompt: what `read` made of R·B contexts → (R·B, h, w, C); x may have as many already.
    pub fn forward(&self, x: &Tensor, prompt: &[KeysValues]) -> Result<Tensor> {
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
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    ff: FeedForward,
}

impl TransformerBlock {
    fn new(c: usize, heads: usize, c_context: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            norm1: layer_norm(c, vb.pp("norm1"))?,
            attn1: Attention::new(c, c, heads, vb.pp("attn1"))?,
            norm2: layer_norm(c, vb.pp("norm2"))?,
            attn2: Attention::new(c, c_context, heads, vb.pp("attn2"))?,
            norm3: layer_norm(c, vb.pp("norm3"))?,
            ff: FeedForward::new(c, vb.pp("ff"))?,
        })
    }

    /// x: (B, N, C), prompt: of R·B contexts → (R·B, N, C).
    fn forward(&self, x: &Tensor, prompt: &KeysValues) -> Result<Tensor> {
        let normal = self.norm1.forward(x)?;
        let x = self.attn1.forward_add(&normal, &self.attn1.read(&normal)?, x)?;
        // Until here nothing depends on the prompt.
        let x = repeated(&x, prompt.k.dim(0)?)?;
        let x = self.attn2.forward_add(&self.norm2.forward(&x)?, prompt, &x)?;
        self.ff.forward_add(&self.norm3.forward(&x)?, &x)
    }
}

/// Multi-head attention (LDM `CrossAttention`).
struct Attention {
    products: Products,
    heads: usize,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

/// What attention looks at, and what it sees there: (B, M, C) each.
pub struct KeysValues {
    k: Tensor,
    v: Tensor,
}

impl Attention {
    fn new(c: usize, c_context: usize, heads: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            products: Products::of(vb.clone()).0,
            heads,
            to_q: linear_no_bias(c, c, vb.pp("to_q"))?,
            to_k: linear_no_bias(c_context, c, vb.pp("to_k"))?,
            to_v: linear_no_bias(c_context, c, vb.pp("to_v"))?,
            to_out: linear(c, c, vb.pp("to_out.0"))?,
        })
    }

    /// context: (B, M, C_context).
    fn read(&self, context: &Tensor) -> Result<KeysValues> {
        Ok(KeysValues { k: self.to_k.forward_operand(context)?, v: self.to_v.forward_operand(context)? })
    }

    /// x, residual: (B, N, C) → (B, N, C).
    fn forward_add(&self, x: &Tensor, seen: &KeysValues, residual: &Tensor) -> Result<Tensor> {
        let q = self.to_q.forward_operand(x)?; // (B, N, C)
        self.to_out.forward_add(&ops::attention(self.products, &q, &seen.k, &seen.v, self.heads)?, residual)
    }
}

/// Linear → GEGLU → linear, four times as wide inside (LDM `FeedForward`).
struct FeedForward {
    proj: Geglu,
    out: Linear,
}

impl FeedForward {
    fn new(c: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self { proj: Geglu::new(c, 4 * c, vb.pp("net.0.proj"))?, out: linear(4 * c, c, vb.pp("net.2"))? })
    }

    /// x, residual: (B, N, C) → (B, N, C).
    fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.out.forward_add(&self.proj.forward(x)?, residual)
    }
}
