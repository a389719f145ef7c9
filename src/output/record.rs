//! The metadata of a picture, from which it can be redrawn.

use super::NameFields;
use crate::diffusion::samplers::{SamplerConfig, Spacing};
use crate::params::{Hires, HiresSize, LoraChoice, SamplingParams};
use crate::rng::Origin;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The parameters of a picture, complete enough to redraw it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The version of the program that drew it.
    pub version: String,
    /// The prompt, with its wildcards replaced.
    pub prompt: String,
    /// The negative prompt.
    #[serde(default)]
    pub negative_prompt: String,
    /// The origin of its noise.
    pub origin: Origin,
    /// The random number generator, as a value of `--rng`.
    pub rng: String,
    /// The sampling parameters; `factor` is not recorded.
    #[serde(flatten)]
    pub params: SamplingParams,
    /// The number of columns of latents.
    pub latent_width: usize,
    /// The number of rows of latents.
    pub latent_height: usize,
    /// The SHA-256 of the file of the picture that it started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_img_sha256: Option<String>,
    /// The SHA-256 of the file of its mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_sha256: Option<String>,
    /// If true, that picture was turned upright (`--auto_orient`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_orient: bool,
    /// Whether brackets in prompts weight words (`--emphasis`).
    #[serde(default)]
    pub emphasis: bool,
    /// Whether prompts are read beyond 75 tokens (`--long_prompt`).
    #[serde(default)]
    pub long_prompt: bool,
    /// Whether prompts are read as in AUTOMATIC1111's web UI (`--webui_prompts`).
    #[serde(default)]
    pub webui_prompts: bool,
    /// The name of the checkpoint: that of its file, without folder and extension, or that of its repository.
    pub model: String,
    /// The SHA-256 of the checkpoint, in hexadecimal.
    #[serde(default)]
    pub model_hash: Option<String>,
    /// The files of the LoRAs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lora_files: Vec<LoraRecord>,
    /// The prediction type that `--prediction` gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<String>,
    /// The name of the autoencoder that replaced the model's own.
    #[serde(default)]
    pub vae: Option<String>,
    /// The embeddings that the prompts contain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub embeddings: Vec<EmbeddingRecord>,
    /// The name of the model's YAML file, if there is one.
    #[serde(default)]
    pub config: Option<String>,
    /// The type of the networks' weights: `f32`, `bf16` or `f16`. Products were computed in it, too, except with f16 on CPUs.
    pub products: String,
    /// Whether the picture carries the invisible watermark.
    pub watermark: bool,
}

/// The file of a LoRA that changed the model of a picture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LoraRecord {
    /// Its name, without folder and extension.
    pub name: String,
    /// Its short hash, as AUTOMATIC1111's web UI shows it.
    pub hash: String,
    /// The SHA-256 of its tensors.
    pub sha256: String,
}

/// An embedding in the prompts of a picture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EmbeddingRecord {
    /// Its name in prompts.
    pub name: String,
    /// The SHA-256 of its file.
    pub sha256: String,
}

impl Record {
    /// Returns the text in AUTOMATIC1111's `parameters` format, which many programs read.
    pub fn parameters(&self) -> String {
        let mut text = self.prompt_with_tags();
        if !self.negative_prompt.is_empty() {
            text += &format!("\nNegative prompt: {}", self.negative_prompt);
        }
        let SamplingParams { height, width, scale, clip_skip, sampler, .. } = &self.params;
        let mut settings = vec![
            ("Steps", sampler.steps.to_string()),
            ("Sampler", web_ui_name(*sampler)),
            ("CFG scale", scale.to_string()),
            ("Seed", self.origin.seed.to_string()),
            ("Size", format!("{width}x{height}")),
        ];
        settings.extend(self.short_hash().map(|hash| ("Model hash", hash.into())));
        settings.push(("Model", quoted(&self.model)));
        if sampler.eta != 0. {
            settings.push(("Eta", sampler.eta.to_string()));
        }
        if let Some(strength) = sampler.strength {
            settings.push(("Denoising strength", strength.to_string()));
        }
        if self.params.second_pass().is_some() {
            settings.extend(hires_settings(&self.params));
        }
        if self.params.mask.is_some() && self.params.mask_blur != 0. {
            settings.push(("Mask blur", self.params.mask_blur.to_string()));
        }
        if *clip_skip != 1 {
            settings.push(("Clip skip", clip_skip.to_string()));
        }
        if !self.lora_files.is_empty() {
            let hashes: Vec<String> =
                self.lora_files.iter().map(|LoraRecord { name, hash, .. }| format!("{name}: {hash}")).collect();
            settings.push(("Lora hashes", quoted(&hashes.join(", "))));
        }
        if !self.embeddings.is_empty() {
            let names: Vec<&str> = self.embeddings.iter().map(|embedding| &*embedding.name).collect();
            let hash = |EmbeddingRecord { name, sha256 }: &EmbeddingRecord| format!("{name}: {sha256:.12}");
            let hashes: Vec<String> = self.embeddings.iter().map(hash).collect();
            settings.push(("TI hashes", quoted(&hashes.join(", "))));
            settings.push(("TI", quoted(&names.join(", "))));
        }
        // In a batch or a run with one stream of random numbers, the seed alone does not identify the noise.
        let Origin { start, index, .. } = self.origin;
        if start.of > 1 {
            settings.extend([("Batch size", start.of.to_string()), ("Batch pos", index.to_string())]);
        }
        if start.position > 0 {
            settings.push(("RNG position", start.position.to_string()));
        }
        settings.push(("Version", format!("txt2img {}", self.version)));
        let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        format!("{text}\n{}", settings.join(", "))
    }

    /// Returns the prompt with a tag for each LoRA, from which the web UI reads them.
    fn prompt_with_tags(&self) -> String {
        let weight = |weight: f64| weight * self.params.lora_weight;
        let tag = |lora: &LoraChoice| match (weight(lora.text), weight(lora.unet)) {
            (text, unet) if text == unet => format!(" <lora:{}:{text}>", lora.name),
            (text, unet) => format!(" <lora:{}:{text}:{unet}>", lora.name),
        };
        self.params.loras.iter().map(tag).fold(self.prompt.clone(), |prompt, tag| prompt + &tag)
    }

    /// Returns the values that the picture's name can contain.
    pub fn name_fields(&self) -> NameFields<'_> {
        let hash = self.short_hash().unwrap_or("");
        NameFields { seed: self.origin.seed, prompt: &self.prompt, params: self.params.clone(), hash }
    }

    /// Returns the first ten digits of the model's hash, as AUTOMATIC1111's web UI shows them.
    fn short_hash(&self) -> Option<&str> {
        self.model_hash.as_ref().map(|hash| hash.get(..10).unwrap_or(hash))
    }
}

/// Returns the name of a sampler with its spacing in AUTOMATIC1111's web UI.
fn web_ui_name(sampler: SamplerConfig) -> String {
    let spacing = match sampler.spacing {
        Spacing::Discrete => "",
        Spacing::Karras => " Karras",
        Spacing::Trailing => " trailing",
    };
    format!("{}{spacing}", sampler.kind.web_ui_name())
}

/// Returns what AUTOMATIC1111's web UI writes of the second pass.
fn hires_settings(params: &SamplingParams) -> Vec<(&'static str, String)> {
    let Hires { size, strength, steps, sampler, upscaler } = params.hires;
    let mut settings = vec![("Denoising strength", strength.to_string())];
    settings.push(match size {
        HiresSize::Factor(factor) => ("Hires upscale", factor.to_string()),
        HiresSize::Pixels { .. } => ("Hires resize", size.to_string()),
    });
    if steps > 0 {
        settings.push(("Hires steps", steps.to_string()));
    }
    settings.extend(sampler.map(|kind| ("Hires sampler", kind.web_ui_name().to_owned())));
    settings.push(("Hires upscaler", upscaler.web_ui_name().to_owned()));
    settings
}

/// Returns a value, in quotes if it contains characters that would end it.
fn quoted(value: &str) -> String {
    if value.contains([',', ':', '\n']) { Value::from(value).to_string() } else { value.to_owned() }
}
