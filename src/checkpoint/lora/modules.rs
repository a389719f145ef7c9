//! The names that LoRA files give to a model's modules.

use super::super::names::{self, Level, TEXT, UNET};
use super::super::{Checkpoint, ema};
use crate::config::UNetConfig;
use std::collections::HashMap;

/// A module of a model, and the library whose name for it a file uses.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Module {
    /// LDM's name.
    pub name: String,
    pub naming: Naming,
}

/// The library whose names of a model's modules a file uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Naming {
    Ldm,
    Diffusers,
    /// A module of the text encoder, whose names are the same everywhere.
    Text,
}

/// The prefixes of modules' names, of which several may follow each other, with `_` for `.`.
const PREFIXES: [&str; 13] = [
    "lora_unet_",
    "lora_te_",
    "lora_te1_",
    "lycoris_",
    "base_model_model_",
    "unet_",
    "text_encoder_",
    "model_diffusion_model_",
    "diffusion_model_",
    "cond_stage_model_transformer_",
    "text_encoders_clip_l_transformer_",
    "clip_l_transformer_",
    "transformer_",
];

/// The names of attention layers in the text encoder, and older diffusers' names.
const OLD_TEXT: [(&str, &str); 4] =
    [("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v"), ("out_proj", "to_out")];

/// The modules of a model, by all their names with `_` for `.`.
///
/// Names are looked up as a whole, never divided: most tools write `_` for the dots between words, and words contain `_`
/// too.
pub(super) struct Modules(HashMap<String, Module>);

impl Modules {
    /// Lists the modules of `checkpoint`, which may have only moving averages of the UNet.
    pub fn new(checkpoint: &Checkpoint, unet: &UNetConfig) -> Self {
        let mut modules = Self(HashMap::new());
        let has = |name: &str| checkpoint.contains(name) || checkpoint.contains(&ema::name(name));
        for (ldm, diffusers) in unet_names(unet).iter().filter(|(ldm, _)| has(ldm)) {
            if let (Some(ldm), Some(diffusers)) = (ldm.strip_suffix(".weight"), diffusers.strip_suffix(".weight")) {
                modules.add_unet(ldm, diffusers);
            }
        }
        for name in checkpoint.names() {
            if let Some(ldm) = name.strip_suffix(".weight")
                && let Some(bare) = ldm.strip_prefix(TEXT)
            {
                modules.add_text(ldm, bare.trim_start_matches('.'));
            }
        }
        modules
    }

    fn add_unet(&mut self, ldm: &str, diffusers: &str) {
        let bare = ldm.strip_prefix(UNET).map_or(ldm, |bare| bare.trim_start_matches('.'));
        for (name, naming) in [(bare, Naming::Ldm), (diffusers, Naming::Diffusers)] {
            self.add(name, ldm, naming);
            // Older diffusers keep the layers in a processor, and the last of them is not in a list.
            for attention in [".attn1.", ".attn2."] {
                if let Some((block, layer)) = name.split_once(attention) {
                    let layer = layer.strip_suffix(".0").unwrap_or(layer);
                    self.add(&format!("{block}{attention}processor.{layer}"), ldm, naming);
                    self.add(&format!("{block}{attention}{layer}"), ldm, naming);
                }
            }
        }
    }

    fn add_text(&mut self, ldm: &str, bare: &str) {
        let old = bare.split_once(".self_attn.").and_then(|(layer, projection)| {
            let (_, old) = OLD_TEXT.iter().find(|(new, _)| *new == projection)?;
            Some(format!("{layer}.self_attn.{old}"))
        });
        for bare in [Some(bare), old.as_deref()].into_iter().flatten() {
            self.add(&format!("text_model.{bare}"), ldm, Naming::Text);
            // transformers from 5.6 on.
            self.add(bare, ldm, Naming::Text);
        }
    }

    fn add(&mut self, name: &str, ldm: &str, naming: Naming) {
        self.0.insert(underscored(name), Module { name: ldm.to_owned(), naming });
    }

    /// Finds a module by its name in a LoRA file.
    pub fn find(&self, name: &str) -> Option<&Module> {
        let name = underscored(name);
        let mut name = &name[..];
        loop {
            if let Some(module) = self.0.get(name) {
                return Some(module);
            }
            name = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix))?;
        }
    }
}

/// Lists the tensors of the UNet that a config describes.
fn unet_names(unet: &UNetConfig) -> names::Names {
    let level = |resnets| move |level: usize| Level { resnets, attention: unet.heads(level).is_some() };
    let levels = unet.channel_mult.len();
    let down: Vec<Level> = (0..levels).map(level(unet.num_res_blocks)).collect();
    let up: Vec<Level> = (0..levels).rev().map(level(unet.num_res_blocks + 1)).collect();
    names::unet(&down, &up)
}

fn underscored(name: &str) -> String {
    name.replace('.', "_")
}
