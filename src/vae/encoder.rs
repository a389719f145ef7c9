//! The encoder of LDM's `AutoencoderKL`.

use super::blocks::{LevelBlocks, Middle};
use crate::config::VaeConfig;
use crate::ops::{Conv2d, GroupNorm, LayerBuilder, Linear, conv1x1, conv3x3, conv3x3_stride2, group_norm};
use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

/// The encoder of `AutoencoderKL`, which converts pixels to latents. Its fields are named after the tensors of the
/// checkpoint's `first_stage_model`.
pub struct Encoder {
    scale_factor: f64,
    conv_in: Conv2d,
    down: Vec<Level>, // largest map first
    mid: Middle,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    quant_conv: Linear,
    embed_dim: usize,
}

/// A resolution level, `encoder.down.N`: its blocks, then downsampling.
struct Level {
    blocks: LevelBlocks,
    downsample: Option<Conv2d>,
}

impl Encoder {
    /// Builds the encoder from the layers below `lb`. `scale_factor`: the factor to multiply latents by.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn new(config: &VaeConfig, scale_factor: f64, lb: LayerBuilder) -> Result<Self> {
        let (moments, encoder) = (lb.pp("quant_conv"), lb.pp("encoder").for_large_maps());
        let c = config.ch * config.ch_mult[config.ch_mult.len() - 1];
        let down = (0..config.ch_mult.len())
            .into_par_iter()
            .map(|level| Level::new(config, level, encoder.pp("down").pp(level)))
            .collect::<Result<_>>()?;
        Ok(Self {
            scale_factor,
            conv_in: conv3x3(config.out_ch, config.ch, encoder.pp("conv_in"))?,
            down,
            mid: Middle::new(c, encoder.pp("mid"))?,
            norm_out: group_norm(c, 1e-6, encoder.pp("norm_out"))?,
            conv_out: conv3x3(c, 2 * config.z_channels, encoder.pp("conv_out"))?,
            quant_conv: conv1x1(2 * config.z_channels, 2 * config.embed_dim, moments)?,
            embed_dim: config.embed_dim,
        })
    }

    /// Encodes `pixels` (B, 8h, 8w, 3), from −1 to 1 → latents (B, h, w, 4): the mean of the distribution from which the
    /// original draws. With real autoencoders its standard deviation is about 1e-4 of the latents'.
    ///
    /// # Errors
    /// If the device fails.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut x = self.conv_in.forward(pixels)?;
        for level in &self.down {
            x = level.forward(x)?;
        }
        x = self.mid.forward(x)?;
        x = self.conv_out.forward(&self.norm_out.forward_silu(&x)?)?;
        let moments = self.quant_conv.forward(&x)?.to_dtype(DType::F32)?; // (B, h, w, 8): means, then log variances
        moments.narrow(3, 0, self.embed_dim)?.contiguous()? * self.scale_factor
    }
}

impl Level {
    fn new(config: &VaeConfig, level: usize, lb: LayerBuilder) -> Result<Self> {
        let c_above = config.ch * if level == 0 { 1 } else { config.ch_mult[level - 1] };
        let c = config.ch * config.ch_mult[level];
        Ok(Self {
            blocks: LevelBlocks::new(config, level, c_above, config.num_res_blocks, &lb)?,
            downsample: match level + 1 < config.ch_mult.len() {
                true => Some(conv3x3_stride2(c, c, lb.pp("downsample.conv"))?),
                false => None,
            },
        })
    }

    /// `x`: (B, h, w, C_above) → (B, h/2, w/2, C), or (B, h, w, C) at the last level.
    fn forward(&self, x: Tensor) -> Result<Tensor> {
        let x = self.blocks.forward(x)?;
        match &self.downsample {
            Some(conv) => downsample(conv, &x),
            None => Ok(x),
        }
    }
}

/// Convolves with stride 2 as the original does, which pads only at the bottom and the right: `x` (B, h, w, C) → (B, h/2,
/// w/2, C). Our convolutions pad on all sides, so the map is moved by one pixel, and the first row and column are left out.
fn downsample(conv: &Conv2d, x: &Tensor) -> Result<Tensor> {
    let (_, h, w, _) = x.dims4()?;
    let moved = x.pad_with_zeros(1, 1, 0)?.pad_with_zeros(2, 1, 0)?; // (B, h + 1, w + 1, C)
    conv.forward(&moved)?.narrow(1, 1, h / 2)?.narrow(2, 1, w / 2)?.contiguous()
}
