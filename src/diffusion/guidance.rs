//! Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598).

use super::EpsModel;
use super::unet::{PromptKv, UNet};
use crate::ops::{MAX_TERMS, weighted_sum};
use candle_core::{Result, Tensor};

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
    /// Returns the coefficients of ε(uncond) and of ε(condᵢ) for conditions with these weights.
    fn coefficients(self, weights: &[f64]) -> (f64, Vec<f64>) {
        let conds: Vec<f64> = weights.iter().map(|weight| self.scale * weight).collect();
        (1. - conds.iter().sum::<f64>(), conds)
    }

    /// Whether ε(uncond) matters beside conditions with these weights.
    pub fn needs_uncond(self, weights: &[f64]) -> bool {
        let is_rescaled = self.rescale != 0. && self.scale != 1.;
        is_rescaled || self.coefficients(weights).0 != 0.
    }
}

/// ε = ε(uncond) + Σ weightᵢ · scale · (ε(condᵢ) − ε(uncond)), in as few batches as memory allows. Layers before the first
/// cross-attention are computed once for a batch.
pub struct Guided<'a> {
    unet: &'a UNet,
    /// The projections of B contexts for each term: uncond first, if it matters. Each part is evaluated in one batch.
    parts: Vec<(usize, PromptKv)>,
    /// The coefficients of the terms.
    coefficients: Vec<f64>,
    /// The share of the standard deviation to restore, and the coefficients of the output that has it, those at scale 1.
    rescale: Option<(f64, Vec<f64>)>,
}

impl<'a> Guided<'a> {
    /// `uncond`: (1 or B, M, C), the context of the empty or the negative prompts. `cond`: (B, M, C).
    ///
    /// # Errors
    /// If the shapes do not fit, or the device fails.
    pub fn new(unet: &'a UNet, uncond: &Tensor, cond: &Tensor, guidance: impl Into<Guidance>) -> Result<Self> {
        let uncond = uncond.broadcast_as(cond.shape())?; // (B, M, C)
        Self::composed(unet, Some(&uncond), &[(cond.clone(), 1.)], guidance.into(), usize::MAX)
    }

    /// Combines several conditions. `uncond`: (B, M, C), unless [`Guidance::needs_uncond`] denies it. `conds`: (B, M, C)
    /// each, with their weights; none is no guidance. `max_terms`: the number of terms in one batch, at least 1.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device fails.
    pub fn composed(
        unet: &'a UNet,
        uncond: Option<&Tensor>,
        conds: &[(Tensor, f64)],
        guidance: Guidance,
        max_terms: usize,
    ) -> Result<Self> {
        let weights: Vec<f64> = conds.iter().map(|(_, weight)| *weight).collect();
        let terms: Vec<&Tensor> = uncond.into_iter().chain(conds.iter().map(|(cond, _)| cond)).collect();
        let coefficients = |guidance: Guidance| {
            let (of_uncond, of_conds) = guidance.coefficients(&weights);
            uncond.map(|_| of_uncond).into_iter().chain(of_conds).collect()
        };
        let project = |part: &[&Tensor]| Ok((part.len(), unet.project(&Tensor::cat(part, 0)?)?));
        let Guidance { scale, rescale } = guidance;
        let is_rescaled = rescale != 0. && scale != 1. && !conds.is_empty();
        Ok(Self {
            unet,
            parts: terms.chunks(max_terms.max(1)).map(project).collect::<Result<_>>()?,
            coefficients: coefficients(guidance),
            rescale: is_rescaled.then(|| (rescale, coefficients(1_f64.into()))),
        })
    }

    /// Predicts the noise for each term: (B, h, w, C) each.
    fn terms(&self, x: &Tensor, t: f64) -> Result<Vec<Tensor>> {
        let parts = self.parts.iter().map(|(terms, prompt)| self.unet.forward(x, t, prompt)?.chunk(*terms, 0));
        Ok(parts.collect::<Result<Vec<_>>>()?.concat())
    }
}

impl EpsModel for Guided<'_> {
    fn eps(&self, x: &Tensor, t: f64, _: f64) -> Result<Tensor> {
        match (&self.parts[..], &self.coefficients[..], &self.rescale) {
            ([(1, prompt)], [1.], _) => self.unet.forward(x, t, prompt),
            // The coefficient of the first term follows from that of the second: their sum is 1.
            ([(2, prompt)], &[_, scale], None) => self.unet.forward_then(x, t, prompt, Some(scale), |both| {
                let eps = both.chunk(2, 0)?; // (B, h, w, C) each
                weighted_sum(&[(&eps[0], 1. - scale), (&eps[1], scale)])
            }),
            (_, coefficients, None) => sum(&self.terms(x, t)?, coefficients),
            (_, coefficients, Some((rescale, plain))) => {
                let terms = self.terms(x, t)?;
                rescaled(&sum(&terms, coefficients)?, &sum(&terms, plain)?, *rescale)
            }
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
