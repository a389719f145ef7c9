//! DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2), as the original's `--dpm_solver`: data prediction,
//! second order, steps uniform in time.

use super::dpmpp_2m::multistep;
use super::{Level, SamplerConfig, Start, Steps};
use crate::diffusion::schedule::Schedule;
use crate::ops::weighted_sum;
use anyhow::Result;
use candle_core::Tensor;

/// Below this many steps the last one is of first order.
const FEW_STEPS: usize = 15;

/// Denoises the start, (B, h, w, C).
pub(super) fn dpm_solver(schedule: &Schedule, config: &SamplerConfig, start: Start, run: &mut Steps) -> Result<Tensor> {
    let points = &Point::table(schedule, config.steps)[config.taken(config.steps).start..];
    let mut x = start.mixed(points[0].level())?;
    let mut last: Option<(Point, Tensor)> = None; // the last point and its x0
    for (i, pair) in points.windows(2).enumerate() {
        let (here, next) = (pair[0], pair[1]);
        let eps = run.model.eps(&x, here.t, here.alpha * here.alpha)?;
        let x0 = weighted_sum(&[(&x, 1. / here.alpha), (&eps, -here.sigma / here.alpha)])?;
        let h = next.lambda - here.lambda;
        let first_order = i + 2 == points.len() && config.steps < FEW_STEPS;
        let previous = last.as_ref().filter(|_| !first_order);
        let previous = previous.map(|(last, last_x0)| (last_x0, 0.5 * h / (here.lambda - last.lambda)));
        x = multistep((&x, next.sigma / here.sigma), (&x0, -next.alpha * (-h).exp_m1()), previous)?;
        x = run.end(i, x, &x0, next.level())?;
        last = Some((here, x0));
    }
    Ok(x)
}

/// A point in continuous time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Point {
    /// The timestep for the model, a fraction.
    pub t: f64,
    /// √ᾱ.
    pub alpha: f64,
    /// √(1 − ᾱ).
    pub sigma: f64,
    /// ln(alpha / sigma): half the log of the signal-to-noise ratio.
    pub lambda: f64,
}

impl Point {
    /// The parts of the image and of the noise at the point.
    pub fn level(&self) -> Level {
        Level { alpha: self.alpha, sigma: self.sigma }
    }

    /// Returns the point of k-diffusion's sigma √((1 − ᾱ)/ᾱ) at timestep `t`.
    pub fn of_sigma(t: f64, sigma: f64) -> Self {
        let alpha = (sigma * sigma + 1.).sqrt().recip();
        Self { t, alpha, sigma: sigma * alpha, lambda: -sigma.ln() }
    }

    /// The points between `steps` steps, at least 1, most noise first.
    fn table(schedule: &Schedule, steps: usize) -> Vec<Self> {
        let n = schedule.timesteps() as f32;
        let end = 1. / n;
        // In f32, as in the original: the model is given slightly rounded times.
        let times = (0..=steps).map(|i| 1. - (1. - end) * (i as f32 / steps as f32));
        times.map(|time| Point::at(schedule, time)).collect()
    }

    /// The point at `time` in (0, 1], where timestep t is (t + 1) / 1000.
    fn at(schedule: &Schedule, time: f32) -> Self {
        let n = schedule.timesteps();
        let t = f64::from((time - 1. / n as f32) * n as f32).clamp(0., (n - 1) as f64);
        let log_alpha = |t: usize| 0.5 * schedule.alpha_cumprod(t).ln();
        let low = (t as usize).min(n - 2);
        let log_alpha = log_alpha(low) + (t - low as f64) * (log_alpha(low + 1) - log_alpha(low));
        let sigma = (1. - (2. * log_alpha).exp()).sqrt();
        Self { t, alpha: log_alpha.exp(), sigma, lambda: log_alpha - sigma.ln() }
    }
}
