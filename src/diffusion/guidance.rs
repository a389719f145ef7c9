//! Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598).

use super::EpsModel;
use super::deep_cache::{DeepCache, DeepFeatures};
use super::unet::{PromptKv, UNet};
use crate::ops::{MAX_TERMS, weighted_sum};
use anyhow::{Error, bail};
use candle_core::{Result, Tensor};
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// The strength of guidance.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Guidance {
    /// The guidance scale; 1 is no guidance.
    pub scale: f64,
    /// The share of the standard deviation of the model's output without guidance to restore: 0 (none) to 1
    /// (Lin et al. 2023, arXiv 2305.08891, section 3.4).
    pub rescale: f64,
}

impl From<f64> for Guidance {
    /// Returns guidance of this scale, without rescaling.
    fn from(scale: f64) -> Self {
        Self { scale, rescale: 0. }
    }
}

impl Guidance {
    /// No guidance.
    pub const NONE: Self = Self { scale: 1., rescale: 0. };

    /// Returns the coefficients of ε(uncond) and of ε(condᵢ) for conditions with these weights.
    fn coefficients(self, weights: &[f64]) -> (f64, Vec<f64>) {
        let conds: Vec<f64> = weights.iter().map(|weight| self.scale * weight).collect();
        (1. - conds.iter().sum::<f64>(), conds)
    }

    /// Returns the guidance that remains outside of a UNet: none if its scale is an input.
    pub fn outside(self, unet: &UNet) -> Self {
        if unet.takes_guidance() { Self::NONE } else { self }
    }

    /// Whether ε(uncond) matters beside conditions with these weights.
    pub fn needs_uncond(self, weights: &[f64]) -> bool {
        let is_rescaled = self.rescale != 0. && self.scale != 1.;
        is_rescaled || self.coefficients(weights).0 != 0.
    }
}

/// The part of the sampling with guidance (Kynkäänniemi et al. 2024, arXiv 2404.07724), in fractions of the steps.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Interval {
    /// Its start; 0 is the first step.
    pub from: f64,
    /// Its end; 1 is after the last step.
    pub to: f64,
}

impl Default for Interval {
    /// All steps.
    fn default() -> Self {
        Self { from: 0., to: 1. }
    }
}

impl Interval {
    /// Returns the steps with guidance, of `steps`: step i is one if from ≤ i / steps < to.
    pub fn steps(self, steps: usize) -> Range<usize> {
        // Products such as 0.07 · 100 are rounded; no meaningful fraction is as close to a step without being meant as it.
        let first_from = |fraction: f64| (fraction * steps as f64 - 1e-9).ceil() as usize;
        first_from(self.from)..first_from(self.to)
    }
}

impl FromStr for Interval {
    type Err = Error;

    /// Parses `FROM,TO`. An error is a clause.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| (0. ..=1.).contains(number));
        match text.split_once(',').map(|(from, to)| (number(from), number(to))) {
            Some((Some(from), Some(to))) if from < to => Ok(Self { from, to }),
            _ => bail!("not two increasing numbers from 0 to 1, such as 0.2,0.8"),
        }
    }
}

impl fmt::Display for Interval {
    /// Writes the interval as it is parsed.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{},{}", self.from, self.to)
    }
}

/// ε = ε(uncond) + Σ weightᵢ · scale · (ε(condᵢ) − ε(uncond)), in as few batches as memory allows. Layers before the first
/// cross-attention are computed once for a batch.
pub struct Guided<'a> {
    unet: &'a UNet,
    deepcache: DeepCache,
    /// The inputs of an inpainting model's UNet besides the latents (1, h, w, C').
    mask: Option<Tensor>,
    /// The terms, uncond first if it matters.
    parts: Vec<Part>,
    /// The coefficients of the terms.
    coefficients: Vec<f64>,
    /// The share of the standard deviation to restore, and the coefficients of the output that has it, those at scale 1.
    rescale: Option<(f64, Vec<f64>)>,
}

/// Terms that are evaluated in one batch.
struct Part {
    terms: usize,
    /// The projections of B contexts for each term.
    prompt: PromptKv,
    deep: RefCell<DeepFeatures>,
}

impl<'a> Guided<'a> {
    /// `uncond`: (1 or B, M, C), the context of the empty or the negative prompts. `cond`: (B, M, C).
    ///
    /// # Errors
    /// If the shapes do not fit, or the device fails.
    pub fn new(unet: &'a UNet, uncond: &Tensor, cond: &Tensor, guidance: impl Into<Guidance>) -> Result<Self> {
        let uncond = uncond.broadcast_as(cond.shape())?; // (B, M, C)
        let conds = [(cond.clone(), 1.)];
        Self::composed(unet, Some(&uncond), &conds, guidance.into(), DeepCache::default(), None, usize::MAX)
    }

    /// Combines several conditions. `uncond`: (B, M, C), unless [`Guidance::needs_uncond`] denies it. `conds`: (B, M, C)
    /// each, with their weights; none is no guidance. `mask`: what an inpainting model takes besides the latents
    /// (1, h, w, C'). `max_terms`: the number of terms in one batch, at least 1.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device fails.
    pub fn composed(
        unet: &'a UNet,
        uncond: Option<&Tensor>,
        conds: &[(Tensor, f64)],
        guidance: Guidance,
        deepcache: DeepCache,
        mask: Option<Tensor>,
        max_terms: usize,
    ) -> Result<Self> {
        let weights: Vec<f64> = conds.iter().map(|(_, weight)| *weight).collect();
        let terms: Vec<&Tensor> = uncond.into_iter().chain(conds.iter().map(|(cond, _)| cond)).collect();
        let outside = guidance.outside(unet);
        let coefficients = |guidance: Guidance| {
            let (of_uncond, of_conds) = guidance.coefficients(&weights);
            uncond.map(|_| of_uncond).into_iter().chain(of_conds).collect()
        };
        let part = |part: &[&Tensor]| {
            Ok(Part {
                terms: part.len(),
                prompt: unet.project(&Tensor::cat(part, 0)?, guidance.scale)?,
                deep: RefCell::default(),
            })
        };
        let Guidance { scale, rescale } = outside;
        let is_rescaled = rescale != 0. && scale != 1. && !conds.is_empty();
        Ok(Self {
            unet,
            deepcache,
            mask,
            parts: terms.chunks(max_terms.max(1)).map(part).collect::<Result<_>>()?,
            coefficients: coefficients(outside),
            rescale: is_rescaled.then(|| (rescale, coefficients(1_f64.into()))),
        })
    }

    /// Adds what an inpainting model takes besides the latents: `x` (B, h, w, C) → (B, h, w, C + C').
    fn with_mask(&self, x: &Tensor) -> Result<Tensor> {
        match &self.mask {
            Some(mask) => Tensor::cat(&[x, &mask.repeat((x.dim(0)?, 1, 1, 1))?], 3),
            None => Ok(x.clone()),
        }
    }

    /// Predicts the noise for each term: (B, h, w, C) each.
    fn terms(&self, x: &Tensor, t: f64) -> Result<Vec<Tensor>> {
        let parts = self.parts.iter().map(|Part { terms, prompt, deep }| {
            let eps = match self.deepcache.every {
                1 => self.unet.forward(x, t, prompt)?,
                _ => self.unet.forward_cached(x, t, prompt, self.deepcache, &mut deep.borrow_mut())?,
            };
            eps.chunk(*terms, 0)
        });
        Ok(parts.collect::<Result<Vec<_>>>()?.concat())
    }

    /// Returns the projection of the only part, for a GPU to capture its evaluation together with the sum of its terms.
    fn only_prompt(&self) -> Option<&PromptKv> {
        match &self.parts[..] {
            [Part { prompt, .. }] if self.deepcache.every == 1 && self.rescale.is_none() => Some(prompt),
            _ => None,
        }
    }
}

impl EpsModel for Guided<'_> {
    fn eps(&self, x: &Tensor, t: f64, _: f64) -> Result<Tensor> {
        let x = &self.with_mask(x)?;
        match (self.only_prompt(), &self.coefficients[..]) {
            (Some(prompt), [1.]) => return self.unet.forward(x, t, prompt),
            // The coefficient of the first term follows from that of the second: their sum is 1.
            (Some(prompt), &[_, scale]) => {
                return self.unet.forward_then(x, t, prompt, Some(scale), |both| {
                    let eps = both.chunk(2, 0)?; // (B, h, w, C) each
                    weighted_sum(&[(&eps[0], 1. - scale), (&eps[1], scale)])
                });
            }
            _ => (),
        }
        let terms = self.terms(x, t)?;
        let guided = sum(&terms, &self.coefficients)?;
        match &self.rescale {
            None => Ok(guided),
            Some((rescale, plain)) => rescaled(&guided, &sum(&terms, plain)?, *rescale),
        }
    }
}

/// Σ coefficient · term, of any number of terms.
fn sum(terms: &[Tensor], coefficients: &[f64]) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    let terms: Vec<_> = terms.iter().zip(coefficients.iter().copied()).collect();
    for part in terms.chunks(MAX_TERMS - 1) {
        let part: Vec<_> = sum.iter().map(|sum| (sum, 1.)).chain(part.iter().copied()).collect();
        sum = Some(weighted_sum(&part)?);
    }
    sum.ok_or_else(|| candle_core::Error::msg("a sum needs at least one term"))
}

/// Scales each image of `guided` towards the standard deviation of `cond`, the output without guidance; at `rescale` 1 it
/// has the same. `guided`, `cond`: (B, h, w, C) → (B, h, w, C).
fn rescaled(guided: &Tensor, cond: &Tensor, rescale: f64) -> Result<Tensor> {
    let deviation = |x: &Tensor| x.flatten_from(1)?.var_keepdim(1)?.sqrt(); // (B, 1)
    let factor = ((deviation(cond)? / deviation(guided)?)? * rescale)? + (1. - rescale);
    guided.broadcast_mul(&factor?.reshape((guided.dim(0)?, 1, 1, 1))?)
}
