//! Heun's method (Karras et al. 2022, algorithm 2 with no churn), as k-diffusion's `sample_heun`.

use super::{Sampler, Sigmas};
use crate::diffusion::EpsModel;
use crate::ops::weighted_sum;
use crate::rng::Noise;
use anyhow::Result;
use candle_core::Tensor;

/// See the module.
pub struct Heun {
    sigmas: Sigmas,
}

impl Heun {
    /// The steps to take.
    pub fn new(sigmas: Sigmas) -> Self {
        Self { sigmas }
    }
}

impl Sampler for Heun {
    fn steps(&self) -> usize {
        self.sigmas.len()
    }

    fn draws(&self) -> usize {
        self.sigmas.len()
    }

    fn sample(
        &self,
        model: &dyn EpsModel,
        x: Tensor,
        noise: &mut dyn Noise,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Tensor> {
        let mut x = self.sigmas.start(x)?;
        for (sigma, next) in self.sigmas.pairs() {
            // For the churn that is never asked for, as the original draws it.
            noise.skip(x.elem_count());
            let d = self.sigmas.derivative(model, &x, sigma)?;
            let euler = weighted_sum(&[(&x, 1.), (&d, next - sigma)])?;
            x = if next == 0. {
                euler
            } else {
                let d_next = self.sigmas.derivative(model, &euler, next)?;
                let half = 0.5 * (next - sigma);
                weighted_sum(&[(&x, 1.), (&d, half), (&d_next, half)])?
            };
            tick()?;
        }
        Ok(x)
    }
}
