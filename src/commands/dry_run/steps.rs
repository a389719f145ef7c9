//! The number of steps and UNet evaluations of each sampler.

use super::{Row, list_rows};
use crate::by_name::ByName;
use crate::diffusion::samplers::{SamplerConfig, Spacing};
use crate::diffusion::schedule::Schedule;
use crate::job::Job;
use crate::params::{PARAMS, Param, SamplingParams};

/// Returns a line for each sampler, with its number of steps, its spacing, and the shortcuts that it is used with.
pub fn rows(job: &Job) -> Vec<Row> {
    let schedule = Schedule::new(&job.model.config.noise);
    let mut kinds: Vec<(SamplerConfig, String)> = vec![];
    for params in job.images.requests.params() {
        let kind = (SamplerConfig { eta: 0., ..params.sampler }, shortcuts(params));
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let rows: Vec<String> = kinds.iter().map(|(sampler, shortcuts)| row(sampler, &schedule) + shortcuts).collect();
    list_rows("steps", &rows)
}

/// Returns the flags of the shortcuts, after a comma each.
fn shortcuts(params: &SamplingParams) -> String {
    if !params.has_shortcuts() {
        return String::new();
    }
    let exact = params.without_shortcuts();
    let is_used = |param: &&Param| param.get(params) != param.get(&exact);
    PARAMS.iter().filter(is_used).map(|param| format!(", --{} {}", param.flag, param.get(params))).collect()
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
