//! The configuration of the vision transformer, from `config.json`.

use crate::json;
use anyhow::{Context, Result, ensure};
use candle_transformers::models::clip::text_model::Activation;
use candle_transformers::models::clip::vision_model::ClipVisionConfig;
use serde::Deserialize;
use std::path::Path;

/// The largest width of a layer.
pub const MAX_CHANNELS: usize = 1 << 16;

#[derive(Deserialize)]
struct Config {
    vision_config: VisionConfig,
}

/// The vision part of the config, with the field names and defaults of transformers' `CLIPVisionConfig`.
#[derive(Deserialize)]
#[serde(default)]
struct VisionConfig {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    image_size: usize,
    patch_size: usize,
    hidden_act: String,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 32,
            hidden_act: "quick_gelu".into(),
        }
    }
}

/// Reads `config.json`. `projection_dim` is the width of the embedding space, from the shapes of the tensors.
///
/// # Errors
/// If the file cannot be read, or a model with this configuration cannot be built.
pub fn read_vision_config(path: &Path, projection_dim: usize) -> Result<ClipVisionConfig> {
    let parse = || -> Result<_> {
        let config: Config = json::read_file(path)?;
        config.vision_config.check()?;
        Ok(config.vision_config)
    };
    let config = parse().with_context(|| format!("the safety checker's '{}'", path.display()))?;
    Ok(config.clip(projection_dim))
}

impl VisionConfig {
    /// # Errors
    /// If a model with these sizes cannot be built, or would not fit in memory.
    fn check(&self) -> Result<()> {
        for (name, number, most) in [
            ("hidden_size", self.hidden_size, MAX_CHANNELS),
            ("intermediate_size", self.intermediate_size, MAX_CHANNELS),
            ("num_hidden_layers", self.num_hidden_layers, 256),
            ("num_attention_heads", self.num_attention_heads, 64),
            ("image_size", self.image_size, 1024),
            ("patch_size", self.patch_size, self.image_size),
        ] {
            ensure!((1..=most).contains(&number), "vision_config: {name} must be 1 to {most}, not {number}");
        }
        let patches = self.image_size / self.patch_size;
        ensure!(patches <= 32, "vision_config: patch_size makes {patches} patches per side, more than 32");
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        ensure!(width % heads == 0, "vision_config: hidden_size {width} cannot be divided among {heads} heads");
        ensure!(self.hidden_act == "quick_gelu", "vision_config: hidden_act must be quick_gelu, as CLIP's is");
        Ok(())
    }

    fn clip(self, projection_dim: usize) -> ClipVisionConfig {
        ClipVisionConfig {
            embed_dim: self.hidden_size,
            activation: Activation::QuickGelu,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            projection_dim,
            num_channels: 3,
            image_size: self.image_size,
            patch_size: self.patch_size,
        }
    }
}
