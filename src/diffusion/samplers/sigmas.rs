//! Noise measured by its size, as k-diffusion does (Karras et al. 2022, arXiv 2206.00364).

use crate::by_name::ByName;
use crate::diffusion::EpsModel;
use crate::diffusion::schedule::Schedule;
use crate::ops::weighted_sum;
use candle_core::{Result, Tensor};

/// The spacing of a sampler's steps, as `--schedule` names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Spacing {
    /// Evenly in the model's timesteps, as the original does.
    #[default]
    Discrete,
    /// Evenly in sigma^(1/7) between the largest and the smallest sigma; k-diffusion's samplers only.
    Karras,
    /// Evenly in the model's timesteps from the last one on (Lin et al. 2023, arXiv 2305.08891, section 3.3); DDIM only.
    Trailing,
}

impl ByName for Spacing {
    const ALL: &'static [(&'static str, Self)] =
        &[("discrete", Spacing::Discrete), ("karras", Spacing::Karras), ("trailing", Spacing::Trailing)];
}

/// A falling row of sigmas that ends in 0, with the model's sigmas to convert them to timesteps.
#[derive(Clone, PartialEq, Debug)]
pub struct Sigmas {
    steps: Vec<f64>,      // one more than steps
    log_sigmas: Vec<f64>, // of each timestep, rising
}

impl Sigmas {
    /// The sigmas of `steps` steps, at least 1.
    pub fn new(schedule: &Schedule, steps: usize, spacing: Spacing) -> Self {
        let log_sigmas = schedule.alphas_cumprod().iter().map(|a| 0.5 * ((1. - a) / a).ln()).collect();
        let mut sigmas = Self { steps: vec![], log_sigmas };
        sigmas.steps = (0..steps)
            .map(|i| if steps == 1 { 0. } else { i as f64 / (steps - 1) as f64 })
            .map(|ramp| match spacing {
                Spacing::Karras => sigmas.karras(ramp),
                _ => sigmas.sigma((1. - ramp) * (schedule.timesteps() - 1) as f64),
            })
            .chain([0.])
            .collect();
        sigmas
    }

    /// Sigma at a fractional timestep, its logarithm interpolated.
    fn sigma(&self, t: f64) -> f64 {
        let low = (t as usize).min(self.log_sigmas.len() - 2);
        let (a, b) = (self.log_sigmas[low], self.log_sigmas[low + 1]);
        (a + (t - low as f64) * (b - a)).exp()
    }

    /// Eq. 5 of the paper with rho 7: ramp 0 is the largest sigma, 1 the smallest.
    fn karras(&self, ramp: f64) -> f64 {
        const RHO: f64 = 7.;
        let last = self.log_sigmas.len() - 1;
        let root = |t: usize| (self.log_sigmas[t] / RHO).exp();
        (root(last) + ramp * (root(0) - root(last))).powf(RHO)
    }

    /// The fractional timestep whose sigma this is: the inverse of `sigma`.
    pub(super) fn timestep(&self, sigma: f64) -> f64 {
        let log_sigma = sigma.ln();
        let above = self.log_sigmas.partition_point(|&other| other <= log_sigma);
        let low = above.saturating_sub(1).min(self.log_sigmas.len() - 2);
        let (a, b) = (self.log_sigmas[low], self.log_sigmas[low + 1]);
        low as f64 + ((log_sigma - a) / (b - a)).clamp(0., 1.)
    }

    /// The sigmas of all steps and the final 0.
    pub fn values(&self) -> &[f64] {
        &self.steps
    }

    /// Leaves out the first `n` steps.
    pub(super) fn without(mut self, n: usize) -> Self {
        self.steps.drain(..n);
        self
    }

    /// The sigma of the first step; 0 if there is none.
    pub(super) fn largest(&self) -> f64 {
        self.steps[0]
    }

    /// The steps: (from, to).
    pub(super) fn pairs(&self) -> impl Iterator<Item = (f64, f64)> {
        self.steps.windows(2).map(|pair| (pair[0], pair[1]))
    }

    /// The clean latents x₀ = x − σ·d that the model saw where the derivative is `d`: all (B, h, w, C).
    pub(super) fn x0(&self, x: &Tensor, d: &Tensor, sigma: f64) -> Result<Tensor> {
        weighted_sum(&[(x, 1.), (d, -sigma)])
    }

    /// dx/dσ = (x − x₀) / σ, which is the noise that the model sees in `x` (B, h, w, C).
    pub(super) fn derivative(&self, model: &dyn EpsModel, x: &Tensor, sigma: f64) -> Result<Tensor> {
        let square = sigma * sigma + 1.;
        model.eps(&weighted_sum(&[(x, square.sqrt().recip())])?, self.timestep(sigma), square.recip())
    }
}
