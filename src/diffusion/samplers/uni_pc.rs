//! UniPC (Zhao et al. 2023, arXiv 2302.04867) of order 2 with B₂(h), as diffusers' `UniPCMultistepScheduler`: each step
//! first corrects the last one by what the model says of its result, then predicts the next.

use super::dpm_solver::Point;
use super::{SamplerConfig, Sigmas, Spacing, Start, Steps};
use crate::diffusion::schedule::Schedule;
use crate::ops::weighted_sum;
use anyhow::Result;
use candle_core::Tensor;

/// A finished step: where it started, from which latents, and the x₀ that the model saw there.
struct Past {
    point: Point,
    x: Tensor,
    x0: Tensor,
}

/// Denoises the start, (B, h, w, C).
pub(super) fn uni_pc(schedule: &Schedule, config: &SamplerConfig, start: Start, run: &mut Steps) -> Result<Tensor> {
    let points = &points(schedule, config)[config.taken(config.steps).start..];
    let mut x = start.mixed(points[0].level())?;
    let mut past: Vec<Past> = vec![]; // the last two
    for (i, pair) in points.windows(2).enumerate() {
        let (point, next) = (pair[0], pair[1]);
        let eps = run.model.eps(&x, point.t, point.alpha * point.alpha)?;
        let x0 = weighted_sum(&[(&x, 1. / point.alpha), (&eps, -point.sigma / point.alpha)])?;
        if let Some((last, before)) = past.split_last() {
            x = corrected(last, before.last(), point, &x0)?;
        }
        // The last step is of first order, as it leads to a clean image.
        let last = past.pop().filter(|_| i + 2 < points.len());
        let now = Past { point, x, x0 };
        x = predicted(&now, last.as_ref(), next)?;
        x = run.end(i, x, &now.x0, next.level())?;
        past = last.into_iter().chain([now]).collect();
    }
    Ok(x)
}

/// Returns the points between the steps, most noise first; the last is a clean image.
fn points(schedule: &Schedule, config: &SamplerConfig) -> Vec<Point> {
    let steps = config.steps;
    let points: Vec<Point> = match config.spacing {
        Spacing::Karras => {
            let sigmas = Sigmas::new(schedule, steps, Spacing::Karras);
            sigmas.pairs().map(|(sigma, _)| Point::of_sigma(sigmas.timestep(sigma).round_ties_even(), sigma)).collect()
        }
        _ => {
            let apart = (schedule.timesteps() - 1) as f64 / steps as f64;
            let timesteps = (1..=steps).rev().map(|i| (i as f64 * apart).round_ties_even());
            let sigma = |t: f64| (1. / schedule.alpha_cumprod(t as usize) - 1.).sqrt();
            timesteps.map(|t| Point::of_sigma(t, sigma(t))).collect()
        }
    };
    points.into_iter().chain([Point::of_sigma(0., 0.)]).collect()
}

/// Returns the latents at `to`, predicted from those `now` and, with second order, from the x₀ of the step `before`.
fn predicted(now: &Past, before: Option<&Past>, to: Point) -> Result<Tensor> {
    let h = to.lambda - now.point.lambda; // infinite at the end
    let weight = -to.alpha * (-h).exp_m1(); // of x₀
    let x = (&now.x, to.sigma / now.point.sigma);
    let Some(before) = before else { return Ok(weighted_sum(&[x, (&now.x0, weight)])?) };
    let slope = 0.5 * weight / ((before.point.lambda - now.point.lambda) / h); // of x₀ before − x₀ now
    Ok(weighted_sum(&[x, (&now.x0, weight - slope), (&before.x0, slope)])?)
}

/// Returns the latents at `to`, to which the step `last` led, corrected by the x₀ that the model sees there. `before`: the
/// step before, if there is one.
fn corrected(last: &Past, before: Option<&Past>, to: Point, x0: &Tensor) -> Result<Tensor> {
    let h = to.lambda - last.point.lambda;
    let b = (-h).exp_m1();
    let weight = -to.alpha * b; // of x₀
    let x = (&last.x, to.sigma / last.point.sigma);
    let Some(before) = before else {
        return Ok(weighted_sum(&[x, (&last.x0, 0.5 * weight), (x0, 0.5 * weight)])?);
    };
    let r = (before.point.lambda - last.point.lambda) / h;
    // The coefficients of eq. 9 of the paper for the x₀ before and the new one, which solve
    // ρ₁ + ρ₂ = φ₂·1!/B and r·ρ₁ + ρ₂ = φ₃·2!/B.
    let phi2 = b / -h - 1.;
    let phi3 = phi2 / -h - 0.5;
    let (sum, moment) = (phi2 / b, 2. * phi3 / b);
    let of_before = (sum - moment) / (1. - r);
    let of_new = sum - of_before;
    let slope = weight * of_before / r;
    let new = weight * of_new;
    Ok(weighted_sum(&[x, (&last.x0, weight - slope - new), (&before.x0, slope), (x0, new)])?)
}
