//! The batches that this process draws, in order, each with the position of its noise.
//!
//! The original draws all noise of a run from one stream of random numbers, so the noise of a batch depends on all batches
//! before it. Here the numbers in between are counted instead of drawn, so that any process can draw any batch.

use super::{Batch, Images, Job};
use crate::diffusion::samplers::CountCache;
use crate::params::SamplingParams;
use crate::rng::{Origin, StreamPos};
use std::collections::{HashMap, HashSet};

/// A batch to draw.
pub struct Task<'a> {
    /// The complete batch: its images share their noise even if some of them need not be drawn.
    pub batch: Batch<'a>,
    /// The source of its noise.
    pub noise: NoiseSource,
    /// The origin of each image's noise, as recorded in metadata.
    pub origins: Vec<Origin>,
    /// The indices in the batch of the images to draw; the others are finished.
    pub wanted: Vec<usize>,
    /// The number of the model that draws it.
    pub model: usize,
}

/// The source of a batch's noise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoiseSource {
    /// The run's stream from this position on: the start noise, then that of the steps.
    Stream {
        /// The position before the batch.
        position: u64,
    },
    /// The start of the run's stream for the start noise of every batch, with `--fixed_code`.
    FixedStart {
        /// The position before the noise of the steps.
        position: u64,
    },
    /// A generator for each image.
    PerImage,
}

/// The work of this process.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Remaining {
    /// The number of tasks.
    pub n_tasks: usize,
    /// The number of pictures to draw.
    pub n_pictures: usize,
    /// The number of pictures of this process that are finished.
    pub n_finished: usize,
    /// The first picture to draw.
    pub first: Option<usize>,
}

impl Remaining {
    /// Counts the work of this process. `finished`: the pictures that need not be drawn.
    pub fn new(job: &Job, finished: &HashSet<usize>) -> Self {
        let mut remaining = Self::default();
        for number in (0..job.images.n_batches()).filter(|number| is_in_shard(job, *number)) {
            let n = n_wanted(job, finished, number);
            remaining.n_tasks += usize::from(n > 0);
            remaining.n_pictures += n;
            remaining.n_finished += job.images.requests.len_of(number) - n;
            if n > 0 && remaining.first.is_none() {
                remaining.first = job.images.requests.numbers_of(number).find(|n| !finished.contains(n));
            }
        }
        remaining
    }
}

/// Iterates over the tasks of this process.
pub struct Tasks<'a> {
    job: &'a Job,
    finished: &'a HashSet<usize>,
    counts: CountCache,
    /// The number of the next batch.
    next: usize,
    /// The position of the run's stream before the next batch.
    position: u64,
    /// The LoRAs of each of the run's distinct parameters, as an index of a set of LoRAs.
    lora_sets: Vec<usize>,
    /// The number of sets of LoRAs.
    n_lora_sets: usize,
    /// The model and the set of LoRAs whose batches are returned now, as an index of both. They come together, because weights are
    /// loaded again for each.
    set: usize,
}

impl<'a> Tasks<'a> {
    /// Returns the tasks of this process. `finished`: the pictures that need not be drawn.
    pub fn new(job: &'a Job, finished: &'a HashSet<usize>) -> Self {
        let counts = CountCache::new(&job.model.config.noise);
        let lora_sets = lora_sets(job.images.requests.params());
        let n_lora_sets = lora_sets.iter().max().map_or(0, |last| last + 1);
        Self { job, finished, counts, next: 0, position: start(job), lora_sets, n_lora_sets, set: 0 }
    }

    /// Returns the index of the model and the LoRAs of batch `number`.
    fn set_of(&self, number: usize) -> usize {
        let images = &self.job.images;
        images.model_of(number) * self.n_lora_sets + self.lora_sets[images.requests.params_index(number)]
    }

    /// Returns the position of the run's stream after batch `number`, if `self.position` is that before it.
    fn after(&mut self, number: usize) -> u64 {
        let images = &self.job.images;
        if images.has_own_seeds(number) {
            return self.position;
        }
        let params = images.requests.params_of(number);
        let start = usize::from(images.fixed_code.is_none());
        let calls = start + self.counts.of(params.sampler).draws;
        images.rng.after(self.position, size(self.job, params, images.requests.len_of(number)), calls)
    }

    fn task(&self, number: usize, position: u64, wanted: Vec<usize>) -> Task<'a> {
        let images = &self.job.images;
        let batch = images.batch(number);
        let noise = match images.fixed_code {
            _ if images.has_own_seeds(number) => NoiseSource::PerImage,
            Some(_) => NoiseSource::FixedStart { position },
            None => NoiseSource::Stream { position },
        };
        let here = StreamPos { position, of: batch.images.len() };
        let (start, steps) = match images.fixed_code {
            Some(of) => (StreamPos { position: 0, of }, Some(here)),
            None => (here, None),
        };
        let stream_origin = |index| Origin { seed: images.seed, start, steps, index };
        let origins =
            batch.images.iter().enumerate().map(|(i, image)| image.origin.unwrap_or_else(|| stream_origin(i)));
        let model = images.model_of(number);
        Task { noise, origins: origins.collect(), batch, wanted, model }
    }
}

impl<'a> Iterator for Tasks<'a> {
    type Item = Task<'a>;

    fn next(&mut self) -> Option<Task<'a>> {
        let images = &self.job.images;
        let n_sets = self.n_lora_sets * self.job.models().count();
        while self.set < n_sets {
            while self.next < images.n_batches() {
                let (number, position) = (self.next, self.position);
                self.next += 1;
                self.position = self.after(number);
                let wanted =
                    if self.set_of(number) == self.set { wanted(self.job, self.finished, number) } else { vec![] };
                if !wanted.is_empty() {
                    return Some(self.task(number, position, wanted));
                }
            }
            self.set += 1;
            (self.next, self.position) = (0, start(self.job));
        }
        None
    }
}

/// Returns the index of the set of LoRAs of each of `params`. Sets are numbered from 0 as they occur.
fn lora_sets(params: &[SamplingParams]) -> Vec<usize> {
    let mut numbers = HashMap::new();
    let mut number = |params: &SamplingParams| {
        let loras = params.loras.iter().map(ToString::to_string).collect::<Vec<_>>();
        // Without LoRAs their weight makes no difference.
        let weight = if loras.is_empty() { 1. } else { params.lora_weight };
        let n = numbers.len();
        *numbers.entry((loras, weight.to_bits())).or_insert(n)
    };
    params.iter().map(&mut number).collect()
}

/// Returns the position of the run's stream before the first batch.
fn start(job: &Job) -> u64 {
    let Images { fixed_code, requests, rng, .. } = &job.images;
    fixed_code.map_or(0, |batch| rng.after(0, size(job, requests.params_of(0), batch), 1))
}

/// Returns the number of random numbers in the latents of a batch.
fn size(job: &Job, params: &SamplingParams, batch: usize) -> usize {
    batch * params.n_latents() * job.model.config.unet.out_channels
}

/// Returns the number of pictures of batch `number` that this process draws.
pub fn n_wanted(job: &Job, finished: &HashSet<usize>, number: usize) -> usize {
    match finished.is_empty() {
        true if is_in_shard(job, number) => job.images.requests.len_of(number),
        true => 0,
        false => wanted(job, finished, number).len(),
    }
}

/// Returns the indices of the pictures of batch `number` that this process draws.
pub fn wanted(job: &Job, finished: &HashSet<usize>, number: usize) -> Vec<usize> {
    if !is_in_shard(job, number) {
        return vec![];
    }
    let pictures = job.images.requests.numbers_of(number);
    pictures.enumerate().filter(|(_, n)| !finished.contains(n)).map(|(index, _)| index).collect()
}

/// Whether this process draws batch `number`.
fn is_in_shard(job: &Job, number: usize) -> bool {
    job.run.shard.is_none_or(|shard| shard.owns(number))
}
