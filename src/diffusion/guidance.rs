//! Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598).

use super::EpsModel;
use super::unet::{PromptKv, UNet};
use crate::ops::weighted_sum;
use candle_core::{Result, Tensor};

/// ε = ε(uncond) + scale · (ε(cond) − ε(uncond)), both in one batch. Layers before the first cross-attention are
/// computed once.
pub struct Guided<'a> {
    unet: &'a UNet,
    prompt: PromptKv, // of 2B contexts: uncond first
    scale: f64,
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
    pub fn new(unet: &'a UNet, uncond: &Tensor, cond: &Tensor, scale: f64) -> Result<Self> {
        let uncond = uncond.broadcast_as(cond.shape())?; // (B, M, C)
        Ok(Self { unet, prompt: unet.project(&Tensor::cat(&[&uncond, cond], 0)?)?, scale })
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
        // both: (2B, h, w, C)
        self.unet.forward_then(x, t, &self.prompt, Some(self.scale), |both| {
            let eps = both.chunk(2, 0)?;
            let (uncond, cond) = (&eps[0], &eps[1]); // (B, h, w, C)
            weighted_sum(&[(uncond, 1. - self.scale), (cond, self.scale)])
        })
    }
}

impl EpsModel for Unguided<'_> {
    fn eps(&self, x: &Tensor, t: f64, _: f64) -> Result<Tensor> {
        self.unet.forward(x, t, &self.prompt)
    }
}
