//! The alphas that PEFT keeps in a config, not beside the tensors: in the metadata of a file, or in a file of its own.

use super::Metadata;
use crate::checkpoint::names::TEXT;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The entry of the metadata that diffusers writes PEFT's config to.
const CONFIG: &str = "lora_adapter_metadata";

/// The stem of the files that PEFT writes, and the file beside them that has the config.
pub const PEFT: (&str, &str) = ("adapter_model", "adapter_config.json");

/// The largest config that is read, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// Adds the config beside a file that PEFT wrote to the file's metadata.
///
/// # Errors
/// If there is a config, and it cannot be read.
pub(super) fn add_config(metadata: &mut Metadata, path: &Path) -> Result<()> {
    let (stem, name) = PEFT;
    let config = path.with_file_name(name);
    if path.file_stem().is_none_or(|other| other != stem) || !config.is_file() || metadata.contains_key(CONFIG) {
        return Ok(());
    }
    let size = config.metadata().map_or(0, |metadata| metadata.len());
    ensure!(size <= MAX_CONFIG, "has a config '{}' of {size} bytes, which is too large", config.display());
    let text = fs::read_to_string(&config).with_context(|| format!("has a config '{}' beside it", config.display()))?;
    metadata.insert(CONFIG.to_owned(), text);
    Ok(())
}

/// Returns alpha and alpha / rank of a module, by LDM's name and its name in the file. With `use_rslora`, the denominator is
/// √rank (Kalajdzievski 2023, arXiv 2312.03732).
pub(super) fn stated(module: &str, own_name: &str, rank: usize, metadata: &Metadata) -> Option<(f64, f64)> {
    let config: Value = serde_json::from_str(metadata.get(CONFIG)?).ok()?;
    let network = if module.starts_with(TEXT) { "text_encoder" } else { "unet" };
    let entry = |key: &str| config.get(format!("{network}.{key}")).or_else(|| config.get(key));
    let alpha = of_module(entry("alpha_pattern"), own_name).or_else(|| entry("lora_alpha")?.as_f64())?;
    let is_rank_stabilized = entry("use_rslora").and_then(Value::as_bool) == Some(true);
    let rank = rank as f64;
    Some((alpha, alpha / if is_rank_stabilized { rank.sqrt() } else { rank }))
}

/// Returns the alpha of a module with one of its own, by the ends of modules' names.
fn of_module(alphas: Option<&Value>, own_name: &str) -> Option<f64> {
    let is_end = |end: &str| own_name.strip_suffix(end).is_some_and(|start| start.is_empty() || start.ends_with('.'));
    alphas?.as_object()?.iter().find(|(end, _)| is_end(end))?.1.as_f64()
}
