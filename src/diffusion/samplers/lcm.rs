//! Latent consistency models (Luo et al. 2023, arXiv 2310.04378), as diffusers' `LCMScheduler`: each step jumps to clean
//! latents and adds fresh noise for the next.

use super::{Level, SamplerConfig, Start, Steps};
use crate::diffusion::schedule::Schedule;
use crate::ops::weighted_sum;
use anyhow::Result;
use candle_core::Tensor;

/// The number of timesteps that such models are distilled for, among which a sampler's are chosen.
pub(super) const TRAINED_STEPS: usize = 50;

/// The standard deviation of clean latents, and the factor of timesteps, in the boundary condition.
const SIGMA_DATA: f64 = 0.5;
const TIMESTEP_SCALING: f64 = 10.;

/// Denoises the start, (B, h, w, C).
pub(super) fn lcm(schedule: &Schedule, config: &SamplerConfig, start: Start, run: &mut Steps) -> Result<Tensor> {
    let (timesteps, a) = timesteps(schedule, config);
    let mut x = start.at(a)?;
    for (i, &t) in timesteps.iter().enumerate() {
        let a = schedule.alpha_cumprod(t);
        let eps = run.model.eps(&x, t as f64, a)?;
        let x0 = weighted_sum(&[(&x, a.sqrt().recip()), (&eps, -((1. - a) / a).sqrt())])?;
        let (skip, out) = boundary(t);
        let denoised = weighted_sum(&[(&x0, out), (&x, skip)])?;
        let next = timesteps.get(i + 1).map(|&next| Level::at(schedule.alpha_cumprod(next)));
        x = match next {
            Some(Level { alpha, sigma }) => weighted_sum(&[(&denoised, alpha), (&run.noise.randn_like(&x)?, sigma)])?,
            None => denoised,
        };
        x = run.end(i, x, &x0, next.unwrap_or(Level::CLEAN))?;
    }
    Ok(x)
}

/// Returns the timesteps to take, of 1 to [`TRAINED_STEPS`] that fall from the last one, and ᾱ at the first.
pub(super) fn timesteps(schedule: &Schedule, config: &SamplerConfig) -> (Vec<usize>, f64) {
    let (apart, steps) = (schedule.timesteps() / TRAINED_STEPS, config.steps);
    let timesteps = config.taken(steps).map(|i| (TRAINED_STEPS - i * TRAINED_STEPS / steps) * apart - 1);
    let timesteps: Vec<_> = timesteps.collect();
    let a = timesteps.first().map_or(1., |&t| schedule.alpha_cumprod(t));
    (timesteps, a)
}

/// Returns the shares of `x` and of x₀ in the model's result at timestep `t`, so that it returns `x` at `t` = 0.
fn boundary(t: usize) -> (f64, f64) {
    let t = t as f64 * TIMESTEP_SCALING;
    let square = t * t + SIGMA_DATA * SIGMA_DATA;
    (SIGMA_DATA * SIGMA_DATA / square, t / square.sqrt())
}
