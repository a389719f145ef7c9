//! What is computed, and how often.

use crate::diffusion::samplers::SamplerConfig;
use crate::diffusion::schedule::Schedule;
use crate::diffusion::unet::layers::Pass;
use crate::job::Job;
use crate::job::tasks::n_wanted;
use crate::text::Tokens;
use std::collections::{BTreeMap, HashSet};

/// Batches that are computed group.
#[derive(Clone, Copy, Debug)]
pub struct BatchGroup {
    /// What the UNet is given each time.
    pub pass: Pass,
    /// How often, for one batch.
    pub passes: usize,
    /// How many pictures of a batch are wanted.
    pub wanted: usize,
    /// How many such batches there are to be drawn.
    pub batches: usize,
}

/// The batches that are to be drawn, those that are group together. chunks: times CLIP reads the longest prompt; finished:
/// the pictures that are there.
pub fn work(job: &Job, chunks: usize, finished: &HashSet<usize>) -> Vec<BatchGroup> {
    let schedule = Schedule::new(&job.model.config.noise);
    let mut known: Vec<(SamplerConfig, usize)> = vec![];
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for number in 0..job.images.n_batches() {
        let wanted = n_wanted(job, finished, number);
        if wanted == 0 {
            continue;
        }
        let settings = job.images.requests.params_of(number);
        let plan = SamplerConfig { eta: 0., ..settings.sampler };
        let passes = known.iter().find(|(other, _)| *other == plan).map(|(_, passes)| *passes).unwrap_or_else(|| {
            known.push((plan, plan.counts(&schedule).model_calls));
            known[known.len() - 1].1
        });
        // At scale 1 what is to be avoided is not looked at.
        let contexts = if settings.scale == 1. { 1 } else { 2 };
        let (batch, height, width) =
            (job.images.requests.len_of(number), settings.latent_height(), settings.latent_width());
        let pass = Pass { batch, height, width, contexts, tokens: chunks * Tokens::LENGTH };
        *counts.entry((pass, passes, wanted)).or_default() += 1;
    }
    counts.into_iter().map(|((pass, passes, wanted), batches)| BatchGroup { pass, passes, wanted, batches }).collect()
}
