//! The blocks of the UNet: one kind of block, and the tables of `input_blocks` and `output_blocks`.

use super::attention::{Kv, SpatialTransformer};
use crate::config::UNetConfig;
use crate::ops::{
    Conv2d, GroupNorm, LayerBuilder, Linear, UpsampledConv2d, concat, conv1x1, conv3x3, conv3x3_stride2,
    conv3x3_upsampled, group_norm,
};
use candle_core::{Result, Tensor};

/// GroupNorm → SiLU → conv, twice, with the time embedding added between (LDM `ResBlock`).
pub struct ResBlock {
    in_norm: GroupNorm,
    in_conv: Conv2d,
    out_norm: GroupNorm,
    out_conv: Conv2d,
    skip: Option<Linear>,
}

impl ResBlock {
    /// Builds all layers but `emb_layers`, which [`TimeEmbedding`](super::time::TimeEmbedding) builds.
    pub fn new(c_in: usize, c_out: usize, lb: LayerBuilder) -> Result<Self> {
        Ok(Self {
            in_norm: group_norm(c_in, 1e-5, lb.pp("in_layers.0"))?,
            in_conv: conv3x3(c_in, c_out, lb.pp("in_layers.2"))?,
            out_norm: group_norm(c_out, 1e-5, lb.pp("out_layers.0"))?,
            out_conv: conv3x3(c_out, c_out, lb.pp("out_layers.3"))?,
            skip: if c_in == c_out { None } else { Some(conv1x1(c_in, c_out, lb.pp("skip_connection"))?) },
        })
    }

    /// `x`: (B, h, w, C_in), `time`: (1, C_out) → (B, h, w, C_out).
    pub fn forward(&self, x: &Tensor, time: &Tensor) -> Result<Tensor> {
        let y = self.in_conv.forward_shift(&self.in_norm.forward_silu(x)?, time)?; // (B, h, w, C_out)
        let y = self.out_norm.forward_silu(&y)?;
        match &self.skip {
            Some(skip) => self.out_conv.forward_add(&y, &skip.forward(x)?),
            None => self.out_conv.forward_add(&y, x),
        }
    }
}

/// The change of a map's size between two levels.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Resample {
    /// A 3×3 convolution with stride 2 (LDM `Downsample`).
    Down,
    /// Nearest neighbours, then a 3×3 convolution (LDM `Upsample`).
    Up,
}

/// The shape of one entry of `input_blocks`, `middle_block` or `output_blocks`.
#[derive(Clone, PartialEq, Debug)]
pub struct BlockShape {
    /// Input channels, including those of a skip connection.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Whether a residual block comes first.
    pub res: bool,
    /// The heads of the transformer that follows, if any.
    pub heads: Option<usize>,
    /// The change of size that comes last, if any.
    pub resample: Option<Resample>,
}

/// One entry of `input_blocks` or `output_blocks`: any of the three, applied in this order.
pub struct Block {
    res: Option<ResBlock>,
    attention: Option<SpatialTransformer>,
    resample: Option<ResampleConv>,
}

/// The convolution of a [`Resample`].
enum ResampleConv {
    Down(Conv2d),
    Up(UpsampledConv2d),
}

impl Block {
    /// Builds a block; its parts are numbered from 0.
    pub fn new(shape: &BlockShape, config: &UNetConfig, lb: LayerBuilder) -> Result<Self> {
        let c = shape.c_out;
        let mut index = 0..;
        let mut part = || lb.pp(index.next().expect("an endless count"));
        let res = shape.res.then(|| ResBlock::new(shape.c_in, c, part())).transpose()?;
        let attention = shape
            .heads
            .map(|heads| SpatialTransformer::new(c, heads, config.transformer_depth, config.context_dim, part()))
            .transpose()?;
        let resample = shape
            .resample
            .map(|resample| match resample {
                Resample::Down => conv3x3_stride2(c, c, part().pp("op")).map(ResampleConv::Down),
                Resample::Up => conv3x3_upsampled(c, c, part().pp("conv")).map(ResampleConv::Up),
            })
            .transpose()?;
        Ok(Self { res, attention, resample })
    }

    /// The transformer, if the block has one.
    pub fn transformer(&self) -> Option<&SpatialTransformer> {
        self.attention.as_ref()
    }

    /// `x`: (B, h, w, C_in) → (B, h', w', C_out). `larger`: the (h', w') of an upsampled map. `times`: the time embeddings
    /// of the remaining residual blocks. `prompts`: the keys and values of the remaining transformers.
    pub fn forward<'p>(
        &self,
        x: &Tensor,
        times: &mut impl Iterator<Item = Tensor>,
        prompts: &mut impl Iterator<Item = &'p Vec<Kv>>,
        larger: (usize, usize),
    ) -> Result<Tensor> {
        let mut x = x.clone();
        if let Some(res) = &self.res {
            x = res.forward(&x, &times.next().expect("one for each residual block"))?;
        }
        if let Some(attention) = &self.attention {
            x = attention.forward(&x, prompts.next().expect("one for each transformer"))?;
        }
        match &self.resample {
            Some(ResampleConv::Down(conv)) => conv.forward(&x),
            Some(ResampleConv::Up(conv)) => conv.forward(&x, larger.0, larger.1),
            None => Ok(x),
        }
    }

    /// Applies an output block to `x` and the last of `skips`, the maps (B, h, w, C) of the input blocks, which it removes. The
    /// other arguments are those of [`Self::forward`].
    pub fn forward_up<'p>(
        &self,
        x: &Tensor,
        skips: &mut Vec<Tensor>,
        times: &mut impl Iterator<Item = Tensor>,
        prompts: &mut impl Iterator<Item = &'p Vec<Kv>>,
    ) -> Result<Tensor> {
        let skip = skips.pop().expect("as many skips as output blocks");
        let (_, h, w, _) = skips.last().unwrap_or(&skip).dims4()?;
        self.forward(&concat(x, &skip)?, times, prompts, (h, w))
    }

    /// Takes what [`Self::forward`] would take from `times` and `prompts`.
    pub fn skip<'p>(&self, times: &mut impl Iterator<Item = Tensor>, prompts: &mut impl Iterator<Item = &'p Vec<Kv>>) {
        if self.res.is_some() {
            times.next();
        }
        if self.attention.is_some() {
            prompts.next();
        }
    }
}

/// The shapes of `input_blocks` except the first, which is a single convolution.
pub fn input_shapes(config: &UNetConfig) -> Vec<BlockShape> {
    let mut shapes = vec![];
    let mut c_in = config.model_channels;
    for (level, mult) in config.channel_mult.iter().enumerate() {
        let c_out = mult * config.model_channels;
        let heads = config.heads(level);
        for _ in 0..config.num_res_blocks {
            shapes.push(BlockShape { c_in, c_out, res: true, heads, resample: None });
            c_in = c_out;
        }
        if level + 1 < config.channel_mult.len() {
            shapes.push(BlockShape { c_in, c_out, res: false, heads: None, resample: Some(Resample::Down) });
        }
    }
    shapes
}

/// The number of elements of all maps that `input_blocks` keep for `output_blocks`, divided by the number of latents.
pub fn skips_per_latent(config: &UNetConfig) -> f64 {
    let mut pixels = 1.; // per latent
    let mut skips = config.model_channels as f64;
    for shape in input_shapes(config) {
        if shape.resample == Some(Resample::Down) {
            pixels /= 4.;
        }
        skips += pixels * shape.c_out as f64;
    }
    skips
}

/// The shapes of `output_blocks`. Each takes the output of the block before it and that of its input block.
pub fn output_shapes(config: &UNetConfig) -> Vec<BlockShape> {
    let mut skips: Vec<usize> = input_shapes(config).iter().map(|shape| shape.c_out).collect();
    skips.insert(0, config.model_channels);
    let mut shapes = vec![];
    let mut c = config.level_channels(config.channel_mult.len() - 1);
    for level in (0..config.channel_mult.len()).rev() {
        for i in 0..=config.num_res_blocks {
            let skip = skips.pop().expect("as many skips as output blocks");
            let c_out = config.level_channels(level);
            let resample = (level > 0 && i == config.num_res_blocks).then_some(Resample::Up);
            shapes.push(BlockShape { c_in: c + skip, c_out, res: true, heads: config.heads(level), resample });
            c = c_out;
        }
    }
    shapes
}
