//! DPM-Solver-2 (Lu et al. 2022, arXiv 2206.00927) with Karras's sigmas, as k-diffusion's `sample_dpm_2`.

use super::{Level, Sigmas, Steps};
use crate::ops::weighted_sum;
use anyhow::Result;
use candle_core::Tensor;

/// Denoises `x` (B, h, w, C), noise of the size of the first sigma.
pub(super) fn dpm2(sigmas: &Sigmas, mut x: Tensor, run: &mut Steps) -> Result<Tensor> {
    for (i, (sigma, next)) in sigmas.pairs().enumerate() {
        // k-diffusion draws the noise of a churn of 0.
        run.noise.skip(x.elem_count());
        let d = sigmas.derivative(run.model, &x, sigma)?;
        let x0 = sigmas.x0(&x, &d, sigma)?;
        let d = if next == 0. {
            d
        } else {
            let middle = (sigma * next).sqrt();
            let x_middle = weighted_sum(&[(&x, 1.), (&d, middle - sigma)])?;
            sigmas.derivative(run.model, &x_middle, middle)?
        };
        x = weighted_sum(&[(&x, 1.), (&d, next - sigma)])?;
        x = run.end(i, x, &x0, Level::of_sigma(next))?;
    }
    Ok(x)
}
