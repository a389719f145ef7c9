//! Euler's method with fresh noise after each step, as k-diffusion's `sample_euler_ancestral`.

use super::{Level, Sigmas, Steps};
use crate::ops::weighted_sum;
use anyhow::Result;
use candle_core::Tensor;

/// Denoises `x` (B, h, w, C), noise of the size of the first sigma.
pub(super) fn euler_a(sigmas: &Sigmas, mut x: Tensor, run: &mut Steps) -> Result<Tensor> {
    for (i, (sigma, next)) in sigmas.pairs().enumerate() {
        let d = sigmas.derivative(run.model, &x, sigma)?;
        let x0 = sigmas.x0(&x, &d, sigma)?;
        // The step goes below `next`, and noise of size `up` leads back to it.
        let up = next.min((next * next * (sigma * sigma - next * next) / (sigma * sigma)).sqrt());
        let down = (next * next - up * up).sqrt();
        x = if next == 0. {
            weighted_sum(&[(&x, 1.), (&d, down - sigma)])?
        } else {
            weighted_sum(&[(&x, 1.), (&d, down - sigma), (&run.noise.randn_like(&x)?, up)])?
        };
        x = run.end(i, x, &x0, Level::of_sigma(next))?;
    }
    Ok(x)
}
