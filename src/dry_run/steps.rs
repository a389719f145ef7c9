//! What each sampler makes of the steps it is asked for.

use super::{Row, listed};
use crate::by_name::ByName;
use crate::diffusion::samplers::{SamplerConfig, Spacing};
use crate::diffusion::schedule::Schedule;
use crate::job::Job;

/// A line for each way to sample.
pub fn rows(job: &Job) -> Vec<Row> {
    let schedule = Schedule::new(&job.model.config.noise);
    let mut plans: Vec<SamplerConfig> = vec![];
    for settings in job.images.requests.params() {
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
    let steps = match counts.steps {
        steps if steps == plan.steps => steps.to_string(),
        steps => format!("{steps} instead of {}", plan.steps),
    };
    format!("{name}{spacing}: {steps} ({} UNet passes per picture)", counts.model_calls)
}
