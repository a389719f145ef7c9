//! The second pass for large pictures (`--hires`), as in AUTOMATIC1111's web UI.

use super::SamplingParams;
use crate::by_name::{self, ByName};
use crate::diffusion::samplers::{Kind, SamplerConfig};
use anyhow::{Error, Result, bail};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The largest factor: from the smallest size to the largest.
const MAX_FACTOR: f64 = 1024.;

/// The parameters of the second pass, which enlarges a picture and draws it once more from there. Metadata contain these fields
/// under these names.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hires {
    /// The size of the picture after the second pass.
    #[serde(default, rename = "hires", skip_serializing_if = "super::is_default", with = "crate::as_text")]
    pub size: HiresSize,
    /// The strength with which the enlarged picture is drawn anew, 0 to 1.
    #[serde(default = "strength", rename = "hires_strength", skip_serializing_if = "is_default_strength")]
    pub strength: f64,
    /// The number of steps; 0 is that of the first pass.
    #[serde(default, rename = "hires_steps", skip_serializing_if = "super::is_default")]
    pub steps: usize,
    /// The sampler; `None` is that of the first pass.
    #[serde(default, rename = "hires_sampler", skip_serializing_if = "Option::is_none", with = "by_name::option")]
    pub sampler: Option<Kind>,
    /// The way of enlarging.
    #[serde(default, rename = "hires_upscaler", skip_serializing_if = "super::is_default", with = "by_name")]
    pub upscaler: Upscaler,
}

fn strength() -> f64 {
    Hires::default().strength
}

fn is_default_strength(number: &f64) -> bool {
    *number == strength()
}

impl Default for Hires {
    fn default() -> Self {
        Self { size: HiresSize::default(), strength: 0.75, steps: 0, sampler: None, upscaler: Upscaler::default() }
    }
}

impl Hires {
    /// Returns the size (height, width) in latents that a picture of this size has after the second pass, or `None` if there is
    /// no second pass.
    pub(super) fn latent_size(&self, params: &SamplingParams) -> Option<(usize, usize)> {
        let enlarged = |side: usize, factor: f64| (side as f64 * factor) as usize;
        match self.size {
            HiresSize::Factor(1.) => None,
            HiresSize::Factor(factor) => {
                Some((enlarged(params.latent_height(), factor), enlarged(params.latent_width(), factor)))
            }
            HiresSize::Pixels { width, height } => Some((height / params.factor, width / params.factor)),
        }
    }

    /// Returns the number of steps of the second pass. `first`: the sampler of the first pass.
    pub fn steps(&self, first: SamplerConfig) -> usize {
        if self.steps > 0 { self.steps } else { first.steps }
    }

    /// Returns the number of steps of which the second pass takes the last `taken`.
    pub(super) fn steps_in_all(&self, taken: usize) -> usize {
        // As in the web UI, except that at strength 1 they are all steps.
        if self.strength > 0.999 { taken } else { (taken as f64 / self.strength) as usize }
    }

    /// Returns the sampler of the second pass: one that takes exactly its steps, the last ones of as many as the strength is a
    /// share of. `first`: the sampler of the first pass.
    pub(super) fn sampler(&self, first: SamplerConfig) -> SamplerConfig {
        let taken = self.steps(first);
        let steps = self.steps_in_all(taken);
        let kind = self.sampler.unwrap_or(first.kind);
        SamplerConfig {
            kind,
            steps,
            eta: if kind == first.kind { first.eta } else { kind.default_eta() },
            spacing: if kind.spacings().contains(&first.spacing) { first.spacing } else { Default::default() },
            // The half makes up for rounding: the whole part of strength · steps is what is taken.
            strength: Some(((taken as f64 + 0.5) / steps as f64).min(1.)),
        }
    }
}

/// The value of `--hires`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum HiresSize {
    /// A multiple of the first pass's size; 1 is no second pass.
    Factor(f64),
    /// This size in pixels.
    Pixels {
        /// The width.
        width: usize,
        /// The height.
        height: usize,
    },
}

impl Default for HiresSize {
    fn default() -> Self {
        Self::Factor(1.)
    }
}

impl FromStr for HiresSize {
    type Err = Error;

    /// Parses `FACTOR` or `WIDTHxHEIGHT`. An error is a clause.
    fn from_str(text: &str) -> Result<Self> {
        let side = |text: &str| text.trim().parse::<usize>().ok().filter(|side| *side > 0);
        match text.split_once(['x', 'X', '×']).map(|(width, height)| (side(width), side(height))) {
            Some((Some(width), Some(height))) => return Ok(Self::Pixels { width, height }),
            Some(_) => (),
            None => {
                let factor = text.trim().parse::<f64>().ok();
                if let Some(factor) = factor.filter(|factor| (1. ..=MAX_FACTOR).contains(factor)) {
                    return Ok(Self::Factor(factor));
                }
            }
        }
        bail!("neither a number from 1 to {MAX_FACTOR}, such as 1.5, nor a size, such as 1024x768")
    }
}

impl fmt::Display for HiresSize {
    /// Writes the size as it is parsed.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Factor(factor) => factor.fmt(f),
            Self::Pixels { width, height } => write!(f, "{width}x{height}"),
        }
    }
}

/// The value of `--hires_upscaler`: the way of enlarging a picture for the second pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Upscaler {
    /// Its latents, bilinearly.
    #[default]
    Latent,
    /// Its latents, of which each is repeated.
    LatentNearest,
    /// Its latents, by cubic convolution.
    LatentBicubic,
    /// Its pixels, with the Lanczos filter.
    Lanczos,
}

impl ByName for Upscaler {
    const ALL: &'static [(&'static str, Self)] = &[
        ("latent", Upscaler::Latent),
        ("latent-nearest", Upscaler::LatentNearest),
        ("latent-bicubic", Upscaler::LatentBicubic),
        ("lanczos", Upscaler::Lanczos),
    ];
}

impl Upscaler {
    /// The upscaler's name in AUTOMATIC1111's web UI.
    pub fn web_ui_name(self) -> &'static str {
        match self {
            Upscaler::Latent => "Latent",
            Upscaler::LatentNearest => "Latent (nearest)",
            Upscaler::LatentBicubic => "Latent (bicubic)",
            Upscaler::Lanczos => "Lanczos",
        }
    }
}
