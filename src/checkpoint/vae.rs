//! An autoencoder in a file of its own, which replaces a checkpoint's.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{Tensors, about, folder, read_file};

/// Where LDM keeps the autoencoder.
pub(super) const ROOT: &str = "first_stage_model.";

/// An autoencoder's parts, as it is trained and saved alone.
const PARTS: [&str; 4] = ["encoder.", "decoder.", "quant_conv.", "post_quant_conv."];

/// The autoencoder's tensors, under LDM's names; whatever else is there (the loss, other networks) is left.
pub(super) fn read(path: &Path) -> Result<Tensors> {
    let path = file(path)?;
    tensors(read_file(&path)?).map_err(|e| about(&path, e))
}

/// The file that holds it: of a diffusers folder, that of its `vae/` or its own.
fn file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let part = if path.join("vae").is_dir() { "vae" } else { "" };
    folder::find(path, part, folder::MODEL).map_err(|e| about(path, e))
}

fn tensors(tensors: Tensors) -> Result<Tensors> {
    let has = |start: &str| tensors.keys().any(|name| name.starts_with(start));
    if has("conditioner.embedders.") {
        bail!("is a Stable Diffusion XL model, whose latents are others; give a VAE for Stable Diffusion 1.x");
    }
    if has("first_stage_model.decoder.") {
        return Ok(tensors.into_iter().filter(|(name, _)| name.starts_with(ROOT)).collect());
    }
    if has("decoder.up_blocks.") {
        return Ok(folder::vae(tensors));
    }
    if has("decoder.up.") {
        let is_part = |name: &str| PARTS.iter().any(|part| name.starts_with(part));
        let parts = tensors.into_iter().filter(|(name, _)| is_part(name));
        return Ok(parts.map(|(name, tensor)| (format!("{ROOT}{name}"), tensor)).collect());
    }
    bail!("holds no decoder of pictures; give a VAE's .ckpt or .safetensors file or a diffusers folder with one")
}
