//! The bundled demo model, which draws coloured solids. It is a checkpoint and a config like any other.

use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use anyhow::{Context, Result};

/// The name of the demo model in `--ckpt`.
pub const NAME: &str = "demo";

/// The checkpoint, a `.safetensors` file.
pub static WEIGHTS: &[u8] = include_bytes!("../models/demo/demo.safetensors");
/// The text of the config.
const CONFIG: &str = include_str!("../models/demo/demo.yaml");

/// Returns the config.
///
/// # Errors
/// If the bundled file is damaged.
pub fn config() -> Result<ModelConfig> {
    ModelConfig::parse(CONFIG).context("the demo model's config")
}

/// Opens the checkpoint.
///
/// # Errors
/// If the bundled file is damaged.
pub fn checkpoint() -> Result<Checkpoint> {
    Checkpoint::built_in(NAME.as_ref(), WEIGHTS)
}
