//! The steps of a sampler, and the image around the region that they draw anew.

use super::Sampling;
use super::start::{Level, Region, Start};
use crate::diffusion::EpsModel;
use crate::ops::weighted_sum;
use crate::rng::Noise;
use candle_core::{Result, Tensor};

/// The image of which a region is drawn anew, with the noise that it gets in each step.
pub(super) struct Kept {
    image: Tensor,
    noise: Tensor,
    region: Region,
}

impl Kept {
    /// Returns the image of `start`, if only a region of it is drawn anew.
    pub fn of(start: &Start) -> Option<Self> {
        let region = start.region.clone().filter(|region| region.keeps_rest)?;
        Some(Self { image: start.image.clone()?, noise: start.noise.clone(), region })
    }

    /// Returns `x` in the region, and elsewhere the image with the noise of a level: (B, h, w, C).
    pub fn around(&self, x: &Tensor, Level { alpha, sigma }: Level) -> Result<Tensor> {
        self.region.choose(x, &weighted_sum(&[(&self.image, alpha), (&self.noise, sigma)])?)
    }
}

/// The inputs of a sampler's steps.
pub(super) struct Steps<'a> {
    pub model: &'a dyn EpsModel,
    pub noise: &'a mut dyn Noise,
    on_step: &'a mut dyn FnMut(usize, &Tensor, &Tensor) -> anyhow::Result<()>,
    kept: Option<Kept>,
}

impl<'a> Steps<'a> {
    pub fn new(sampling: &'a mut Sampling<'_>, kept: Option<Kept>) -> Self {
        let Sampling { model, noise, on_step } = sampling;
        Self { model: *model, noise: &mut **noise, on_step: &mut **on_step, kept }
    }

    /// Ends step `i`, which led to latents `x` at a level by way of the clean latents `x0`: (B, h, w, C) both. Returns the
    /// latents to continue with, which contain what is kept of the image.
    pub fn end(&mut self, i: usize, x: Tensor, x0: &Tensor, level: Level) -> anyhow::Result<Tensor> {
        let Some(kept) = &self.kept else {
            (self.on_step)(i, &x, x0)?;
            return Ok(x);
        };
        let x = kept.around(&x, level)?;
        (self.on_step)(i, &x, &kept.around(x0, Level::CLEAN)?)?;
        Ok(x)
    }

    /// Returns the result of all steps: `x`, with the image itself outside of the region.
    pub fn finish(&self, x: Tensor) -> Result<Tensor> {
        match &self.kept {
            Some(kept) => kept.around(&x, Level::CLEAN),
            None => Ok(x),
        }
    }
}
