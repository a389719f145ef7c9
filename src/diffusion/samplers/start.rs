//! The start of sampling.

use crate::ops::weighted_sum;
use candle_core::{Result, Tensor};

/// The start of sampling: noise alone, or with an image.
pub struct Start {
    /// Standard normal noise (B, h, w, C).
    pub noise: Tensor,
    /// The latents of an image, as large as the noise, for samplers with a strength.
    pub image: Option<Tensor>,
    /// The region of the image to draw anew; without one, it is everywhere.
    pub region: Option<Region>,
}

/// The region of an image that is drawn anew.
#[derive(Clone)]
pub struct Region {
    /// 1 in the region, and 0 elsewhere: (1, h, w, 1), bytes.
    pub mask: Tensor,
    /// If true, sampling starts from the image in the region, too; if false, from noise alone.
    pub starts_from_image: bool,
    /// If true, the rest of the image is put back after each step. Inpainting models keep it by themselves.
    pub keeps_rest: bool,
}

impl Region {
    /// Returns `inside` in the region, and `outside` elsewhere: all (B, h, w, C).
    pub(super) fn choose(&self, inside: &Tensor, outside: &Tensor) -> Result<Tensor> {
        self.mask.broadcast_as(inside.shape())?.contiguous()?.where_cond(inside, outside)
    }
}

/// The parts of the image and of the noise in latents.
#[derive(Clone, Copy)]
pub(super) struct Level {
    pub alpha: f64,
    pub sigma: f64,
}

impl Level {
    /// The level of clean latents.
    pub const CLEAN: Self = Self { alpha: 1., sigma: 0. };

    /// Returns the level at ᾱ.
    pub fn at(a: f64) -> Self {
        Self { alpha: a.sqrt(), sigma: (1. - a).sqrt() }
    }

    /// Returns the level at k-diffusion's sigma, where latents are not scaled down.
    pub fn of_sigma(sigma: f64) -> Self {
        Self { alpha: 1., sigma }
    }
}

impl From<Tensor> for Start {
    /// Starts from noise alone (B, h, w, C).
    fn from(noise: Tensor) -> Self {
        Self { noise, image: None, region: None }
    }
}

impl Start {
    /// Returns the start of a sampler with this strength. If a region of the image is drawn anew from the first step on,
    /// sampling starts from noise alone, as in diffusers.
    pub(super) fn with_strength(mut self, strength: Option<f64>) -> Self {
        if self.region.is_some() && strength == Some(1.) {
            self.image = None;
        }
        self
    }

    /// Returns the image with as much noise as there is at ᾱ; without an image, the noise.
    pub(super) fn at(self, a: f64) -> Result<Tensor> {
        self.mixed(Level::at(a))
    }

    /// Returns alpha · image + sigma · noise; without an image, the noise.
    pub(super) fn mixed(self, level: Level) -> Result<Tensor> {
        let Some(image) = &self.image else { return Ok(self.noise) };
        let Level { alpha, sigma } = level;
        let x = weighted_sum(&[(image, alpha), (&self.noise, sigma)])?;
        match &self.region {
            // As large as latents at this level are on average.
            Some(region) if !region.starts_from_image => region.choose(&(&self.noise * alpha.hypot(sigma))?, &x),
            _ => Ok(x),
        }
    }

    /// Returns the image with noise of size `sigma`; without an image, noise of this size.
    pub(super) fn at_sigma(self, sigma: f64) -> Result<Tensor> {
        match self.image {
            Some(_) => self.mixed(Level::of_sigma(sigma)),
            None => self.noise * sigma,
        }
    }
}
