//! The building blocks of the encoder and the decoder.

use crate::config::VaeConfig;
use crate::ops::{
    self, Compute, Conv2d, GroupNorm, LayerBuilder, Linear, Projections, conv1x1, conv1x1s, conv3x3, group_norm,
};
use candle_core::{Result, Tensor};

/// GroupNorm → SiLU → conv, twice, added to the input (LDM's `ResnetBlock`).
pub struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    nin_shortcut: Option<Linear>,
}

impl ResnetBlock {
    pub fn new(c_in: usize, c_out: usize, lb: LayerBuilder) -> Result<Self> {
        Ok(Self {
            norm1: group_norm(c_in, 1e-6, lb.pp("norm1"))?,
            conv1: conv3x3(c_in, c_out, lb.pp("conv1"))?,
            norm2: group_norm(c_out, 1e-6, lb.pp("norm2"))?,
            conv2: conv3x3(c_out, c_out, lb.pp("conv2"))?,
            nin_shortcut: if c_in == c_out { None } else { Some(conv1x1(c_in, c_out, lb.pp("nin_shortcut"))?) },
        })
    }

    /// `x`: (B, h, w, C_in) → (B, h, w, C_out). Takes `x` by value, as maps are large and are freed as early as
    /// possible.
    pub fn forward(&self, mut x: Tensor) -> Result<Tensor> {
        let mut y = self.conv1.forward(&self.norm1.forward_silu(&x)?)?; // (B, h, w, C_out)
        y = self.norm2.forward_silu(&y)?;
        if let Some(shortcut) = &self.nin_shortcut {
            x = shortcut.forward(&x)?; // (B, h, w, C_out)
        }
        self.conv2.forward_add(&y, &x)
    }
}

/// Self-attention over all pixels, with one head (LDM's `AttnBlock`).
pub struct AttnBlock {
    compute: Compute,
    norm: GroupNorm,
    qkv: Projections<3>,
    proj_out: Linear,
}

impl AttnBlock {
    pub fn new(c: usize, lb: LayerBuilder) -> Result<Self> {
        Ok(Self {
            compute: lb.compute(),
            norm: group_norm(c, 1e-6, lb.pp("norm"))?,
            qkv: conv1x1s(c, c, ["q", "k", "v"].map(|part| lb.pp(part)))?,
            proj_out: conv1x1(c, c, lb.pp("proj_out"))?,
        })
    }

    /// `x`: (B, h, w, C) → the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let tokens = self.norm.forward(x)?.reshape((b, h * w, c))?; // (B, N, C)
        let [q, k, v] = self.qkv.forward(&tokens)?;
        let attended = ops::attention(self.compute, &q, &k, &v, 1)?; // (B, N, C)
        self.proj_out.forward_add(&attended, x)?.reshape((b, h, w, c))
    }
}

/// The blocks at the smallest resolution: residual, attention, residual.
pub struct Middle {
    block_1: ResnetBlock,
    attn_1: AttnBlock,
    block_2: ResnetBlock,
}

impl Middle {
    pub fn new(c: usize, lb: LayerBuilder) -> Result<Self> {
        Ok(Self {
            block_1: ResnetBlock::new(c, c, lb.pp("block_1"))?,
            attn_1: AttnBlock::new(c, lb.pp("attn_1"))?,
            block_2: ResnetBlock::new(c, c, lb.pp("block_2"))?,
        })
    }

    /// `x`: (B, h, w, C) → the same shape.
    pub fn forward(&self, x: Tensor) -> Result<Tensor> {
        self.block_2.forward(self.attn_1.forward(&self.block_1.forward(x)?)?)
    }
}

/// The blocks of a resolution level: residual blocks, each followed by attention if the config says so.
pub struct LevelBlocks {
    block: Vec<ResnetBlock>,
    attn: Vec<AttnBlock>,
}

impl LevelBlocks {
    /// Reads `n` residual blocks of `level`, 0 being that of the largest map, from `c_in` channels to the level's own.
    pub fn new(config: &VaeConfig, level: usize, c_in: usize, n: usize, lb: &LayerBuilder) -> Result<Self> {
        let c = config.ch * config.ch_mult[level];
        let has_attention = config.attn_resolutions.contains(&(config.resolution >> level));
        Ok(Self {
            block: (0..n)
                .map(|i| ResnetBlock::new(if i == 0 { c_in } else { c }, c, lb.pp("block").pp(i)))
                .collect::<Result<_>>()?,
            attn: (0..n)
                .filter(|_| has_attention)
                .map(|i| AttnBlock::new(c, lb.pp("attn").pp(i)))
                .collect::<Result<_>>()?,
        })
    }

    /// `x`: (B, h, w, C_in) → (B, h, w, C).
    pub fn forward(&self, mut x: Tensor) -> Result<Tensor> {
        for (i, block) in self.block.iter().enumerate() {
            x = block.forward(x)?;
            if let Some(attn) = self.attn.get(i) {
                x = attn.forward(&x)?;
            }
        }
        Ok(x)
    }
}
