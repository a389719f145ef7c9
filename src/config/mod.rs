//! The shape of a model, as the original's yaml files give it.

mod noise;
mod prediction;
mod yaml;

pub use noise::{Ends, NoiseConfig};
pub use prediction::Prediction;

use anyhow::{Context, Result, anyhow, bail, ensure};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The original's yaml files have 2 KiB; /dev/zero has no end.
const MOST_BYTES: u64 = 1 << 20;

/// The number of timesteps that every Stable Diffusion 1.x model was trained with.
pub const TIMESTEPS: usize = 1000;

/// The numbers a Stable Diffusion 1.x model is built from.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelConfig {
    /// The denoiser.
    pub unet: UNetConfig,
    /// The decoder.
    pub vae: VaeConfig,
    /// The noise the model was trained with.
    pub noise: NoiseConfig,
    /// What the denoiser predicts, if the config says so: the original's own yaml files do not.
    pub prediction: Option<Prediction>,
    /// Whether the denoiser's weights are the exponential moving averages (EMA) of those in training.
    pub use_ema: bool,
    /// Latents are the autoencoder's times this.
    pub scale_factor: f64,
}

/// The UNet's shape. Field names are those of LDM's `unet_config.params`.
#[derive(Clone, PartialEq, Debug)]
pub struct UNetConfig {
    /// Channels of the latents.
    pub in_channels: usize,
    /// Channels of the predicted noise.
    pub out_channels: usize,
    /// Channels of the widest map.
    pub model_channels: usize,
    /// Width of each level, in multiples of `model_channels`.
    pub channel_mult: Vec<usize>,
    /// Levels (by downsampling factor) that have attention.
    pub attention_resolutions: Vec<usize>,
    /// Residual blocks a level.
    pub num_res_blocks: usize,
    /// How attention is divided.
    pub heads: Heads,
    /// Transformer blocks in each transformer.
    pub transformer_depth: usize,
    /// Width of a prompt token.
    pub context_dim: usize,
}

/// How many attention heads a level has.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Heads {
    /// `num_heads`: so many, however wide the level.
    Count(usize),
    /// `num_head_channels`: as many as fit with this width.
    Width(usize),
}

/// The autoencoder's shape. Field names are those of LDM's `first_stage_config.params.ddconfig`.
#[derive(Clone, PartialEq, Debug)]
pub struct VaeConfig {
    /// Channels of the latents before `post_quant_conv`.
    pub embed_dim: usize,
    /// Channels of the latents after it.
    pub z_channels: usize,
    /// Channels of the picture.
    pub out_ch: usize,
    /// Channels of the widest map.
    pub ch: usize,
    /// Width of each level, in multiples of `ch`.
    pub ch_mult: Vec<usize>,
    /// Residual blocks a level; the decoder has one more.
    pub num_res_blocks: usize,
    /// Map sizes that have attention, at `resolution`.
    pub attn_resolutions: Vec<usize>,
    /// The picture's side in training; only `attn_resolutions` is measured by it.
    pub resolution: usize,
}

impl VaeConfig {
    /// Pixels to a latent, along a side.
    pub fn side_factor(&self) -> usize {
        1 << (self.ch_mult.len() - 1)
    }
}

impl ModelConfig {
    /// Stable Diffusion 1.x: the numbers of configs/stable-diffusion/v1-inference.yaml.
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
            use_ema: false,
            scale_factor: 0.18215,
        }
    }

    /// Reads one of the original's yaml files.
    ///
    /// # Errors
    /// When the file cannot be read, is no such yaml, or asks for something Stable Diffusion 1.x does not have.
    pub fn from_yaml(path: &Path) -> Result<Self> {
        read(path).and_then(|text| Self::parse(&text)).with_context(|| format!("config '{}'", path.display()))
    }

    /// The same of such a file's text.
    ///
    /// # Errors
    /// When it is no such yaml, or asks for something Stable Diffusion 1.x does not have.
    pub fn parse(text: &str) -> Result<Self> {
        let config = yaml::parse(text)?;
        config.check()?;
        Ok(config)
    }

    /// Numbers that no model can be built from.
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
        for (name, c) in [
            ("unet_config: in_channels", unet.in_channels),
            ("unet_config: out_channels", unet.out_channels),
            ("first_stage_config: embed_dim", self.vae.embed_dim),
        ] {
            ensure!(c == self.vae.z_channels, "{name} is {c}, but ddconfig: z_channels is {}", self.vae.z_channels);
        }
        ensure!((1..=64).contains(&self.vae.z_channels), "ddconfig: z_channels must be 1 to 64");
        ensure!(self.vae.out_ch == 3, "ddconfig: out_ch must be 3, for red, green and blue");
        self.noise.check()?;
        ensure!(self.scale_factor.is_normal(), "scale_factor must be a number other than 0");
        Ok(())
    }
}

fn read(path: &Path) -> Result<String> {
    let mut bytes = vec![];
    ensure!(!path.is_dir(), "it is a folder; give a yaml file");
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("there is no such file; give the model's yaml file, or leave out --config for Stable Diffusion 1.x")
        }
        file => file?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?,
    };
    ensure!(bytes.len() as u64 <= MOST_BYTES, "more than {MOST_BYTES} bytes; give a yaml file");
    String::from_utf8(bytes).map_err(|_| anyhow!("it is not UTF-8 text; give a yaml file"))
}

/// Group norm divides the channels by 32; no model is wider than 2¹⁶.
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
    /// Channels of a level, counted from the widest map.
    pub fn level_channels(&self, level: usize) -> usize {
        self.channel_mult[level].saturating_mul(self.model_channels)
    }

    /// Width of the time embedding.
    pub fn time_channels(&self) -> usize {
        4 * self.model_channels
    }

    /// Attention heads of a level; none where it has no attention.
    pub fn heads(&self, level: usize) -> Option<usize> {
        let has_attention = self.attention_resolutions.contains(&(1 << level));
        has_attention.then(|| self.num_heads_of(self.level_channels(level)))
    }

    /// Attention heads of a map with `channels` channels.
    pub fn num_heads_of(&self, channels: usize) -> usize {
        match self.heads {
            Heads::Count(count) => count,
            Heads::Width(width) => channels.checked_div(width).unwrap_or(0),
        }
    }
}
