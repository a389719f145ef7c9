//! From noise to latents: the denoiser, the noise schedule, guidance, and the samplers that use them.

pub mod guidance;
pub mod samplers;
pub mod schedule;
pub mod side_by_side;
pub mod unet;

use candle_core::{Result, Tensor};

/// A model that predicts the noise in latents, whatever it knows of prompts and guidance.
pub trait EpsModel {
    /// x: (B, h, w, C) latents at timestep t in 0..1000, fractions allowed → eps, of the same shape.
    fn eps(&self, x: &Tensor, t: f64) -> Result<Tensor>;
}
