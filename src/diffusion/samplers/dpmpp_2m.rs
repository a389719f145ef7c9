//! DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095), as k-diffusion's `sample_dpmpp_2m`.

use super::{Sampler, Sigmas};
use crate::diffusion::EpsModel;
use crate::ops::weighted_sum;
use crate::rng::Noise;
use anyhow::Result;
use candle_core::Tensor;

/// The sum of x and x0 by their weights, once x0 has been moved on. last: the x0 before, and how far it is moved on, in
/// lengths of the way from there.
pub(super) fn multistep(x: (&Tensor, f64), x0: (&Tensor, f64), last: Option<(&Tensor, f64)>) -> Result<Tensor> {
    let Some((last, beyond)) = last else { return Ok(weighted_sum(&[x, x0])?) };
    let (x0, of_target) = x0;
    Ok(weighted_sum(&[x, (x0, of_target * (1. + beyond)), (last, -of_target * beyond)])?)
}

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
            let last = before.as_ref().filter(|_| next > 0.);
            let last = last.map(|(last, last_denoised)| (last_denoised, 0.5 * h / (last / sigma).ln()));
            x = multistep((&x, next / sigma), (&denoised, -(-h).exp_m1()), last)?;
            before = Some((sigma, denoised));
            tick()?;
        }
        Ok(x)
    }
}
