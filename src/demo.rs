//! The model in the box: a small one, trained for this program, that draws coloured solids. To everything else it is a
//! checkpoint and a config like any other.

use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use anyhow::{Context, Result};

/// What `--ckpt` calls it.
pub const NAME: &str = "demo";

/// Its checkpoint, a `.safetensors` file.
pub static WEIGHTS: &[u8] = include_bytes!("../models/demo/demo.safetensors");
const CONFIG: &str = include_str!("../models/demo/demo.yaml");

/// Its shape.
///
/// # Errors
/// None, as long as the files it was built from are whole.
pub fn config() -> Result<ModelConfig> {
    ModelConfig::parse(CONFIG).context("the demo model's config")
}

/// Its weights.
///
/// # Errors
/// None, as long as the files it was built from are whole.
pub fn checkpoint() -> Result<Checkpoint> {
    Checkpoint::built_in(NAME.as_ref(), WEIGHTS)
}
