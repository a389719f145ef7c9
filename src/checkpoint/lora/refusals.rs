//! Detects files that are not LoRAs of Stable Diffusion 1.x, by their tensors' names and shapes and by their metadata.

use super::super::Tensors;
use super::super::foreign::{self, Foreign};
use super::Metadata;
use super::change::Change;
use super::keys::Part;
use super::summary::plain;
use anyhow::{Error, Result, anyhow, bail};

/// The advice for any file that is not one.
pub(super) const ADVICE: &str = "give a LoRA made for Stable Diffusion 1.x";

/// Parts of names that only LoRAs of other models have.
const OTHER_NAMES: [(&str, &str); 19] = [
    ("lora_prior_", "Stable Cascade"),
    ("lora_te3_", "Stable Diffusion 3"),
    ("text_encoder_3.", "Stable Diffusion 3"),
    ("single_blocks", "Flux"),
    ("double_blocks", "Flux"),
    ("single_transformer_blocks", "Flux"),
    ("joint_blocks", "Stable Diffusion 3"),
    ("attn.add_q_proj", "Stable Diffusion 3 or Flux"),
    ("attn_add_q_proj", "Stable Diffusion 3 or Flux"),
    ("lora_transformer_", "Stable Diffusion 3 or Flux"),
    ("lora_te2_", "Stable Diffusion XL"),
    ("text_encoder_2.", "Stable Diffusion XL"),
    ("clip_g.", "Stable Diffusion XL"),
    ("add_embedding", "Stable Diffusion XL"),
    ("label_emb", "Stable Diffusion XL"),
    ("_transformer_blocks_1_", "Stable Diffusion XL"),
    (".transformer_blocks.1.", "Stable Diffusion XL"),
    ("encoder_layers_12_", "Stable Diffusion 2.x"),
    ("encoder.layers.12.", "Stable Diffusion 2.x"),
];

/// The metadata that state the base model.
const BASE: [&str; 2] = ["ss_base_model_version", "modelspec.architecture"];

/// Parts of the names of other base models.
const OTHER_BASES: [&str; 14] = [
    "xl",
    "sd_v2",
    "sd2",
    "sd 2",
    "stable-diffusion-v2",
    "stable-diffusion-2",
    "sd3",
    "sd 3",
    "stable-diffusion-v3",
    "stable-diffusion-3",
    "flux",
    "cascade",
    "hunyuan",
    "lumina",
];

/// Returns the base models that the metadata state.
fn base_models(metadata: &Metadata) -> impl Iterator<Item = &str> {
    BASE.iter().filter_map(|key| metadata.get(*key)).map(String::as_str).filter(|name| !name.trim().is_empty())
}

/// Returns the base model that the metadata state first.
pub(super) fn base_model(metadata: &Metadata) -> Option<&str> {
    base_models(metadata).next()
}

/// Refuses tensors that are not those of a LoRA for Stable Diffusion 1.x, as far as their names and the metadata show.
///
/// # Errors
/// A clause about the file, if they are not.
pub(super) fn refuse(tensors: &Tensors, metadata: &Metadata) -> Result<()> {
    for (words, model) in OTHER_NAMES {
        if tensors.keys().any(|name| name.contains(words) && Part::parse(name).is_some()) {
            bail!("is a LoRA for {model}; {ADVICE}");
        }
    }
    let parts = || tensors.keys().filter_map(|name| Part::parse(name));
    if let Some(kind) = parts().find_map(|(_, part)| part.unsupported()) {
        bail!("holds {kind} modules, which are not supported; LoRA, LoCon, LoHa, LoKr, DoRA and full differences are");
    }
    if parts().next().is_none() {
        return Err(not_a_lora(tensors));
    }
    let is_other = |base: &&str| OTHER_BASES.iter().any(|other| base.to_lowercase().contains(other));
    match base_models(metadata).find(is_other) {
        Some(base) => bail!("is a LoRA for another model, '{}' by its metadata; {ADVICE}", plain(base)),
        None => Ok(()),
    }
}

/// Returns the error for a file without a tensor of a LoRA.
fn not_a_lora(tensors: &Tensors) -> Error {
    if foreign::check_complete(tensors).is_ok() {
        return anyhow!("is a whole checkpoint, not a LoRA; give it with --ckpt");
    }
    match foreign::refuse(tensors) {
        Err(error) => advised(error),
        Ok(()) => anyhow!("has no tensors of a LoRA; {ADVICE}"),
    }
}

/// Replaces the advice in the error of a file that is of another kind.
pub(super) fn advised(error: Error) -> Error {
    match error.downcast::<Foreign>() {
        Ok(Foreign(what)) => anyhow!("is {what}, not a LoRA; {ADVICE}"),
        Err(error) => error,
    }
}

/// Refuses the change of a module whose inputs are as wide as those of another model. `module`: LDM's name.
///
/// # Errors
/// A clause about the file, if it is for another model.
pub(super) fn refuse_width(module: &str, change: &Change, weight: Option<&[usize]>) -> Result<()> {
    // The mask and the latents of the image to fill are inputs too.
    const INPAINTING: usize = 9;
    let takes_latents = module.ends_with(".input_blocks.0.0");
    if let (true, Some((_, columns)), Some([_, _, kernel @ ..])) = (takes_latents, change.size(), weight)
        && columns == INPAINTING * kernel.iter().product::<usize>()
        && weight.and_then(|weight| weight.get(1)) != Some(&INPAINTING)
    {
        bail!("is a LoRA for an inpainting model, whose UNet has {INPAINTING} inputs; {ADVICE}");
    }
    let takes_context = module.ends_with(".attn2.to_k") || module.ends_with(".attn2.to_v");
    let width = change.size().map(|(_, columns)| columns).filter(|_| takes_context);
    if width == weight.and_then(|weight| weight.get(1).copied()) {
        return Ok(());
    }
    match width {
        Some(1024) => bail!("is a LoRA for Stable Diffusion 2.x, whose prompts are 1024 wide; {ADVICE}"),
        Some(2048) => bail!("is a LoRA for Stable Diffusion XL, whose prompts are 2048 wide; {ADVICE}"),
        _ => Ok(()),
    }
}
