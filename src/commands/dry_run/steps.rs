//! The number of steps and UNet evaluations of each sampler.

use super::{Row, list_rows};
use crate::by_name::ByName;
use crate::diffusion::samplers::{SamplerConfig, Spacing};
use crate::diffusion::schedule::Schedule;
use crate::job::Job;

/// Returns a line for each sampler, with its number of steps and its spacing.
pub fn rows(job: &Job) -> Vec<Row> {
    let schedule = Schedule::new(&job.model.config.noise);
    let mut samplers: Vec<SamplerConfig> = vec![];
    for params in job.images.requests.params() {
        let sampler = SamplerConfig { eta: 0., ..params.sampler };
        if !samplers.contains(&sampler) {
            samplers.push(sampler);
        }
    }
    let rows: Vec<String> = samplers.iter().map(|sampler| row(sampler, &schedule)).collect();
    list_rows("steps", &rows)
}

fn row(sampler: &SamplerConfig, schedule: &Schedule) -> String {
    let name = sampler.kind.name();
    let spacing = match sampler.spacing {
        Spacing::Discrete => String::new(),
        spacing => format!(" {}", spacing.name()),
    };
    let counts = sampler.counts(schedule);
    let steps = match counts.steps {
        steps if steps == sampler.steps => steps.to_string(),
        steps => format!("{steps} instead of {}", sampler.steps),
    };
    format!("{name}{spacing}: {steps} ({} UNet passes per picture)", counts.model_calls)
}
