//! What each sampler makes of the steps it is asked for.

use super::{Row, listed};
use crate::by_name::ByName;
use crate::diffusion::EpsModel;
use crate::diffusion::samplers::{Plan, Spacing};
use crate::diffusion::schedule::Schedule;
use crate::job::Job;
use crate::rng::Noise;
use candle_core::{DType, Device, Result, Tensor};
use std::cell::Cell;

/// A line for each way to sample.
pub fn rows(job: &Job) -> Vec<Row> {
    let schedule = Schedule::new(&job.config.noise);
    let mut plans: Vec<Plan> = vec![];
    for settings in job.lines.settings() {
        let plan = Plan { eta: 0., ..settings.plan };
        if !plans.contains(&plan) {
            plans.push(plan);
        }
    }
    let said: Vec<String> = plans.iter().map(|plan| row(plan, &schedule)).collect();
    listed("steps", &said)
}

fn row(plan: &Plan, schedule: &Schedule) -> String {
    let name = plan.kind.name();
    let spacing = if plan.spacing == Spacing::Karras { " karras" } else { "" };
    let (asked, made) = (plan.steps, plan.sampler(schedule).steps());
    format!("{name}{spacing}: {asked} asked, {made} made, {} UNet passes a picture", passes(plan, schedule))
}

/// How often it asks the UNet: counted on one latent that is always 0.
pub fn passes(plan: &Plan, schedule: &Schedule) -> usize {
    let asked = Asked(Cell::new(0));
    let sample = || {
        let x = Tensor::zeros((1, 1, 1, 1), DType::F32, &Device::Cpu)?;
        plan.sampler(schedule).sample(&asked, x, &mut Silence, &mut || Ok(()))
    };
    match sample() {
        Ok(_) => asked.0.get(),
        // Not on a processor, for so little; were it so, it would be about this.
        Err(_) => plan.steps,
    }
}

/// Sees no noise, and counts how often it is asked.
struct Asked(Cell<usize>);

impl EpsModel for Asked {
    fn eps(&self, x: &Tensor, _: f64, _: f64) -> Result<Tensor> {
        self.0.set(self.0.get() + 1);
        x.zeros_like()
    }
}

struct Silence;

impl Noise for Silence {
    fn randn(&mut self, n: usize) -> Vec<f32> {
        vec![0.; n]
    }
}
