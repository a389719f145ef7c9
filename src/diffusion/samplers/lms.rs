//! Linear multistep of order 4, as k-diffusion's `sample_lms`.

use super::{Sampler, Sigmas};
use crate::diffusion::EpsModel;
use crate::ops::weighted_sum;
use crate::rng::Noise;
use anyhow::Result;
use candle_core::Tensor;

/// How many derivatives are looked back on.
const ORDER: usize = 4;

/// See the module.
pub struct Lms {
    sigmas: Sigmas,
}

impl Lms {
    /// The steps to take.
    pub fn new(sigmas: Sigmas) -> Self {
        Self { sigmas }
    }
}

impl Sampler for Lms {
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
        let sigmas = self.sigmas.values();
        let mut history: Vec<Tensor> = vec![]; // derivatives of up to four steps, newest first
        for (i, (sigma, _)) in self.sigmas.pairs().enumerate() {
            history.insert(0, self.sigmas.derivative(model, &x, sigma)?);
            history.truncate(ORDER);
            let mut terms = vec![(&x, 1.)];
            terms.extend(history.iter().enumerate().map(|(j, d)| (d, coefficient(sigmas, i, history.len(), j))));
            x = weighted_sum(&terms)?;
            tick()?;
        }
        Ok(x)
    }
}

/// ∫ over step i of the Lagrange polynomial that is 1 at sigma i - j and 0 at the other `order` newest.
fn coefficient(sigmas: &[f64], i: usize, order: usize, j: usize) -> f64 {
    let lagrange = |sigma: f64| -> f64 {
        let others = (0..order).filter(|&k| k != j);
        others.map(|k| (sigma - sigmas[i - k]) / (sigmas[i - j] - sigmas[i - k])).product()
    };
    // Gauss–Legendre at three points, exact up to the fifth degree; the polynomial is of the third.
    let (middle, half) = ((sigmas[i] + sigmas[i + 1]) / 2., (sigmas[i + 1] - sigmas[i]) / 2.);
    let node = half * 0.6f64.sqrt();
    half * (5. * lagrange(middle - node) + 8. * lagrange(middle) + 5. * lagrange(middle + node)) / 9.
}
