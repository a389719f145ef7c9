//! How much work drawing is, so that it can be told how much of it is done.

use crate::diffusion::samplers::{Kind, Spacing};
use crate::diffusion::schedule::Schedule;
use crate::diffusion::unet::{self, layers::Pass};
use crate::job::Job;
use crate::job::tasks::n_wanted;
use crate::ops::Compute;
use crate::ops::layer::Layer;
use crate::params::SamplingParams;
use crate::text::Tokens;
use crate::vae;
use std::collections::{HashMap, HashSet};

/// What saving a picture is of decoding it; it happens while others are drawn.
const SAVING: f64 = 0.05;

/// Units of work. One is what the UNet does to one latent of one picture for one prompt.
#[derive(Clone, Copy)]
pub struct Units {
    /// What decoding one latent is.
    decoding: f64,
}

impl Units {
    /// Compares the networks of a job's model, at the size of its first pictures.
    pub fn of(job: &Job) -> Self {
        let params = job.images.requests.params_of(0);
        let (height, width) = (params.latent_height(), params.latent_width());
        let pass = Pass { batch: 1, height, width, contexts: 1, tokens: Tokens::LENGTH };
        let unet = unet::layers::layers(&job.model.config.unet, pass);
        let unet = multiplications(unet.iter().filter(|layer| !layer.once));
        let vae = multiplications(vae::layers::layers(&job.model.config.vae, height, width).iter());
        Self { decoding: vae / unet.max(1.) }
    }

    /// Returns the work of a sampling step of `n` pictures, where a plan's steps take `passes` on average.
    pub fn step(&self, settings: &SamplingParams, n: usize, passes: f64) -> f64 {
        // At scale 1 what is to be avoided is not looked at.
        let contexts = if settings.scale == 1. { 1. } else { 2. };
        passes * contexts * (n * settings.n_latents()) as f64
    }

    /// Returns the work of decoding a picture.
    pub fn decoding(&self, settings: &SamplingParams) -> f64 {
        self.decoding * settings.n_latents() as f64
    }

    /// Returns the work of saving a picture.
    pub fn saving(&self, settings: &SamplingParams) -> f64 {
        SAVING * self.decoding(settings)
    }

    /// Returns the work of all batches that this process draws.
    pub fn total(&self, job: &Job, finished: &HashSet<usize>) -> f64 {
        let schedule = Schedule::new(&job.model.config.noise);
        let mut model_calls: HashMap<(Kind, usize, u64, Spacing), usize> = HashMap::new();
        let mut total = 0.;
        for number in 0..job.images.n_batches() {
            let wanted = n_wanted(job, finished, number);
            if wanted == 0 {
                continue;
            }
            let settings = job.images.requests.params_of(number);
            let calls = model_calls
                .entry(settings.sampler.key())
                .or_insert_with(|| settings.sampler.counts(&schedule).model_calls);
            total += self.step(&settings, job.images.requests.len_of(number), *calls as f64)
                + wanted as f64 * (self.decoding(&settings) + self.saving(&settings));
        }
        total
    }
}

fn multiplications<'a>(layers: impl Iterator<Item = &'a Layer>) -> f64 {
    layers.map(|layer| layer.cost(Compute::F32).in_f32).sum()
}
