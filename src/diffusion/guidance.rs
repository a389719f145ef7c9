//! Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598).

use super::EpsModel;
use super::unet::{PromptKv, UNet};
use crate::ops::weighted_sum;
use candle_core::{Result, Tensor};

/// The strength of guidance.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Guidance {
    /// The guidance scale; 1 is no guidance.
    pub scale: f64,
    /// How far to restore the standard deviation that the model's output has without guidance: 0 (not at all) to 1
    /// (Lin et al. 2023, arXiv 2305.08891, section 3.4).
    pub rescale: f64,
}

impl From<f64> for Guidance {
    /// Returns guidance of this scale, without rescaling.
    fn from(scale: f64) -> Self {
        Self { scale, rescale: 0. }
    }
}

/// ε = ε(uncond) + scale · (ε(cond) − ε(uncond)), both in one batch. Layers before the first cross-attention are
/// computed once.
pub struct Guided<'a> {
    unet: &'a UNet,
    prompt: PromptKv, // of 2B contexts: uncond first
    guidance: Guidance,
}

/// ε = ε(cond): guidance at scale 1, at half the work.
pub struct Unguided<'a> {
    unet: &'a UNet,
    prompt: PromptKv, // of B contexts
}

impl<'a> Guided<'a> {
    /// `uncond`: (1 or B, M, C), the context of the empty or the negative prompts. `cond`: (B, M, C).
    ///
    /// # Errors
    /// If the shapes do not fit, or the device fails.
    pub fn new(unet: &'a UNet, uncond: &Tensor, cond: &Tensor, guidance: impl Into<Guidance>) -> Result<Self> {
        let uncond = uncond.broadcast_as(cond.shape())?; // (B, M, C)
        let prompt = unet.project(&Tensor::cat(&[&uncond, cond], 0)?)?;
        Ok(Self { unet, prompt, guidance: guidance.into() })
    }
}

impl<'a> Unguided<'a> {
    /// `cond`: (B, M, C).
    ///
    /// # Errors
    /// If the shape does not fit, or the device fails.
    pub fn new(unet: &'a UNet, cond: &Tensor) -> Result<Self> {
        Ok(Self { unet, prompt: unet.project(cond)? })
    }
}

impl EpsModel for Guided<'_> {
    fn eps(&self, x: &Tensor, t: f64, _: f64) -> Result<Tensor> {
        let Guidance { scale, rescale } = self.guidance;
        // both: (2B, h, w, C)
        let guided = |both: &Tensor| {
            let eps = both.chunk(2, 0)?;
            let (uncond, cond) = (&eps[0], &eps[1]); // (B, h, w, C)
            weighted_sum(&[(uncond, 1. - scale), (cond, scale)])
        };
        if rescale == 0. {
            return self.unet.forward_then(x, t, &self.prompt, Some(scale), |both| guided(&both));
        }
        let both = self.unet.forward(x, t, &self.prompt)?;
        rescaled(&guided(&both)?, &both.chunk(2, 0)?[1], rescale)
    }
}

/// Scales each image of `guided` towards the standard deviation of `cond`; at `rescale` 1 it has the same.
/// `guided`, `cond`: (B, h, w, C) → (B, h, w, C).
fn rescaled(guided: &Tensor, cond: &Tensor, rescale: f64) -> Result<Tensor> {
    let deviation = |x: &Tensor| x.flatten_from(1)?.var_keepdim(1)?.sqrt(); // (B, 1)
    let factor = ((deviation(cond)? / deviation(guided)?)? * rescale)? + (1. - rescale);
    guided.broadcast_mul(&factor?.reshape((guided.dim(0)?, 1, 1, 1))?)
}

impl EpsModel for Unguided<'_> {
    fn eps(&self, x: &Tensor, t: f64, _: f64) -> Result<Tensor> {
        self.unet.forward(x, t, &self.prompt)
    }
}
