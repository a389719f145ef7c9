//! The start of sampling.

use crate::ops::weighted_sum;
use candle_core::{Result, Tensor};

/// The start of sampling: noise alone, or with an image.
pub struct Start {
    /// Standard normal noise (B, h, w, C).
    pub noise: Tensor,
    /// The latents of an image, as large as the noise, for samplers with a strength.
    pub image: Option<Tensor>,
}

impl From<Tensor> for Start {
    /// Starts from noise alone (B, h, w, C).
    fn from(noise: Tensor) -> Self {
        Self { noise, image: None }
    }
}

impl Start {
    /// Returns the image with as much noise as there is at ᾱ; without an image, the noise.
    pub(super) fn at(self, a: f64) -> Result<Tensor> {
        self.mixed(a.sqrt(), (1. - a).sqrt())
    }

    /// Returns alpha · image + sigma · noise; without an image, the noise.
    pub(super) fn mixed(self, alpha: f64, sigma: f64) -> Result<Tensor> {
        match &self.image {
            Some(image) => weighted_sum(&[(image, alpha), (&self.noise, sigma)]),
            None => Ok(self.noise),
        }
    }

    /// Returns the image with noise of size `sigma`; without an image, noise of this size.
    pub(super) fn at_sigma(self, sigma: f64) -> Result<Tensor> {
        match self.image {
            Some(_) => self.mixed(1., sigma),
            None => self.noise * sigma,
        }
    }
}
