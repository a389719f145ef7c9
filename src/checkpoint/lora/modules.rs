//! The names that LoRA files give to a model's modules.

use super::super::names::{self, Level, TEXT, UNET};
use super::super::tensor::Tensor;
use super::super::{Checkpoint, foreign};
use crate::config::UNetConfig;
use anyhow::{Result, bail};
use std::collections::{BTreeMap, HashMap};

/// The endings of tensor names, and the part of a module that each is. Longer ones come before their own endings.
const PARTS: [(&str, &str); 40] = [
    (".lora_linear_layer.down.weight", "down"),
    (".lora_linear_layer.up.weight", "up"),
    (".lora_A.default.weight", "down"),
    (".lora_B.default.weight", "up"),
    (".lora_down.weight", "down"),
    (".lora_up.weight", "up"),
    (".lora_mid.weight", "mid"),
    (".lora.down.weight", "down"),
    (".lora.up.weight", "up"),
    ("_lora.down.weight", "down"),
    ("_lora.up.weight", "up"),
    (".lora_A.weight", "down"),
    (".lora_B.weight", "up"),
    (".lora_magnitude_vector.default.weight", "dora_scale"),
    (".lora_magnitude_vector.weight", "dora_scale"),
    (".lora_magnitude_vector", "dora_scale"),
    (".dora_scale", "dora_scale"),
    (".hada_w1_a", "hada_w1_a"),
    (".hada_w1_b", "hada_w1_b"),
    (".hada_w2_a", "hada_w2_a"),
    (".hada_w2_b", "hada_w2_b"),
    (".hada_t1", "hada_t1"),
    (".hada_t2", "hada_t2"),
    (".lokr_w1_a", "lokr_w1_a"),
    (".lokr_w1_b", "lokr_w1_b"),
    (".lokr_w1", "lokr_w1"),
    (".lokr_w2_a", "lokr_w2_a"),
    (".lokr_w2_b", "lokr_w2_b"),
    (".lokr_w2", "lokr_w2"),
    (".lokr_t2", "lokr_t2"),
    (".diff_b", "diff_b"),
    (".diff", "diff"),
    (".w_norm", "w_norm"),
    (".b_norm", "b_norm"),
    (".alpha", "alpha"),
    (".scalar", "scalar"),
    (".scale", "scale"),
    // Kinds that are not supported, whose modules are reported all the same.
    (".oft_blocks", "oft_blocks"),
    (".a1.weight", "glora"),
    (".on_input", "ia3"),
];

/// A tensor's name in a LoRA file, divided into the module and its part.
pub struct Key<'a> {
    pub module: &'a str,
    pub part: &'static str,
}

impl<'a> Key<'a> {
    /// Divides a name; returns `None` if no LoRA has such a tensor.
    pub fn parse(name: &'a str) -> Option<Self> {
        PARTS.iter().find_map(|(end, part)| name.strip_suffix(end).map(|module| Self { module, part }))
    }
}

/// The prefixes of modules, of which several may follow each other.
const PREFIXES: [&str; 13] = [
    "base_model.model.",
    "lora_unet_",
    "lora_te1_",
    "lora_te_",
    "lycoris_",
    "unet.",
    "text_encoder.",
    "model.diffusion_model.",
    "diffusion_model.",
    "cond_stage_model.transformer.",
    "cond_stage_model_transformer_",
    "model_diffusion_model_",
    "transformer.",
];

/// The modules of a model, by the spellings of their names with `_` for `.`.
pub struct Modules(HashMap<String, String>);

impl Modules {
    /// Lists the modules of a model with the shapes of `checkpoint`, under LDM's and diffusers' names. Names are compared
    /// as a whole, because `_` is also part of them.
    pub fn new(checkpoint: &Checkpoint, unet: &UNetConfig) -> Self {
        let level = |resnets| move |level: usize| Level { resnets, attention: unet.heads(level).is_some() };
        let levels = unet.channel_mult.len();
        let down: Vec<Level> = (0..levels).map(level(unet.num_res_blocks)).collect();
        let up: Vec<Level> = (0..levels).rev().map(level(unet.num_res_blocks + 1)).collect();
        let diffusers = names::unet(&down, &up);
        let mut spellings = HashMap::new();
        for name in checkpoint.names() {
            let Some(module) = name.strip_suffix(".weight") else { continue };
            if let Some(rest) = module.strip_prefix(UNET) {
                spellings.insert(underscored(&rest[1..]), module.to_owned());
                if let Some(other) = diffusers.get(name).and_then(|other| other.strip_suffix(".weight")) {
                    spellings.insert(underscored(other), module.to_owned());
                }
            } else if let Some(rest) = module.strip_prefix(TEXT) {
                spellings.insert(underscored(&format!("text_model{rest}")), module.to_owned());
                // transformers from 5.6 on.
                spellings.insert(underscored(&rest[1..]), module.to_owned());
            }
        }
        Self(spellings)
    }

    /// Returns LDM's name of a module of a LoRA file.
    pub fn find(&self, module: &str) -> Option<&str> {
        let mut name = module;
        while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
            name = rest;
        }
        let name = underscored(name);
        let found = self.0.get(&name).or_else(|| {
            // diffusers' old names of attention's layers: `attn1.processor.to_out`.
            let plain = name.replace("_processor_", "_");
            self.0.get(&plain).or_else(|| self.0.get(&format!("{plain}_0")))
        });
        found.map(String::as_str)
    }
}

fn underscored(name: &str) -> String {
    name.replace('.', "_")
}

/// Names that only LoRAs of other models have.
const OTHERS: [(&str, &str); 12] = [
    ("lora_te2_", "Stable Diffusion XL"),
    ("text_encoder_2.", "Stable Diffusion XL"),
    ("lora_unet_add_embedding", "Stable Diffusion XL"),
    ("lora_unet_label_emb", "Stable Diffusion XL"),
    ("_transformer_blocks_1_", "Stable Diffusion XL"),
    (".transformer_blocks.1.", "Stable Diffusion XL"),
    ("double_blocks", "Flux"),
    ("single_transformer_blocks", "Flux"),
    ("lora_transformer_", "Stable Diffusion 3 or Flux"),
    ("joint_blocks", "Stable Diffusion 3"),
    ("lora_prior_", "Stable Cascade"),
    ("encoder_layers_12_", "Stable Diffusion 2.x"),
];

/// Refuses files that are not LoRAs, and LoRAs of other models.
pub fn refuse_others(tensors: &BTreeMap<String, Tensor>, metadata: &BTreeMap<String, String>) -> Result<()> {
    const GIVE: &str = "give a LoRA that was made for Stable Diffusion 1.x";
    if tensors.keys().all(|name| Key::parse(name).is_none()) {
        foreign::refuse(tensors)?;
        bail!("is not a LoRA; {GIVE}");
    }
    for (part, model) in OTHERS {
        if tensors.keys().any(|name| name.contains(part)) {
            bail!("is a LoRA of {model}; {GIVE}");
        }
    }
    let stated = ["ss_base_model_version", "modelspec.architecture"].iter().filter_map(|key| metadata.get(*key));
    for stated in stated {
        let name = stated.to_lowercase();
        let is_other = ["xl", "sd_v2", "sd2", "stable-diffusion-v2", "sd3", "stable-diffusion-3", "flux", "cascade"];
        if is_other.iter().any(|other| name.contains(other)) {
            bail!("is a LoRA of another model ({stated}); {GIVE}");
        }
    }
    // The prompt's layers of Stable Diffusion 2.x are 1024 wide.
    let is_of_prompt = |name: &str| name.contains("attn2") && (name.contains("to_k") || name.contains("to_v"));
    let is_wide = |name: &str, tensor: &Tensor| {
        Key::parse(name).is_some_and(|key| key.part == "down") && tensor.view.shape.get(1) == Some(&1024)
    };
    if tensors.iter().any(|(name, tensor)| is_of_prompt(name) && is_wide(name, tensor)) {
        bail!("is a LoRA of Stable Diffusion 2.x; {GIVE}");
    }
    Ok(())
}
