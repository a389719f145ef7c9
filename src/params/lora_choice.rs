//! A LoRA with its weights, as `--lora` takes it.

use anyhow::{Error, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A LoRA and its weights.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LoraChoice {
    /// The name: a file's, or a repository's on the hub.
    pub name: String,
    /// The weight of its changes to the text encoder.
    pub text: f64,
    /// The weight of its changes to the UNet.
    pub unet: f64,
}

impl FromStr for LoraChoice {
    type Err = Error;

    /// Parses `NAME`, `NAME=WEIGHT` or `NAME=WEIGHT,UNET_WEIGHT`.
    fn from_str(text: &str) -> Result<Self> {
        let (name, weights) = text.rsplit_once('=').unwrap_or((text, "1"));
        let (text_weight, unet_weight) = weights.split_once(',').unwrap_or((weights, weights));
        let weight = |text: &str| text.trim().parse::<f64>().ok().filter(|weight| weight.is_finite());
        let (Some(text_weight), Some(unet_weight)) = (weight(text_weight), weight(unet_weight)) else {
            bail!(
                "--lora '{text}' has weights '{weights}', which are not one or two numbers; write NAME=WEIGHT or NAME=WEIGHT,UNET_WEIGHT"
            );
        };
        ensure!(!name.is_empty(), "--lora '{text}' names no file; write NAME or NAME=WEIGHT");
        Ok(Self { name: name.to_owned(), text: text_weight, unet: unet_weight })
    }
}

impl fmt::Display for LoraChoice {
    /// Writes the choice as it is parsed.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { name, text, unet } = self;
        if text == unet { write!(f, "{name}={text}") } else { write!(f, "{name}={text},{unet}") }
    }
}
