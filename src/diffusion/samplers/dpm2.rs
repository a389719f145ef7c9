//! DPM-Solver-2 (Lu et al. 2022, arXiv 2206.00927) with Karras's sigmas, as k-diffusion's `sample_dpm_2`.

use super::{Sampler, Sigmas};
use crate::diffusion::EpsModel;
use crate::ops::weighted_sum;
use crate::rng::Noise;
use anyhow::Result;
use candle_core::Tensor;

/// See the module.
pub struct Dpm2 {
    sigmas: Sigmas,
}

impl Dpm2 {
    /// The steps to take.
    pub fn new(sigmas: Sigmas) -> Self {
        Self { sigmas }
    }
}

impl Sampler for Dpm2 {
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
            let d = if next == 0. {
                d
            } else {
                let middle = (sigma * next).sqrt();
                let x_middle = weighted_sum(&[(&x, 1.), (&d, middle - sigma)])?;
                self.sigmas.derivative(model, &x_middle, middle)?
            };
            x = weighted_sum(&[(&x, 1.), (&d, next - sigma)])?;
            tick()?;
        }
        Ok(x)
    }
}
