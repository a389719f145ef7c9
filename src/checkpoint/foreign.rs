//! Detects models other than Stable Diffusion 1.x, by the names and shapes of their tensors.

use super::{Tensors, ema};
use anyhow::{Error, Result, anyhow};
use std::fmt;

/// The description of a textual inversion, whose torch files have a structure of their own.
pub(super) const TEXTUAL_INVERSION: &str = "a textual inversion (a word for a model, not a model)";

/// The description of a hypernetwork, whose torch files have a structure of their own.
pub(super) const HYPERNETWORK: &str = "a hypernetwork (changes to a model, not a model)";

/// The networks of Stable Diffusion 1.x, with the prefixes of their tensors in LDM. A checkpoint may have only the
/// moving averages of the UNet.
const NETWORKS: [(&str, &[&str]); 3] = [
    ("UNet", &["model.diffusion_model.", ema::UNET]),
    ("text encoder", &["cond_stage_model.transformer."]),
    ("VAE", &["first_stage_model.decoder."]),
];

/// The widths of textual inversions: those of the text encoders of Stable Diffusion 1.x, 2.x and XL.
const TOKEN_WIDTHS: [usize; 3] = [768, 1024, 1280];

/// The maximum number of vectors of a textual inversion.
const MAX_VECTORS: usize = 128;

/// The number of positions of CLIP's text encoder.
const POSITIONS: usize = 77;

const UNET_ALONE: &str = "a UNet alone";
const TEXT_ENCODER_ALONE: &str = "a text encoder alone";
const VAE_ALONE: &str = "a VAE alone";

/// A kind of model, and the test of a tensor's name for it.
type Rule = (&'static str, fn(&str) -> bool);

/// The kinds of models that a single tensor's name shows.
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

/// Returns whether a tensor belongs to a LoRA, as written by kohya's scripts, diffusers (older and newer), PEFT or
/// LyCORIS.
fn is_lora(name: &str) -> bool {
    let marks = ["lora_up.", "lora_down.", "lora.up.", "lora.down.", "lora_linear_layer.", "lora_A", "lora_B"];
    let lycoris = [".hada_w", ".lokr_w", ".oft_", ".dora_scale"];
    starts(name, &["lora_unet_", "lora_te", "lycoris_"]) || marks.iter().chain(&lycoris).any(|mark| name.contains(mark))
}

/// Returns whether the name of any tensor begins with one of `roots`.
fn has(tensors: &Tensors, roots: &[&str]) -> bool {
    tensors.keys().any(|name| starts(name, roots))
}

fn starts(name: &str, with: &[&str]) -> bool {
    with.iter().any(|start| name.starts_with(start))
}

/// Returns an error if the tensors are those of another kind of model.
pub(super) fn refuse(tensors: &Tensors) -> Result<()> {
    let stray = if is_whole(tensors) { None } else { by_name(tensors) };
    match by_shape(tensors).or(stray) {
        Some(what) => Err(refusal(what)),
        None => Ok(()),
    }
}

/// Returns the kind of file that tensors of other names than an embedding's show.
pub(super) fn kind(tensors: &Tensors) -> Option<&'static str> {
    by_name(tensors).or_else(|| is_whole(tensors).then_some("a checkpoint"))
}

/// The error for another kind of file than a checkpoint of Stable Diffusion 1.x, with its description.
#[derive(Debug)]
pub(super) struct Foreign(pub &'static str);

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "is {}; a full Stable Diffusion 1.x checkpoint is needed", self.0)
    }
}

impl std::error::Error for Foreign {}

/// Returns the error for another kind of model. `what` describes it.
pub(super) fn refusal(what: &'static str) -> Error {
    Foreign(what).into()
}

/// Returns whether all networks of Stable Diffusion 1.x are present, possibly among other tensors.
fn is_whole(tensors: &Tensors) -> bool {
    NETWORKS.iter().all(|(_, roots)| has(tensors, roots))
}

/// Returns the kind of model that the tensors' names show, if it is another one.
fn by_name(tensors: &Tensors) -> Option<&'static str> {
    let [unet, text_encoder, vae] = NETWORKS.map(|(_, roots)| has(tensors, roots));
    // Moving averages show that the file is the rest of a full checkpoint, not a VAE.
    let has_ema = has(tensors, &["model_ema."]);
    let kind = BY_NAME.iter().find(|(_, matches)| tensors.keys().any(|name| matches(name)));
    match kind {
        // A VAE among other networks.
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

/// Returns whether all tensors are a few vectors as wide as a token, which is how diffusers saves a textual inversion.
fn is_embedding(tensors: &Tensors) -> bool {
    let is_token = |shape: &[usize]| match shape {
        [width] | [0..=MAX_VECTORS, width] => TOKEN_WIDTHS.contains(width),
        _ => false,
    };
    !tensors.is_empty() && tensors.values().all(|tensor| is_token(&tensor.view.shape))
}

/// Returns an error if a network of Stable Diffusion 1.x is missing.
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

/// Returns the kind of model that the tensors' shapes show, if it is another one.
fn by_shape(tensors: &Tensors) -> Option<&'static str> {
    const TEXT: &str = "cond_stage_model.transformer.text_model.embeddings";
    let size = |name: &str, dim: usize| tensors.get(name).and_then(|tensor| tensor.view.shape.get(dim)).copied();
    if size(&format!("{TEXT}.token_embedding.weight"), 1) == Some(1024) {
        return Some("a Stable Diffusion 2.x model");
    }
    if size(&format!("{TEXT}.position_embedding.weight"), 0).is_some_and(|positions| positions > POSITIONS) {
        return Some("a model with a text encoder for long prompts (Long-CLIP)");
    }
    match size("model.diffusion_model.input_blocks.0.0.weight", 1) {
        // The latents, and those of the image to edit.
        Some(8) => Some("an InstructPix2Pix model"),
        _ => None,
    }
}
