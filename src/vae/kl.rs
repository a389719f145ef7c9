//! The decoder of LDM's `AutoencoderKL`.

use super::blocks::{LevelBlocks, Middle};
use crate::config::VaeConfig;
use crate::ops::{
    Conv2d, GroupNorm, LayerBuilder, Linear, UpsampledConv2d, conv1x1, conv3x3, conv3x3_upsampled, group_norm,
};
use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

/// The decoder of `AutoencoderKL`. Its fields are named after the tensors of the checkpoint's `first_stage_model`.
pub struct KlDecoder {
    scale_factor: f64,
    post_quant_conv: Linear,
    conv_in: Conv2d,
    mid: Middle,
    up: Vec<Level>, // smallest map first
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// A resolution level, `decoder.up.N`: its blocks, then upsampling.
struct Level {
    blocks: LevelBlocks,
    upsample: Option<UpsampledConv2d>,
}

impl KlDecoder {
    /// Builds the decoder from the layers below `lb`. `scale_factor`: the factor that latents were multiplied by.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn new(config: &VaeConfig, scale_factor: f64, lb: LayerBuilder) -> Result<Self> {
        let (latents, decoder) = (lb.pp("post_quant_conv"), lb.pp("decoder").for_large_maps());
        let c = config.ch * config.ch_mult[config.ch_mult.len() - 1];
        let up = (0..config.ch_mult.len())
            .into_par_iter()
            .rev()
            .map(|level| Level::new(config, level, decoder.pp("up").pp(level)))
            .collect::<Result<_>>()?;
        Ok(Self {
            scale_factor,
            post_quant_conv: conv1x1(config.embed_dim, config.z_channels, latents)?,
            conv_in: conv3x3(config.z_channels, c, decoder.pp("conv_in"))?,
            mid: Middle::new(c, decoder.pp("mid"))?,
            up,
            norm_out: group_norm(config.ch * config.ch_mult[0], 1e-6, decoder.pp("norm_out"))?,
            conv_out: conv3x3(config.ch * config.ch_mult[0], config.out_ch, decoder.pp("conv_out"))?,
        })
    }

    /// Decodes `latents` (B, h, w, 4) → pixels (B, 8h, 8w, 3), about -1 to 1.
    pub fn forward(&self, latents: &Tensor) -> Result<Tensor> {
        let z = self.post_quant_conv.forward(&(latents / self.scale_factor)?)?;
        let mut x = self.mid.forward(self.conv_in.forward(&z)?)?;
        for level in &self.up {
            x = level.forward(x)?;
        }
        x = self.norm_out.forward_silu(&x)?;
        self.conv_out.forward(&x)?.to_dtype(DType::F32)
    }
}

impl Level {
    fn new(config: &VaeConfig, level: usize, lb: LayerBuilder) -> Result<Self> {
        let top = config.ch_mult.len() - 1;
        let c_below = config.ch * config.ch_mult[top.min(level + 1)];
        let c = config.ch * config.ch_mult[level];
        Ok(Self {
            blocks: LevelBlocks::new(config, level, c_below, config.num_res_blocks + 1, &lb)?,
            upsample: if level > 0 { Some(conv3x3_upsampled(c, c, lb.pp("upsample.conv"))?) } else { None },
        })
    }

    /// `x`: (B, h, w, C_below) → (B, 2h, 2w, C), or (B, h, w, C) at the last level.
    fn forward(&self, x: Tensor) -> Result<Tensor> {
        let x = self.blocks.forward(x)?;
        match &self.upsample {
            Some(conv) => {
                let (_, h, w, _) = x.dims4()?;
                conv.forward(&x, 2 * h, 2 * w)
            }
            None => Ok(x),
        }
    }
}
