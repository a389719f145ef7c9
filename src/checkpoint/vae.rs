//! A replacement for a checkpoint's autoencoder, from another checkpoint or a file of its own.

use super::part_files::DIFFUSERS;
use super::tensor::Tensor;
use super::{Tensors, folder, read_file, with_path};
use anyhow::{Result, bail};
use std::path::Path;

/// The prefix of the autoencoder's tensors in LDM.
pub(super) const ROOT: &str = "first_stage_model.";

/// The prefixes of the parts of an autoencoder in a file of its own.
const PARTS: [&str; 4] = ["encoder.", "decoder.", "quant_conv.", "post_quant_conv."];

/// The tensor that determines the prefix of a decoder's names.
const LANDMARK: &str = "decoder.conv_in.weight";

/// The first tensor of TAESD's decoder in diffusers' layout, in which its tensors are kept.
const TINY_LANDMARK: &str = "decoder.layers.0.weight";

/// A layout of TAESD's decoder (github.com/madebyollin/taesd), whose layers are numbered.
struct TinyLayout {
    /// The text before the number of a layer.
    prefix: &'static str,
    /// The number of the first layer with weights. Its author counts the clamp before it.
    first: usize,
}

/// The layouts: diffusers', and the author's for the whole autoencoder and for the decoder alone.
const TINY_LAYOUTS: [TinyLayout; 3] = [
    TinyLayout { prefix: "decoder.layers.", first: 0 },
    TinyLayout { prefix: "decoder.", first: 1 },
    TinyLayout { prefix: "", first: 1 },
];

impl TinyLayout {
    fn fits(&self, tensors: &Tensors) -> bool {
        let Self { prefix, first } = self;
        let names = [format!("{prefix}{first}.weight"), format!("{prefix}{}.conv.0.weight", first + 2)];
        names.iter().all(|name| tensors.contains_key(name))
    }

    /// Returns the tensors of the decoder in diffusers' layout, below [`ROOT`].
    fn tensors(&self, tensors: Tensors) -> Result<Tensors> {
        let layer = |(name, tensor): (String, Tensor)| {
            let (number, rest) = name.strip_prefix(self.prefix)?.split_once('.')?;
            let number = number.parse::<usize>().ok()?.checked_sub(self.first)?;
            Some((format!("{ROOT}decoder.layers.{number}.{rest}"), tensor))
        };
        let tensors: Tensors = tensors.into_iter().filter_map(layer).collect();
        match tensors.get(&format!("{ROOT}{TINY_LANDMARK}")).and_then(|tensor| tensor.view.shape.get(1)) {
            Some(&channels) if channels != 4 => bail!(
                "is a TAESD for latents of {channels} channels, such as those of Stable Diffusion 3; give the one for 1.x"
            ),
            _ => Ok(tensors),
        }
    }
}

/// Returns whether tensors under LDM's names have TAESD's decoder as the autoencoder.
pub(super) fn is_tiny(tensors: &Tensors) -> bool {
    tensors.contains_key(&format!("{ROOT}{TINY_LANDMARK}"))
}

/// Reads an autoencoder's tensors, under LDM's names; those of TAESD have diffusers'. Other tensors (the loss, other
/// networks) are ignored.
///
/// # Errors
/// If `path` cannot be read, has no decoder, or is a Stable Diffusion XL model.
pub(super) fn read_tensors(path: &Path) -> Result<Tensors> {
    if path.is_dir() {
        // The folder of a diffusers model or of its VAE.
        let part = if path.join("vae").is_dir() { "vae" } else { "" };
        let part = folder::find(path, part, DIFFUSERS)?;
        return tensors(part.read_tensors()?).map_err(|e| with_path(&part.path(), e));
    }
    tensors(read_file(path)?).map_err(|e| with_path(path, e))
}

fn tensors(tensors: Tensors) -> Result<Tensors> {
    if tensors.keys().any(|name| name.starts_with("conditioner.embedders.")) {
        bail!("is a Stable Diffusion XL model, whose latents are different; give a VAE for Stable Diffusion 1.x");
    }
    if let Some(layout) = TINY_LAYOUTS.into_iter().find(|layout| layout.fits(&tensors)) {
        return layout.tensors(tensors);
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

/// Returns the prefix of the decoder's names: `first_stage_model.` in a full checkpoint; empty, or any that a tool
/// added, in a VAE's own file.
fn prefix(tensors: &Tensors) -> Option<String> {
    let prefixes = tensors.keys().filter_map(|name| name.strip_suffix(LANDMARK));
    let is_whole = |prefix: &str| prefix.is_empty() || prefix.ends_with('.');
    // Moving averages of the weights are not used.
    let is_used = |prefix: &str| !prefix.split(['.', '_']).any(|word| word == "ema");
    prefixes.filter(|prefix| is_whole(prefix) && is_used(prefix)).min_by_key(|prefix| prefix.len()).map(str::to_string)
}
