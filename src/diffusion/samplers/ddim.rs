//! DDIM (Song et al. 2020, arXiv 2010.02502, eq. 12), step for step as `ldm/models/diffusion/ddim.py`.

use super::{Level, SamplerConfig, Spacing, Start, Steps};
use crate::diffusion::schedule::Schedule;
use crate::ops::weighted_sum;
use crate::rng::Noise;
use anyhow::Result;
use candle_core::Tensor;

/// One denoising step: from ᾱ at `t` to ᾱ at the timestep before.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Step {
    /// The timestep.
    pub t: usize,
    /// ᾱ at `t`.
    pub a: f64,
    /// ᾱ at the timestep that the step leads to.
    pub a_prev: f64,
    /// The size of the fresh noise.
    pub sigma: f64,
}

/// Denoises the start, (B, h, w, C).
pub(super) fn ddim(schedule: &Schedule, config: &SamplerConfig, start: Start, run: &mut Steps) -> Result<Tensor> {
    let steps = match config.spacing {
        Spacing::Trailing => Step::table(schedule, schedule.trailing_timesteps(config.steps), 1., config.eta),
        _ => Step::original_table(schedule, config.steps, config.eta),
    };
    let taken = config.taken(steps.len());
    let a = match config.spacing {
        Spacing::Trailing => steps.get(taken.start).map_or(1., |step| step.a),
        _ => Step::a_of_image(schedule, &steps, taken.start),
    };
    let mut x = start.at(a)?;
    for (i, step) in steps[taken].iter().enumerate() {
        let eps = run.model.eps(&x, step.t as f64, step.a)?;
        let x0 = step.x0(&x, &eps)?;
        x = step.apply(&x, &eps, run.noise)?;
        x = run.end(i, x, &x0, Level::at(step.a_prev))?;
    }
    Ok(x)
}

impl Step {
    /// Returns the original's steps, most noise first. `steps`: the requested number; there may be more.
    pub fn original_table(schedule: &Schedule, steps: usize, eta: f64) -> Vec<Self> {
        // The last step leads to timestep 0, not to a clean image.
        Self::table(schedule, schedule.ddim_timesteps(steps), schedule.alpha_cumprod(0), eta)
    }

    /// Returns ᾱ of the noise that an image gets if the first `skipped` of the original's `steps` are left out: that of the
    /// step before, which is more than the first step taken expects. Before all steps, where the original fails, it is that
    /// of the last timestep.
    pub(super) fn a_of_image(schedule: &Schedule, steps: &[Self], skipped: usize) -> f64 {
        let last = schedule.alpha_cumprod(schedule.timesteps() - 1);
        skipped.checked_sub(1).map_or(last, |before| steps[before].a)
    }

    /// Returns the steps from each of `timesteps`, which rise, to the one before, and to ᾱ = `last`; most noise first.
    fn table(schedule: &Schedule, timesteps: Vec<usize>, last: f64, eta: f64) -> Vec<Self> {
        let mut a_prev = last;
        let mut table = vec![];
        for t in timesteps {
            let a = schedule.alpha_cumprod(t);
            let sigma = eta * ((1. - a_prev) / (1. - a) * (1. - a / a_prev)).max(0.).sqrt();
            table.push(Step { t, a, a_prev, sigma });
            a_prev = a;
        }
        table.reverse();
        table
    }

    /// x₀ = (x − √(1 − ᾱ)·eps) / √ᾱ: all (B, h, w, C).
    pub(super) fn x0(&self, x: &Tensor, eps: &Tensor) -> candle_core::Result<Tensor> {
        weighted_sum(&[(x, self.a.sqrt().recip()), (eps, -((1. - self.a) / self.a).sqrt())])
    }

    /// Takes one step from `x` along `eps`: all (B, h, w, C). Noise is skipped where none is used, as the original draws
    /// it: the next batch starts where this one stops.
    pub(super) fn apply(&self, x: &Tensor, eps: &Tensor, noise: &mut dyn Noise) -> candle_core::Result<Tensor> {
        let Step { a, a_prev, sigma, .. } = *self;
        // √ᾱ'·x₀ + direction·eps, with x₀ as above.
        let of_x = (a_prev / a).sqrt();
        // Negative only by rounding, or for an eta above 1.
        let direction = (1. - a_prev - sigma * sigma).max(0.).sqrt();
        let of_eps = direction - of_x * (1. - a).sqrt();
        if sigma == 0. {
            noise.skip(x.elem_count());
            return weighted_sum(&[(x, of_x), (eps, of_eps)]);
        }
        weighted_sum(&[(x, of_x), (eps, of_eps), (&noise.randn_like(x)?, sigma)])
    }
}
