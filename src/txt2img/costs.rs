//! The estimated cost of drawing, for the progress bar.

use crate::diffusion::samplers::CountCache;
use crate::job::Job;
use crate::job::tasks::n_wanted;
use crate::params::SamplingParams;
use std::collections::HashSet;

/// The cost of decoding one pixel, if the decoder has as many channels as the UNet.
///
/// Stable Diffusion 1.5's decoder takes 1.8 times as long as the UNet for each latent, of 8·8 pixels, in f32 and 2.8 times
/// in bf16, at 512×512 on a CPU (`benches/README.md`); 2.2 = 0.215·(8·128/320)².
const DECODING: f64 = 0.215;

/// The cost of saving an image, relative to that of decoding it. Images are saved while others are drawn.
const SAVING: f64 = 0.05;

/// The costs of the stages of drawing. The unit is an evaluation of the UNet for one latent of one image and one context.
#[derive(Clone, Copy)]
pub struct Costs {
    /// The cost of an evaluation.
    evaluation: f64,
    /// The cost of decoding one latent.
    decoding: f64,
}

impl Costs {
    /// No costs, for work that progress does not count.
    pub const NONE: Self = Self { evaluation: 0., decoding: 0. };

    /// Returns the costs of a job's model. The cost of a network grows with the square of its channels.
    pub fn of(job: &Job) -> Self {
        let (unet, vae) = (&job.model.config.unet, &job.model.config.vae);
        let width = (vae.side_factor() * vae.ch) as f64 / unet.model_channels as f64;
        Self { evaluation: 1., decoding: DECODING * width.powi(2) }
    }

    /// Returns the cost of a sampling step of images with `n_contexts` contexts, if a step takes `passes` evaluations of the
    /// UNet on average.
    pub fn step(&self, params: &SamplingParams, n_contexts: usize, passes: f64) -> f64 {
        self.evaluation * passes * (n_contexts * params.n_latents()) as f64
    }

    /// Returns the cost of decoding an image.
    pub fn decoding(&self, params: &SamplingParams) -> f64 {
        self.decoding * params.n_final_latents() as f64
    }

    /// Returns the cost of saving an image.
    pub fn saving(&self, params: &SamplingParams) -> f64 {
        SAVING * self.decoding(params)
    }

    /// Returns the cost of all batches that this process draws. `finished`: the images that need not be drawn.
    pub fn total(&self, job: &Job, finished: &HashSet<usize>) -> f64 {
        let mut counts = CountCache::new(&job.model.config.noise);
        let mut of_context = |params: &SamplingParams| {
            let passes = params.passes();
            passes.map(|pass| self.step(&pass, 1, counts.of(pass.sampler).model_calls as f64)).sum()
        };
        // Once for all batches with these parameters.
        let of_contexts: Vec<f64> = job.images.requests.params().iter().map(&mut of_context).collect();
        let mut total = 0.;
        for number in 0..job.images.n_batches() {
            let wanted = n_wanted(job, finished, number);
            if wanted == 0 {
                continue;
            }
            let index = job.images.requests.params_index(number);
            let params = &job.images.requests.params()[index];
            total += of_contexts[index] * job.images.n_contexts(number) as f64;
            total += wanted as f64 * (self.decoding(params) + self.saving(params));
        }
        total
    }
}
