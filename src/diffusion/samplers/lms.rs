//! Linear multistep of order 4, as k-diffusion's `sample_lms`.

use super::{Level, Sigmas, Steps};
use crate::ops::weighted_sum;
use anyhow::Result;
use candle_core::Tensor;

/// The number of derivatives that a step combines.
const ORDER: usize = 4;

/// Denoises `x` (B, h, w, C), noise of the size of the first sigma.
pub(super) fn lms(sigmas: &Sigmas, mut x: Tensor, run: &mut Steps) -> Result<Tensor> {
    let mut history: Vec<Tensor> = vec![]; // derivatives of up to four steps, newest first
    for (i, (sigma, next)) in sigmas.pairs().enumerate() {
        let d = sigmas.derivative(run.model, &x, sigma)?;
        let x0 = sigmas.x0(&x, &d, sigma)?;
        history.insert(0, d);
        history.truncate(ORDER);
        let mut terms = vec![(&x, 1.)];
        let coefficient = |j| coefficient(sigmas.values(), i, history.len(), j);
        terms.extend(history.iter().enumerate().map(|(j, d)| (d, coefficient(j))));
        x = weighted_sum(&terms)?;
        x = run.end(i, x, &x0, Level::of_sigma(next))?;
    }
    Ok(x)
}

/// The integral over step `i` of the Lagrange polynomial that is 1 at sigma i − `j` and 0 at the other `order` newest.
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
