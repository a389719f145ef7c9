//! The model's configuration, as read from the original's yaml files.

mod noise;
mod prediction;
mod yaml;

use anyhow::{Context, Result, anyhow, bail, ensure};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

pub use noise::{Ends, NoiseConfig};
pub use prediction::Prediction;

/// The maximum size of a yaml file in bytes. The original's have 2 KiB; the limit protects from endless files such as
/// /dev/zero.
const MAX_BYTES: u64 = 1 << 20;

/// The number of timesteps that every Stable Diffusion 1.x model was trained with.
pub const TIMESTEPS: usize = 1000;

/// The parameters of a Stable Diffusion 1.x model.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelConfig {
    /// The shape of the denoiser.
    pub unet: UNetConfig,
    /// The shape of the autoencoder.
    pub vae: VaeConfig,
    /// The noise schedule that the model was trained with.
    pub noise: NoiseConfig,
    /// The meaning of the denoiser's output, if the config states it. The original's yaml files do not.
    pub prediction: Option<Prediction>,
    /// The meaning of the denoiser's output if neither the config nor the checkpoint states it (`--prediction`).
    pub assumed_prediction: Option<Prediction>,
    /// Whether to use the exponential moving averages (EMA) of the denoiser's weights.
    pub use_ema: bool,
    /// The factor from the autoencoder's latents to the UNet's.
    pub scale_factor: f64,
}

/// The shape of the UNet. The names of the fields are those of LDM's `unet_config.params`.
#[derive(Clone, PartialEq, Debug)]
pub struct UNetConfig {
    /// The number of input channels: those of the latents, and in inpainting models those of the mask and of the latents of the
    /// masked picture, in this order.
    pub in_channels: usize,
    /// The number of channels of the predicted noise, and so of the latents.
    pub out_channels: usize,
    /// The number of channels of the largest map.
    pub model_channels: usize,
    /// The number of channels of each level, in multiples of `model_channels`.
    pub channel_mult: Vec<usize>,
    /// The levels with attention, by their downsampling factors.
    pub attention_resolutions: Vec<usize>,
    /// The number of residual blocks per level.
    pub num_res_blocks: usize,
    /// The number of attention heads.
    pub heads: Heads,
    /// The number of blocks in each transformer.
    pub transformer_depth: usize,
    /// The width of a context token.
    pub context_dim: usize,
    /// The width of the embedding of the guidance scale, if the scale is an input, as it is of latent consistency models.
    /// Configs leave it out; [`Checkpoint::unet_config`](crate::checkpoint::Checkpoint::unet_config) adds it.
    pub guidance_width: Option<usize>,
}

/// The number of attention heads at a level.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Heads {
    /// `num_heads`: the number of heads at every level.
    Count(usize),
    /// `num_head_channels`: the number of channels per head.
    Width(usize),
}

/// The shape of the autoencoder. The names of the fields are those of LDM's `first_stage_config.params` and its
/// `ddconfig`.
#[derive(Clone, PartialEq, Debug)]
pub struct VaeConfig {
    /// The number of channels of the latents before `post_quant_conv`.
    pub embed_dim: usize,
    /// The number of channels of the latents after `post_quant_conv`.
    pub z_channels: usize,
    /// The number of channels of an image.
    pub out_ch: usize,
    /// The number of channels of the largest map.
    pub ch: usize,
    /// The number of channels of each level, in multiples of `ch`.
    pub ch_mult: Vec<usize>,
    /// The number of residual blocks per level of the encoder. The decoder has one more.
    pub num_res_blocks: usize,
    /// The sides of the maps with attention, for an image of `resolution`.
    pub attn_resolutions: Vec<usize>,
    /// The side of an image in training, in pixels. It determines the meaning of `attn_resolutions` only.
    pub resolution: usize,
}

impl VaeConfig {
    /// The number of pixels per latent along a side.
    pub fn side_factor(&self) -> usize {
        1 << (self.ch_mult.len() - 1)
    }
}

impl ModelConfig {
    /// Returns the config of Stable Diffusion 1.x, `configs/stable-diffusion/v1-inference.yaml`.
    pub fn v1() -> Self {
        Self {
            unet: UNetConfig {
                in_channels: 4,
                out_channels: 4,
                model_channels: 320,
                channel_mult: vec![1, 2, 4, 4],
                attention_resolutions: vec![4, 2, 1],
                num_res_blocks: 2,
                heads: Heads::Count(8),
                transformer_depth: 1,
                context_dim: 768,
                guidance_width: None,
            },
            vae: VaeConfig {
                embed_dim: 4,
                z_channels: 4,
                out_ch: 3,
                ch: 128,
                ch_mult: vec![1, 2, 4, 4],
                num_res_blocks: 2,
                attn_resolutions: vec![],
                resolution: 256,
            },
            noise: NoiseConfig::V1,
            prediction: None,
            assumed_prediction: None,
            use_ema: false,
            scale_factor: 0.18215,
        }
    }

    /// Reads a yaml file of the original's format.
    ///
    /// # Errors
    /// If the file cannot be read, is not such a yaml file, or describes a model that is not Stable Diffusion 1.x.
    pub fn from_yaml(path: &Path) -> Result<Self> {
        read_text(path).and_then(|text| Self::parse(&text)).with_context(|| format!("config '{}'", path.display()))
    }

    /// Parses the text of a yaml file of the original's format.
    ///
    /// # Errors
    /// If the text is not such a yaml file, or describes a model that is not Stable Diffusion 1.x.
    pub fn parse(text: &str) -> Result<Self> {
        let config = yaml::parse(text)?;
        config.check()?;
        Ok(config)
    }

    /// # Errors
    /// If a model with these parameters cannot be built.
    fn check(&self) -> Result<()> {
        let unet = &self.unet;
        let widths = (0..unet.channel_mult.len()).map(|level| unet.level_channels(level));
        check_widths("unet_config: model_channels", unet.model_channels, widths.collect())?;
        check_widths(
            "ddconfig: ch",
            self.vae.ch,
            self.vae.ch_mult.iter().map(|m| m.saturating_mul(self.vae.ch)).collect(),
        )?;
        for level in 0..unet.channel_mult.len() {
            let (c, heads) = (unet.level_channels(level), unet.num_heads_of(unet.level_channels(level)));
            ensure!(heads > 0 && c % heads == 0, "unet_config: {c} channels cannot be divided among {heads} heads");
        }
        ensure!((1..=16).contains(&unet.num_res_blocks), "unet_config: num_res_blocks must be 1 to 16");
        ensure!((1..=16).contains(&self.vae.num_res_blocks), "ddconfig: num_res_blocks must be 1 to 16");
        ensure!((1..=16).contains(&unet.transformer_depth), "unet_config: transformer_depth must be 1 to 16");
        ensure!((1..=1 << 16).contains(&unet.context_dim), "unet_config: context_dim must be 1 to 65536");
        let (latents, inputs) = (self.vae.z_channels, unet.in_channels);
        ensure!(
            inputs == latents || unet.takes_mask() && inputs == 2 * latents + 1,
            "unet_config: in_channels is {inputs}, but ddconfig: z_channels is {latents}"
        );
        for (name, c) in
            [("unet_config: out_channels", unet.out_channels), ("first_stage_config: embed_dim", self.vae.embed_dim)]
        {
            ensure!(c == self.vae.z_channels, "{name} is {c}, but ddconfig: z_channels is {}", self.vae.z_channels);
        }
        ensure!((1..=64).contains(&self.vae.z_channels), "ddconfig: z_channels must be 1 to 64");
        ensure!(self.vae.out_ch == 3, "ddconfig: out_ch must be 3, for red, green and blue");
        self.noise.check()?;
        ensure!(self.scale_factor.is_normal(), "scale_factor must be a number other than 0");
        Ok(())
    }
}

fn read_text(path: &Path) -> Result<String> {
    let mut bytes = vec![];
    ensure!(!path.is_dir(), "it is a folder; give a yaml file");
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("there is no such file; give the model's yaml file, or leave out --config for Stable Diffusion 1.x")
        }
        file => file?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?,
    };
    ensure!(bytes.len() as u64 <= MAX_BYTES, "more than {MAX_BYTES} bytes; give a yaml file");
    String::from_utf8(bytes).map_err(|_| anyhow!("it is not UTF-8 text; give a yaml file"))
}

/// Checks the widths of a network's levels: multiples of 32, since group norm has 32 groups, up to 2¹⁶.
fn check_widths(name: &str, base: usize, widths: Vec<usize>) -> Result<()> {
    ensure!((1..=8).contains(&widths.len()), "{name} needs 1 to 8 levels, not {}", widths.len());
    for width in widths.into_iter().chain([base]) {
        ensure!(
            width > 0 && width % 32 == 0 && width <= 1 << 16,
            "{name} and its multiples must be multiples of 32 up to 65536, not {width}"
        );
    }
    Ok(())
}

impl UNetConfig {
    /// Returns the number of channels of a level. Level 0 has the largest map.
    pub(crate) fn level_channels(&self, level: usize) -> usize {
        self.channel_mult[level].saturating_mul(self.model_channels)
    }

    /// Returns whether the UNet is an inpainting model's, which takes a mask and a masked picture.
    pub fn takes_mask(&self) -> bool {
        self.in_channels > self.out_channels
    }

    /// The number of skip connections from `input_blocks` to `output_blocks`.
    pub fn n_skips(&self) -> usize {
        self.channel_mult.len() * (self.num_res_blocks + 1)
    }

    /// The number of attention heads of a level; `None` if it has no attention.
    pub fn heads(&self, level: usize) -> Option<usize> {
        let has_attention = self.attention_resolutions.contains(&(1 << level));
        has_attention.then(|| self.num_heads_of(self.level_channels(level)))
    }

    /// The number of attention heads for a map of `channels` channels.
    pub fn num_heads_of(&self, channels: usize) -> usize {
        match self.heads {
            Heads::Count(count) => count,
            Heads::Width(width) => channels.checked_div(width).unwrap_or(0),
        }
    }
}
