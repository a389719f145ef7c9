//! The estimated cost of drawing, for the progress bar.

use super::OpenModel;
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

/// The factor by which TAESD takes less work than the decoder.
const TINY: f64 = 17.8;

/// The part of the UNet's work that remains in a step with DeepCache that runs its shallow layers only. 0.18, as every third
/// step as a whole makes drawing 2.2 times as fast.
const SHALLOW: f64 = 0.18;

/// The cost of saving an image, relative to that of decoding it with the model's own decoder. Images are saved while others are
/// drawn.
const SAVING: f64 = 0.05;

/// The costs of the stages of drawing. The unit is an evaluation of the UNet for one latent of one image and one context.
#[derive(Clone, Copy)]
pub struct Costs {
    /// The cost of an evaluation.
    evaluation: f64,
    /// The cost of decoding one latent.
    decoding: f64,
    /// The cost of saving the pixels of one latent.
    saving: f64,
}

impl Costs {
    /// No costs, for work that progress does not count.
    pub const NONE: Self = Self { evaluation: 0., decoding: 0., saving: 0. };

    /// Returns the costs of a job's models, judged by the first one. The cost of a network grows with the square of its channels.
    pub fn of(job: &Job, models: &[OpenModel]) -> Self {
        let (unet, vae) = (&job.model.config.unet, &job.model.config.vae);
        let width = (vae.side_factor() * vae.ch) as f64 / unet.model_channels as f64;
        let is_tiny = models.first().is_some_and(|model| model.checkpoint.has_tiny_vae());
        let decoding = DECODING * width.powi(2);
        Self { evaluation: 1., decoding: decoding / if is_tiny { TINY } else { 1. }, saving: SAVING * decoding }
    }

    /// Returns the cost of a sampling step of images with `n_contexts` contexts, if a step takes `passes` evaluations of the
    /// UNet on average.
    pub fn step(&self, params: &SamplingParams, n_contexts: usize, passes: f64) -> f64 {
        self.evaluation * passes * remaining_share(params) * (n_contexts * params.n_latents()) as f64
    }

    /// Returns the cost of decoding an image.
    pub fn decoding(&self, params: &SamplingParams) -> f64 {
        self.decoding * params.n_final_latents() as f64
    }

    /// Returns the cost of saving an image.
    pub fn saving(&self, params: &SamplingParams) -> f64 {
        self.saving * params.n_final_latents() as f64
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

/// Returns the share of the UNet's work that shortcuts leave, for a prompt that is one condition.
fn remaining_share(params: &SamplingParams) -> f64 {
    let every = params.deepcache.every as f64;
    let layers = (1. + (every - 1.) * SHALLOW) / every;
    // Without guidance there is one context instead of two.
    let guided = params.guidance_interval.to - params.guidance_interval.from;
    let contexts = if params.scale == 1. { 1. } else { (1. + guided) / 2. };
    layers * contexts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(deepcache: &str, interval: &str, scale: f64) -> f64 {
        let (deepcache, guidance_interval) = (deepcache.parse().unwrap(), interval.parse().unwrap());
        remaining_share(&SamplingParams { deepcache, guidance_interval, scale, ..SamplingParams::default() })
    }

    #[test]
    fn shortcuts_leave_a_share_of_the_work() {
        assert_eq!(share("1", "0,1", 7.5), 1.);
        assert_eq!(share("1", "0,0.5", 7.5), 0.75);
        assert_eq!(share("1", "0,0.5", 1.), 1.);
        assert!((1. / share("3", "0,1", 7.5) - 2.2).abs() < 0.01);
    }
}
