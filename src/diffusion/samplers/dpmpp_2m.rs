//! DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095), as k-diffusion's `sample_dpmpp_2m`.

use super::{Level, Sigmas, Steps};
use crate::ops::weighted_sum;
use anyhow::Result;
use candle_core::Tensor;

/// Denoises `x` (B, h, w, C), noise of the size of the first sigma.
pub(super) fn dpmpp_2m(sigmas: &Sigmas, mut x: Tensor, run: &mut Steps) -> Result<Tensor> {
    let mut last: Option<(f64, Tensor)> = None; // the last sigma and the x0 seen there
    for (i, (sigma, next)) in sigmas.pairs().enumerate() {
        let d = sigmas.derivative(run.model, &x, sigma)?;
        let x0 = sigmas.x0(&x, &d, sigma)?;
        let h = (sigma / next).ln(); // infinite at the end
        let previous = last.as_ref().filter(|_| next > 0.);
        let previous = previous.map(|(last, last_x0)| (last_x0, 0.5 * h / (last / sigma).ln()));
        x = multistep((&x, next / sigma), (&x0, -(-h).exp_m1()), previous)?;
        x = run.end(i, x, &x0, Level::of_sigma(next))?;
        last = Some((sigma, x0));
    }
    Ok(x)
}

/// One DPM-Solver++(2M) update: the sum of `x` and the extrapolated x₀ by their weights. `previous`: the previous x₀ and
/// r = h/(2·h_last).
pub(super) fn multistep(x: (&Tensor, f64), x0: (&Tensor, f64), previous: Option<(&Tensor, f64)>) -> Result<Tensor> {
    let Some((previous, r)) = previous else { return Ok(weighted_sum(&[x, x0])?) };
    let (x0, weight) = x0;
    Ok(weighted_sum(&[x, (x0, weight * (1. + r)), (previous, -weight * r)])?)
}
