//! Heun's method (Karras et al. 2022, algorithm 2 without churn), as k-diffusion's `sample_heun`.

use super::{Level, Sigmas, Steps};
use crate::ops::weighted_sum;
use anyhow::Result;
use candle_core::Tensor;

/// Denoises `x` (B, h, w, C), noise of the size of the first sigma.
pub(super) fn heun(sigmas: &Sigmas, mut x: Tensor, run: &mut Steps) -> Result<Tensor> {
    for (i, (sigma, next)) in sigmas.pairs().enumerate() {
        // k-diffusion draws the noise of a churn of 0.
        run.noise.skip(x.elem_count());
        let d = sigmas.derivative(run.model, &x, sigma)?;
        let x0 = sigmas.x0(&x, &d, sigma)?;
        let euler = weighted_sum(&[(&x, 1.), (&d, next - sigma)])?;
        x = if next == 0. {
            euler
        } else {
            let d_next = sigmas.derivative(run.model, &euler, next)?;
            let half = 0.5 * (next - sigma);
            weighted_sum(&[(&x, 1.), (&d, half), (&d_next, half)])?
        };
        x = run.end(i, x, &x0, Level::of_sigma(next))?;
    }
    Ok(x)
}
