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
    let mut kinds: Vec<(&str, SamplerConfig, String)> = vec![];
    for params in job.images.requests.params() {
        for (i, pass) in params.passes().enumerate() {
            let which = if i == 0 { "" } else { "second pass, " };
            let kind = (which, SamplerConfig { eta: 0., ..pass.sampler }, shortcuts(params));
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    let rows: Vec<String> = kinds
        .iter()
        .map(|(which, sampler, shortcuts)| which.to_string() + &row(sampler, &schedule) + shortcuts)
        .collect();
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
        steps if sampler.strength.is_some() => format!("the last {steps} of {}", sampler.steps),
        steps => format!("{steps} instead of {}", sampler.steps),
    };
    let passes = if counts.model_calls == 1 { "pass" } else { "passes" };
    format!("{name}{spacing}: {steps} ({} UNet {passes} per picture)", counts.model_calls)
}
