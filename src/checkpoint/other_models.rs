//! Models other than Stable Diffusion 1.x, recognized by their tensors.

use anyhow::{Error, Result, anyhow};

use super::{Tensors, ema};

/// What to say of a textual inversion, which torch files hold in a form of its own.
pub(super) const TEXTUAL_INVERSION: &str = "a textual inversion (a word for a model, not a model)";

/// What to say of a hypernetwork, which torch files hold in a form of its own.
pub(super) const HYPERNETWORK: &str = "a hypernetwork (changes to a model, not a model)";

/// What to say of a model whose UNet takes the guidance scale as an input.
pub(super) const LATENT_CONSISTENCY: &str =
    "a latent consistency model (LCM) whose guidance scale is an input of the UNet, which is not supported";

/// The layer that reads that input, as LDM and diffusers name it.
const GUIDANCE_INPUT: [&str; 2] =
    ["model.diffusion_model.time_embed.cond_proj.weight", "time_embedding.cond_proj.weight"];

/// The networks of Stable Diffusion 1.x, and the beginnings of their tensors' names in LDM. The UNet may be there as moving
/// averages only.
const NETWORKS: [(&str, &[&str]); 3] = [
    ("UNet", &["model.diffusion_model.", ema::UNET]),
    ("text encoder", &["cond_stage_model.transformer."]),
    ("VAE", &["first_stage_model.decoder."]),
];

/// Widths of the tokens of text encoders that embeddings are made for: Stable Diffusion 1.x, 2.x and XL.
const TOKEN_WIDTHS: [usize; 3] = [768, 1024, 1280];
/// Vectors that stand for one word, at most.
const MAX_VECTORS: usize = 128;

/// Positions that CLIP's text encoder has.
const POSITIONS: usize = 77;

const UNET_ALONE: &str = "a UNet alone";
const TEXT_ENCODER_ALONE: &str = "a text encoder alone";
const VAE_ALONE: &str = "a VAE alone";

type Rule = (&'static str, fn(&str) -> bool);

/// A model is of a kind if any of its names is.
const BY_NAME: [Rule; 12] = [
    ("a LoRA (changes to a model, not a model)", is_lora),
    ("a ControlNet", |name| starts(name, &["control_model.", "controlnet_cond_embedding."])),
    ("an IP-Adapter", |name| starts(name, &["ip_adapter."])),
    ("a safety checker", |name| name == "concept_embeds"),
    ("a Stable Diffusion XL model", |name| starts(name, &["conditioner.embedders."])),
    ("a Stable Diffusion 2.x model", |name| starts(name, &["cond_stage_model.model."])),
    ("a Stable Diffusion 3 model", |name| starts(name, &["model.diffusion_model.joint_blocks."])),
    ("a Flux model", |name| starts(name, &["model.diffusion_model.double_blocks.", "double_blocks."])),
    (TEXTUAL_INVERSION, |name| name == "emb_params"),
    (UNET_ALONE, |name| starts(name, &["down_blocks.", "input_blocks."])),
    (TEXT_ENCODER_ALONE, |name| starts(name, &["text_model.", "embeddings.token_embedding.", "encoder.layers."])),
    (VAE_ALONE, |name| {
        name.ends_with("decoder.conv_in.weight") || starts(name, &["encoder.", "decoder.", "first_stage_model."])
    }),
];

/// Marks of LoRA in its many forms: trained by kohya's scripts, diffusers (older and newer), PEFT or LyCORIS.
fn is_lora(name: &str) -> bool {
    let marks = ["lora_up.", "lora_down.", "lora.up.", "lora.down.", "lora_linear_layer.", "lora_A", "lora_B"];
    let lycoris = [".hada_w", ".lokr_w", ".oft_", ".dora_scale"];
    starts(name, &["lora_unet_", "lora_te", "lycoris_"]) || marks.iter().chain(&lycoris).any(|mark| name.contains(mark))
}

/// Whether the name of any tensor begins with one of `roots`.
fn has(tensors: &Tensors, roots: &[&str]) -> bool {
    tensors.keys().any(|name| starts(name, roots))
}

fn starts(name: &str, with: &[&str]) -> bool {
    with.iter().any(|start| name.starts_with(start))
}

/// An error if the tensors are those of another model.
pub(super) fn refuse(tensors: &Tensors) -> Result<()> {
    refuse_guidance_input(tensors)?;
    let stray = if is_whole(tensors) { None } else { by_name(tensors) };
    match by_shape(tensors).or(stray) {
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
    NETWORKS.iter().all(|(_, roots)| has(tensors, roots))
}

fn by_name(tensors: &Tensors) -> Option<&'static str> {
    let [unet, text_encoder, vae] = NETWORKS.map(|(_, roots)| has(tensors, roots));
    // Averages of more than the UNet are in the file, or were: it is not a VAE's.
    let has_ema = has(tensors, &["model_ema."]);
    let kind = BY_NAME.iter().find(|(_, matches)| tensors.keys().any(|name| matches(name)));
    match kind {
        // A part of more, not alone.
        Some(&(VAE_ALONE, _)) if unet || text_encoder || has_ema => None,
        Some(&(what, _)) => Some(what),
        None if is_embedding(tensors) => Some(TEXTUAL_INVERSION),
        None => match [unet, text_encoder, vae] {
            [true, false, false] => Some(UNET_ALONE),
            [false, true, false] => Some(TEXT_ENCODER_ALONE),
            [false, false, true] if !has_ema => Some(VAE_ALONE),
            _ => None,
        },
    }
}

/// Whether all there is are vectors as wide as a token, a few of each: what diffusers saves of new words, under their names.
fn is_embedding(tensors: &Tensors) -> bool {
    let is_token = |shape: &[usize]| match shape {
        [width] | [0..=MAX_VECTORS, width] => TOKEN_WIDTHS.contains(width),
        _ => false,
    };
    !tensors.is_empty() && tensors.values().all(|tensor| is_token(&tensor.view.shape))
}

/// An error if one of Stable Diffusion's networks is not among the tensors.
pub(super) fn check_complete(tensors: &Tensors) -> Result<()> {
    let is_missing = |(_, roots): &&(&str, &[&str])| !has(tensors, roots);
    let missing: Vec<&str> = NETWORKS.iter().filter(is_missing).map(|(network, _)| *network).collect();
    match missing[..] {
        [] => Ok(()),
        ["VAE"] => Err(anyhow!("has no VAE; name one with --vae")),
        [one] => Err(anyhow!("has no {one}; a full Stable Diffusion 1.x checkpoint is needed")),
        [one, other] => Err(anyhow!("has no {one} and no {other}; a full Stable Diffusion 1.x checkpoint is needed")),
        _ => Err(anyhow!(
            "holds tensors, but no UNet, text encoder or VAE of Stable Diffusion; a full Stable Diffusion 1.x checkpoint is \
             needed"
        )),
    }
}

fn by_shape(tensors: &Tensors) -> Option<&'static str> {
    const TEXT: &str = "cond_stage_model.transformer.text_model.embeddings";
    let size = |name: &str, of: usize| tensors.get(name).and_then(|tensor| tensor.view.shape.get(of)).copied();
    if size(&format!("{TEXT}.token_embedding.weight"), 1) == Some(1024) {
        return Some("a Stable Diffusion 2.x model");
    }
    if size(&format!("{TEXT}.position_embedding.weight"), 0).is_some_and(|positions| positions > POSITIONS) {
        return Some("a model with a text encoder for long prompts (Long-CLIP)");
    }
    match size("model.diffusion_model.input_blocks.0.0.weight", 1) {
        // Latents, and the mask and latents of the picture to fill.
        Some(9) => Some("an inpainting model"),
        // Latents, and those of the picture to change.
        Some(8) => Some("an InstructPix2Pix model"),
        _ => None,
    }
}
