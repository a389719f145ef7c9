//! Models that are no Stable Diffusion 1.x, known by their tensors.

use anyhow::{Error, Result, anyhow};

use super::{Tensors, ema};

/// What to say of a textual inversion, which torch files hold in a form of its own.
pub(super) const TEXTUAL_INVERSION: &str = "a textual inversion (a word for a model, not a model)";

/// What to say of a model whose UNet takes the guidance scale as an input.
pub(super) const LATENT_CONSISTENCY: &str =
    "a latent consistency model (LCM) whose guidance scale is an input of the UNet, which is not supported";

/// The layer that reads that input, as LDM and diffusers name it.
const GUIDANCE_INPUT: [&str; 2] =
    ["model.diffusion_model.time_embed.cond_proj.weight", "time_embedding.cond_proj.weight"];

/// Where the UNet's weights are, or their moving averages.
const UNETS: [&str; 2] = ["model.diffusion_model.", ema::UNET];

type Rule = (&'static str, fn(&str) -> bool);

/// A model is of a kind if any of its names is.
const BY_NAME: [Rule; 9] = [
    ("a LoRA (changes to a model, not a model)", is_lora),
    ("a ControlNet", |name| starts(name, &["control_model.", "controlnet_cond_embedding."])),
    ("a Stable Diffusion XL model", |name| starts(name, &["conditioner.embedders."])),
    ("a Stable Diffusion 2.x model", |name| starts(name, &["cond_stage_model.model."])),
    ("a Stable Diffusion 3 model", |name| starts(name, &["model.diffusion_model.joint_blocks."])),
    ("a Flux model", |name| starts(name, &["model.diffusion_model.double_blocks.", "double_blocks."])),
    (TEXTUAL_INVERSION, |name| name == "emb_params"),
    ("a UNet alone", |name| starts(name, &["down_blocks.", "input_blocks."])),
    ("a text encoder alone", |name| starts(name, &["text_model."])),
];

fn is_lora(name: &str) -> bool {
    let marks = [".lora_up.", ".lora_down.", ".lora_A", ".lora_B", ".lora.up.", ".lora.down."];
    starts(name, &["lora_unet_", "lora_te"]) || marks.iter().any(|mark| name.contains(mark))
}

fn starts(name: &str, with: &[&str]) -> bool {
    with.iter().any(|start| name.starts_with(start))
}

/// An error if the tensors are those of another model.
pub(super) fn refuse(tensors: &Tensors) -> Result<()> {
    refuse_guidance_input(tensors)?;
    let stray = if is_whole(tensors) { None } else { by_name(tensors) };
    match stray.or_else(|| by_shape(tensors)) {
        Some(what) => Err(refusal(what)),
        None => Ok(()),
    }
}

/// An error if the UNet takes the guidance scale as an input.
pub(super) fn refuse_guidance_input(unet: &Tensors) -> Result<()> {
    match GUIDANCE_INPUT.iter().any(|name| unet.contains_key(*name)) {
        true => Err(refusal(LATENT_CONSISTENCY)),
        false => Ok(()),
    }
}

pub(super) fn refusal(what: &str) -> Error {
    anyhow!("is {what}; a full Stable Diffusion 1.x checkpoint is needed")
}

/// Whether the three networks of Stable Diffusion 1.x are there, whatever is there beside them.
fn is_whole(tensors: &Tensors) -> bool {
    let networks = [&UNETS[..], &["cond_stage_model.transformer."], &["first_stage_model.decoder."]];
    networks.iter().all(|network| tensors.keys().any(|name| starts(name, network)))
}

fn by_name(tensors: &Tensors) -> Option<&'static str> {
    let kind = BY_NAME.iter().find(|(_, matches)| tensors.keys().any(|name| matches(name)));
    match kind {
        Some((what, _)) => Some(what),
        None if is_vae(tensors) => Some("a VAE alone"),
        None => None,
    }
}

fn is_vae(tensors: &Tensors) -> bool {
    let parts = ["encoder.", "decoder.", "first_stage_model."];
    tensors.keys().any(|name| starts(name, &parts)) && !tensors.keys().any(|name| starts(name, &UNETS))
}

fn by_shape(tensors: &Tensors) -> Option<&'static str> {
    let width = |name: &str| tensors.get(name).and_then(|tensor| tensor.view.shape.get(1)).copied();
    let embedding = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight";
    // Latents, and the mask and latents of the picture to fill.
    if width("model.diffusion_model.input_blocks.0.0.weight") == Some(9) {
        return Some("an inpainting model");
    }
    (width(embedding) == Some(1024)).then_some("a Stable Diffusion 2.x model")
}
