//! Euler's method with fresh noise after each step, as k-diffusion's `sample_euler_ancestral`.

use super::{Sampler, Sigmas};
use crate::diffusion::EpsModel;
use crate::ops::weighted_sum;
use crate::rng::Noise;
use anyhow::Result;
use candle_core::Tensor;

/// See the module.
pub struct EulerAncestral {
    sigmas: Sigmas,
}

impl EulerAncestral {
    /// The steps to take.
    pub fn new(sigmas: Sigmas) -> Self {
        Self { sigmas }
    }
}

impl Sampler for EulerAncestral {
    fn steps(&self) -> usize {
        self.sigmas.len()
    }

    fn draws(&self) -> usize {
        self.sigmas.pairs().filter(|&(_, next)| next > 0.).count()
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
            let d = self.sigmas.derivative(model, &x, sigma)?;
            // The step goes down further than next, and noise of size `up` brings it back.
            let up = next.min((next * next * (sigma * sigma - next * next) / (sigma * sigma)).sqrt());
            let down = (next * next - up * up).sqrt();
            x = if next == 0. {
                weighted_sum(&[(&x, 1.), (&d, down - sigma)])?
            } else {
                weighted_sum(&[(&x, 1.), (&d, down - sigma), (&noise.randn_like(&x)?, up)])?
            };
            tick()?;
        }
        Ok(x)
    }
}
