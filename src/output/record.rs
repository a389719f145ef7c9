//! What a picture's file says of how it was drawn.

use serde::{Deserialize, Serialize};

use super::NameFields;
use crate::by_name::ByName;
use crate::diffusion::samplers::Kind;
use crate::rng::Origin;

/// Everything that is needed to draw a picture again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Of this program.
    pub version: String,
    /// What it shows.
    pub prompt: String,
    /// What guidance led away from.
    #[serde(default)]
    pub negative_prompt: String,
    /// Where its noise comes from.
    pub origin: Origin,
    /// Which generator that is, as `--rng` names it.
    pub rng: String,
    /// As `--sampler` names it.
    pub sampler: String,
    /// As `--schedule` names it.
    pub schedule: String,
    /// Steps that were asked for.
    pub steps: usize,
    /// DDIM's share of fresh noise.
    pub eta: f64,
    /// Guidance.
    pub scale: f64,
    /// Of the latents.
    pub latent_width: usize,
    /// Of the latents.
    pub latent_height: usize,
    /// Of the picture, in pixels.
    pub width: usize,
    /// Of the picture, in pixels.
    pub height: usize,
    /// Whether brackets weighed words.
    #[serde(default)]
    pub emphasis: bool,
    /// Whether it was read beyond 75 tokens.
    #[serde(default)]
    pub long_prompt: bool,
    /// The checkpoint's name: its file's without folder and extension, or its repository's.
    pub model: String,
    /// Its SHA-256.
    #[serde(default)]
    pub model_hash: Option<String>,
    /// The name of the autoencoder that took the place of the model's own.
    #[serde(default)]
    pub vae: Option<String>,
    /// The name of the model's yaml file, if there is one.
    #[serde(default)]
    pub config: Option<String>,
    /// What the networks multiplied: f32 or bf16.
    pub products: String,
    /// Whether it carries the invisible watermark.
    pub watermark: bool,
}

impl Record {
    /// The text that the well-known web UI keeps with its pictures, for programs that read it.
    pub fn parameters(&self) -> String {
        let mut text = self.prompt.clone();
        if !self.negative_prompt.is_empty() {
            text += &format!("\nNegative prompt: {}", self.negative_prompt);
        }
        let mut settings = vec![
            ("Steps", self.steps.to_string()),
            ("Sampler", self.sampler_name()),
            ("CFG scale", self.scale.to_string()),
            ("Seed", self.origin.seed.to_string()),
            ("Size", format!("{}x{}", self.width, self.height)),
        ];
        settings.extend(self.short_hash().map(|hash| ("Model hash", hash.into())));
        settings.push(("Model", quoted(&self.model)));
        if self.eta != 0. {
            settings.push(("Eta", self.eta.to_string()));
        }
        // One seed may be that of a whole batch, or of all batches of a run.
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

    /// What its file may be named by.
    pub fn named(&self) -> NameFields<'_> {
        let Self { origin, prompt, sampler, steps, scale, .. } = self;
        NameFields {
            seed: origin.seed,
            prompt,
            sampler,
            steps: *steps,
            scale: *scale,
            hash: self.short_hash().unwrap_or(""),
        }
    }

    /// The model's hash as the web UI shows it.
    fn short_hash(&self) -> Option<&str> {
        self.model_hash.as_ref().map(|hash| hash.get(..10).unwrap_or(hash))
    }

    fn sampler_name(&self) -> String {
        let name = Kind::from_name(&self.sampler).map_or(&*self.sampler, |kind| kind.web_ui_name());
        let spacing = if self.schedule == "karras" { " Karras" } else { "" };
        format!("{name}{spacing}")
    }
}

/// A value with what would end it early in quotes.
fn quoted(value: &str) -> String {
    if value.contains([',', ':', '\n']) { serde_json::Value::from(value).to_string() } else { value.to_owned() }
}
