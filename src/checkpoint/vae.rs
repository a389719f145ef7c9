//! An autoencoder in a file of its own, which replaces a checkpoint's.

use std::path::Path;

use anyhow::{Result, bail};

use super::part_files::DIFFUSERS;
use super::{Tensors, about, folder, read_file};

/// Where LDM keeps the autoencoder.
pub(super) const ROOT: &str = "first_stage_model.";

/// An autoencoder's parts, as it is trained and saved alone.
const PARTS: [&str; 4] = ["encoder.", "decoder.", "quant_conv.", "post_quant_conv."];

/// The tensor that tells where a decoder's names begin.
const LANDMARK: &str = "decoder.conv_in.weight";

/// Reads the autoencoder's tensors, under LDM's names; whatever else is there (the loss, other networks) is left.
pub(super) fn read(path: &Path) -> Result<Tensors> {
    if path.is_dir() {
        // A diffusers folder, or the VAE's within it.
        let part = if path.join("vae").is_dir() { "vae" } else { "" };
        let part = folder::find(path, part, DIFFUSERS)?;
        return tensors(part.read()?).map_err(|e| about(&part.path(), e));
    }
    tensors(read_file(path)?).map_err(|e| about(path, e))
}

fn tensors(tensors: Tensors) -> Result<Tensors> {
    if tensors.keys().any(|name| name.starts_with("conditioner.embedders.")) {
        bail!("is a Stable Diffusion XL model, whose latents are different; give a VAE for Stable Diffusion 1.x");
    }
    let Some(prefix) = prefix(&tensors) else {
        bail!("has no VAE decoder; give a VAE's .ckpt, .pt or .safetensors file or a diffusers folder with one");
    };
    let inner = |(name, tensor): (String, _)| Some((name.strip_prefix(&*prefix)?.to_string(), tensor));
    let inner: Tensors = tensors.into_iter().filter_map(inner).collect();
    if inner.keys().any(|name| name.starts_with("decoder.up_blocks.")) {
        return Ok(folder::vae(inner));
    }
    let is_part = |name: &str| PARTS.iter().any(|part| name.starts_with(part));
    let parts = inner.into_iter().filter(|(name, _)| is_part(name));
    Ok(parts.map(|(name, tensor)| (format!("{ROOT}{name}"), tensor)).collect())
}

/// What stands before a decoder's names: `first_stage_model.` in a full checkpoint, nothing or what a tool put there in a
/// VAE's own file.
fn prefix(tensors: &Tensors) -> Option<String> {
    let prefixes = tensors.keys().filter_map(|name| name.strip_suffix(LANDMARK));
    let is_whole = |prefix: &str| prefix.is_empty() || prefix.ends_with('.');
    // Moving averages of the weights are for training.
    let is_drawn = |prefix: &str| !prefix.split(['.', '_']).any(|word| word == "ema");
    prefixes.filter(|prefix| is_whole(prefix) && is_drawn(prefix)).min_by_key(|prefix| prefix.len()).map(str::to_string)
}
