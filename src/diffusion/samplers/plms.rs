//! PLMS (Liu et al. 2022, arXiv 2202.09778), step for step as `ldm/models/diffusion/plms.py`.

use super::{Level, SamplerConfig, Start, Step, Steps};
use crate::diffusion::schedule::Schedule;
use crate::ops::weighted_sum;
use anyhow::Result;
use candle_core::Tensor;

/// Adams–Bashforth weights for eps, newest first, by the number of older ones.
const WEIGHTS: [&[f64]; 3] =
    [&[3. / 2., -1. / 2.], &[23. / 12., -16. / 12., 5. / 12.], &[55. / 24., -59. / 24., 37. / 24., -9. / 24.]];

/// Denoises the start, (B, h, w, C), in DDIM's steps at eta 0 along a mean of the last few eps. Images get noise as with DDIM.
pub(super) fn plms(schedule: &Schedule, config: &SamplerConfig, start: Start, run: &mut Steps) -> Result<Tensor> {
    let steps = Step::original_table(schedule, config.steps, 0.);
    let taken = config.taken(steps.len());
    let mut x = start.at(Step::a_of_image(schedule, &steps, taken.start))?;
    let steps = &steps[taken];
    let mut history: Vec<Tensor> = vec![]; // eps of up to four steps, newest first
    for (i, step) in steps.iter().enumerate() {
        let eps = run.model.eps(&x, step.t as f64, step.a)?;
        history.insert(0, eps.clone());
        history.truncate(4);
        let eps = match history.len() {
            1 => {
                // Pseudo improved Euler: the mean of eps here and where a trial step leads.
                let trial = step.apply(&x, &eps, run.noise)?;
                let next = steps.get(i + 1).unwrap_or(step);
                weighted_sum(&[(&eps, 0.5), (&run.model.eps(&trial, next.t as f64, next.a)?, 0.5)])?
            }
            n => {
                let weights = WEIGHTS[n - 2].iter().copied();
                weighted_sum(&history.iter().zip(weights).collect::<Vec<_>>())?
            }
        };
        let x0 = step.x0(&x, &eps)?;
        x = step.apply(&x, &eps, run.noise)?;
        x = run.end(i, x, &x0, Level::at(step.a_prev))?;
    }
    Ok(x)
}
