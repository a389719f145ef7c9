//! DDIM (Song et al. 2020, arXiv 2010.02502, eq. 12), step for step as `ldm/models/diffusion/ddim.py`.

use super::Sampler;
use crate::diffusion::EpsModel;
use crate::diffusion::schedule::Schedule;
use crate::ops::weighted_sum;
use crate::rng::Noise;
use anyhow::Result;
use candle_core::Tensor;

/// See the module.
pub struct Ddim {
    steps: Vec<Step>,
}

/// One denoising step: from ᾱ at `t` to ᾱ at the timestep before.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Step {
    /// The timestep.
    pub t: usize,
    /// ᾱ there.
    pub a: f64,
    /// ᾱ at the timestep this step leads to.
    pub a_prev: f64,
    /// How much fresh noise comes in.
    pub sigma: f64,
}

impl Step {
    /// The whole table, most noise first.
    pub fn table(schedule: &Schedule, steps: usize, eta: f64) -> Vec<Self> {
        // The original's last step leads to timestep 0, not to a clean picture.
        let mut a_prev = schedule.alpha_cumprod(0);
        let mut table = vec![];
        for t in schedule.ddim_timesteps(steps) {
            let a = schedule.alpha_cumprod(t);
            let sigma = eta * ((1. - a_prev) / (1. - a) * (1. - a / a_prev)).max(0.).sqrt();
            table.push(Step { t, a, a_prev, sigma });
            a_prev = a;
        }
        table.reverse();
        table
    }

    /// One step from x along eps: all (B, h, w, C). Fresh noise is passed over even where none is wanted, as the original
    /// draws it: the next batch starts where this one stops.
    pub fn apply(&self, x: &Tensor, eps: &Tensor, noise: &mut dyn Noise) -> candle_core::Result<Tensor> {
        let Step { a, a_prev, sigma, .. } = *self;
        // √ᾱ' · x0 + direction · eps, where x0 = (x − √(1 − ᾱ) · eps) / √ᾱ.
        let of_x = (a_prev / a).sqrt();
        // Never negative but by rounding, or for an eta above 1.
        let direction = (1. - a_prev - sigma * sigma).max(0.).sqrt();
        let of_eps = direction - of_x * (1. - a).sqrt();
        if sigma == 0. {
            noise.skip(x.elem_count());
            return weighted_sum(&[(x, of_x), (eps, of_eps)]);
        }
        weighted_sum(&[(x, of_x), (eps, of_eps), (&noise.randn_like(x)?, sigma)])
    }
}

impl Ddim {
    /// eta: 0 for none of the fresh noise of DDPM, 1 for all of it.
    pub fn new(schedule: &Schedule, steps: usize, eta: f64) -> Self {
        Self { steps: Step::table(schedule, steps, eta) }
    }
}

impl Sampler for Ddim {
    fn steps(&self) -> usize {
        self.steps.len()
    }

    fn draws(&self) -> usize {
        self.steps.len()
    }

    fn sample(
        &self,
        model: &dyn EpsModel,
        mut x: Tensor,
        noise: &mut dyn Noise,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Tensor> {
        for step in &self.steps {
            let eps = model.eps(&x, step.t as f64, step.a)?;
            x = step.apply(&x, &eps, noise)?;
            tick()?;
        }
        Ok(x)
    }
}
