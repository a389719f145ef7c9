//! The alphas that PEFT keeps in the metadata of a file, not beside its tensors.

use super::Metadata;
use crate::checkpoint::names::TEXT;
use serde_json::Value;

/// The entry of the metadata that diffusers writes PEFT's config to.
const CONFIG: &str = "lora_adapter_metadata";

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
