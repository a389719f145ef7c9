//! DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095), as k-diffusion's `sample_dpmpp_2m`.

use super::{Sampler, Sigmas};
use crate::diffusion::EpsModel;
use crate::ops::weighted_sum;
use crate::rng::Noise;
use anyhow::Result;
use candle_core::Tensor;

/// See the module.
pub struct DpmPp2m {
    sigmas: Sigmas,
}

impl DpmPp2m {
    /// The steps to take.
    pub fn new(sigmas: Sigmas) -> Self {
        Self { sigmas }
    }
}

impl Sampler for DpmPp2m {
    fn steps(&self) -> usize {
        self.sigmas.len()
    }

    fn draws(&self) -> usize {
        0
    }

    fn sample(
        &self,
        model: &dyn EpsModel,
        x: Tensor,
        _: &mut dyn Noise,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Tensor> {
        let mut x = self.sigmas.start(x)?;
        let mut before: Option<(f64, Tensor)> = None; // the last sigma and what was seen there
        for (sigma, next) in self.sigmas.pairs() {
            let denoised = self.sigmas.denoised(model, &x, sigma)?;
            let h = (sigma / next).ln(); // infinite at the end
            let (of_x, of_target) = (next / sigma, -(-h).exp_m1());
            x = match &before {
                Some((last, last_denoised)) if next > 0. => {
                    // How far the target is beyond what is seen here, measured by the way from what was seen before.
                    let beyond = 0.5 * h / (last / sigma).ln();
                    let (of_denoised, of_last) = (of_target * (1. + beyond), -of_target * beyond);
                    weighted_sum(&[(&x, of_x), (&denoised, of_denoised), (last_denoised, of_last)])?
                }
                _ => weighted_sum(&[(&x, of_x), (&denoised, of_target)])?,
            };
            before = Some((sigma, denoised));
            tick()?;
        }
        Ok(x)
    }
}
