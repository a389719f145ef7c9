//! What is computed, and how often.

use super::steps::passes;
use crate::diffusion::samplers::Plan;
use crate::diffusion::schedule::Schedule;
use crate::diffusion::unet::layers::Pass;
use crate::job::Job;
use crate::text::Tokens;
use std::collections::BTreeMap;

/// Batches that are computed alike.
#[derive(Clone, Copy, Debug)]
pub struct Alike {
    /// What the UNet is given each time.
    pub pass: Pass,
    /// How often, for one batch.
    pub passes: usize,
    /// How many such batches there are in the run.
    pub batches: usize,
}

/// The batches of the run, those that are alike together. chunks: times CLIP reads the longest prompt.
pub fn work(job: &Job, chunks: usize) -> Vec<Alike> {
    let schedule = Schedule::new(&job.config.noise);
    let mut known: Vec<(Plan, usize)> = vec![];
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for number in 0..job.lines.n_batches() {
        let settings = job.lines.settings_of(number);
        let plan = Plan { eta: 0., ..settings.plan };
        let passes = known.iter().find(|(other, _)| *other == plan).map(|(_, passes)| *passes).unwrap_or_else(|| {
            known.push((plan, passes(&plan, &schedule)));
            known[known.len() - 1].1
        });
        // At scale 1 what is to be avoided is not looked at.
        let contexts = if settings.scale == 1. { 1 } else { 2 };
        let key = (job.lines.len_of(number), settings.latent_height, settings.latent_width, contexts, passes);
        *counts.entry(key).or_default() += job.iterations;
    }
    let tokens = chunks * Tokens::LENGTH;
    let alike = |((batch, height, width, contexts, passes), batches)| {
        let pass = Pass { batch, height, width, contexts, tokens };
        Alike { pass, passes, batches }
    };
    counts.into_iter().map(alike).collect()
}
