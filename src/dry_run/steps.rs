//! The number of steps and UNet evaluations of each sampler.

use super::{Row, listed};
use crate::by_name::ByName;
use crate::diffusion::samplers::{SamplerConfig, Spacing};
use crate::diffusion::schedule::Schedule;
use crate::job::Job;

/// A line for each set of sampler settings.
pub fn rows(job: &Job) -> Vec<Row> {
    let schedule = Schedule::new(&job.config.noise);
    let mut plans: Vec<SamplerConfig> = vec![];
    for settings in job.lines.settings() {
        let plan = SamplerConfig { eta: 0., ..settings.sampler };
        if !plans.contains(&plan) {
            plans.push(plan);
        }
    }
    let said: Vec<String> = plans.iter().map(|plan| row(plan, &schedule)).collect();
    listed("steps", &said)
}

fn row(plan: &SamplerConfig, schedule: &Schedule) -> String {
    let name = plan.kind.name();
    let spacing = if plan.spacing == Spacing::Karras { " karras" } else { "" };
    let counts = plan.counts(schedule);
    format!(
        "{name}{spacing}: {} asked, {} made, {} UNet passes a picture",
        plan.steps, counts.steps, counts.model_calls
    )
}
