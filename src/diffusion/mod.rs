//! The way from noise to latents: the denoiser, the noise schedule, guidance, and the samplers that use them.

pub mod deep_cache;
pub mod guidance;
pub mod samplers;
pub mod schedule;
pub mod split_batch;
pub mod staged;
pub mod unet;
mod v_prediction;

use candle_core::{Result, Tensor};

pub use v_prediction::VPrediction;

/// A model that predicts the noise in latents, whatever it knows of prompts and guidance.
pub trait EpsModel {
    /// Predicts the noise in the latents `x`: (B, h, w, C) → eps, of the same shape.
    ///
    /// `t` is the timestep in 0..1000, which may be a fraction, and `a` is ᾱ there: samplers interpolate it in different
    /// ways.
    fn eps(&self, x: &Tensor, t: f64, a: f64) -> Result<Tensor>;
}
