//! Trajectory consistency distillation (Zheng et al. 2024, arXiv 2402.19159), as diffusers' `TCDScheduler`: each step goes
//! below the next timestep, and fresh noise leads back to it.

use super::lcm::timesteps;
use super::{Level, SamplerConfig, Start, Steps};
use crate::diffusion::schedule::Schedule;
use crate::ops::weighted_sum;
use anyhow::Result;
use candle_core::Tensor;

/// Denoises the start, (B, h, w, C). `config.eta` is the paper's γ.
pub(super) fn tcd(schedule: &Schedule, config: &SamplerConfig, start: Start, run: &mut Steps) -> Result<Tensor> {
    let (timesteps, a) = timesteps(schedule, config);
    let mut x = start.at(a)?;
    for (i, &t) in timesteps.iter().enumerate() {
        let a = schedule.alpha_cumprod(t);
        let eps = run.model.eps(&x, t as f64, a)?;
        let x0 = weighted_sum(&[(&x, a.sqrt().recip()), (&eps, -((1. - a) / a).sqrt())])?;
        let next = timesteps.get(i + 1);
        let below = ((1. - config.eta) * next.copied().unwrap_or(0) as f64) as usize;
        let a = schedule.alpha_cumprod(below);
        x = weighted_sum(&[(&x0, a.sqrt()), (&eps, (1. - a).sqrt())])?;
        if let Some(&next) = next.filter(|_| config.eta > 0.) {
            let share = schedule.alpha_cumprod(next) / a;
            x = weighted_sum(&[(&x, share.sqrt()), (&run.noise.randn_like(&x)?, (1. - share).sqrt())])?;
        }
        x = run.end(i, x, &x0, next.map_or(Level::CLEAN, |&next| Level::at(schedule.alpha_cumprod(next))))?;
    }
    Ok(x)
}
