//! PLMS (Liu et al. 2022, arXiv 2202.09778), step for step as `ldm/models/diffusion/plms.py`.

use super::Sampler;
use super::ddim::Step;
use crate::diffusion::EpsModel;
use crate::diffusion::schedule::Schedule;
use crate::ops::weighted_sum;
use crate::rng::Noise;
use anyhow::Result;
use candle_core::Tensor;

/// Adams–Bashforth weights for eps, newest first, by how many older ones there are.
const WEIGHTS: [&[f64]; 3] =
    [&[3. / 2., -1. / 2.], &[23. / 12., -16. / 12., 5. / 12.], &[55. / 24., -59. / 24., 37. / 24., -9. / 24.]];

/// See the module. Its steps are DDIM's at eta 0, along a mean of the last few eps.
pub struct Plms {
    steps: Vec<Step>,
}

impl Plms {
    /// steps: as asked for; the table may have more.
    pub fn new(schedule: &Schedule, steps: usize) -> Self {
        Self { steps: Step::table(schedule, steps, 0.) }
    }
}

impl Sampler for Plms {
    fn steps(&self) -> usize {
        self.steps.len()
    }

    fn draws(&self) -> usize {
        self.steps.len() + 1 // the first step is two
    }

    fn sample(
        &self,
        model: &dyn EpsModel,
        mut x: Tensor,
        noise: &mut dyn Noise,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Tensor> {
        let mut history: Vec<Tensor> = vec![]; // eps of up to four steps, newest first
        for (i, step) in self.steps.iter().enumerate() {
            let eps = model.eps(&x, step.t as f64, step.a)?;
            history.insert(0, eps.clone());
            history.truncate(4);
            let eps = match history.len() {
                1 => {
                    // Pseudo improved Euler: the mean of eps here and where a trial step leads.
                    let trial = step.apply(&x, &eps, noise)?;
                    let next = self.steps.get(i + 1).unwrap_or(step);
                    weighted_sum(&[(&eps, 0.5), (&model.eps(&trial, next.t as f64, next.a)?, 0.5)])?
                }
                n => {
                    let weights = WEIGHTS[n - 2].iter().copied();
                    weighted_sum(&history.iter().zip(weights).collect::<Vec<_>>())?
                }
            };
            x = step.apply(&x, &eps, noise)?;
            tick()?;
        }
        Ok(x)
    }
}
