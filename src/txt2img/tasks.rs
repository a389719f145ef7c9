//! The batches of a run, each with all that must be known to draw it apart from the others.

use super::work::Units;
use crate::diffusion::samplers::{Kind, SamplerConfig, Spacing};
use crate::diffusion::schedule::Schedule;
use crate::job::{Batch, Job, SamplingParams};
use std::collections::{HashMap, HashSet};

/// A batch that is to be drawn.
pub struct Task<'a> {
    pub batch: Batch<'a>,
    /// Where the run's noise stands before it.
    pub position: u64,
    /// Which of its pictures are wanted, by index: the others are here.
    pub wanted: Vec<usize>,
}

/// The tasks of this process, in order. The noise between them is counted, not drawn.
pub struct Tasks<'a> {
    job: &'a Job,
    finished: &'a HashSet<usize>,
    schedule: Schedule,
    next: usize,
    position: u64,
    /// How often the last plan asks for noise.
    draws: HashMap<(Kind, usize, u64, Spacing), usize>,
    /// How many tasks there are.
    pub n_tasks: usize,
    /// Of how many pictures.
    pub n_pictures: usize,
    /// How many pictures of this process need no task.
    pub n_finished: usize,
    /// The first picture that does need one.
    pub first: Option<usize>,
    /// What its work is counted in.
    pub units: Units,
}

impl<'a> Tasks<'a> {
    /// finished: the pictures that are not wanted.
    pub fn new(job: &'a Job, finished: &'a HashSet<usize>) -> Self {
        let schedule = Schedule::new(&job.config.noise);
        let (mut n_tasks, mut n_pictures, mut n_finished, mut first) = (0, 0, 0, None);
        for number in (0..job.n_batches()).filter(|number| is_ours(job, *number)) {
            let n = n_wanted(job, finished, number);
            n_tasks += usize::from(n > 0);
            n_pictures += n;
            n_finished += job.lines.len_of(number) - n;
            if n > 0 && first.is_none() {
                first = job.lines.numbers_of(number).find(|n| !finished.contains(n));
            }
        }
        let (next, position, draws, units) = (0, 0, HashMap::new(), Units::of(job));
        let mut tasks =
            Self { job, finished, schedule, next, position, draws, n_tasks, n_pictures, n_finished, first, units };
        if let Some(batch) = job.fixed_code {
            tasks.position = job.rng.after(0, tasks.size(job.lines.settings_of(0), batch), 1);
        }
        tasks
    }

    /// Returns the work of all tasks.
    pub fn work(&self) -> f64 {
        self.units.total(self.job, self.finished)
    }

    /// Where the noise stands after this batch.
    fn after(&mut self, number: usize) -> u64 {
        if self.job.has_own_seeds(number) {
            return self.position;
        }
        let settings = self.job.lines.settings_of(number);
        let start = usize::from(self.job.fixed_code.is_none());
        let calls = start + self.draws(settings.sampler);
        self.job.rng.after(self.position, self.size(settings, self.job.lines.len_of(number)), calls)
    }

    /// How many numbers make the latents of a batch.
    fn size(&self, settings: SamplingParams, batch: usize) -> usize {
        batch * settings.latent_height * settings.latent_width * self.job.config.unet.in_channels
    }

    fn draws(&mut self, plan: SamplerConfig) -> usize {
        *self.draws.entry(plan.key()).or_insert_with(|| plan.counts(&self.schedule).draws)
    }
}

impl<'a> Iterator for Tasks<'a> {
    type Item = Task<'a>;

    fn next(&mut self) -> Option<Task<'a>> {
        while self.next < self.job.n_batches() {
            let (number, position) = (self.next, self.position);
            self.next += 1;
            self.position = self.after(number);
            let wanted = wanted(self.job, self.finished, number);
            if !wanted.is_empty() {
                return Some(Task { batch: self.job.batch(number), position, wanted });
            }
        }
        None
    }
}

/// How many pictures of a batch are to be drawn here.
pub fn n_wanted(job: &Job, finished: &HashSet<usize>, number: usize) -> usize {
    match finished.is_empty() {
        true if is_ours(job, number) => job.lines.len_of(number),
        true => 0,
        false => wanted(job, finished, number).len(),
    }
}

/// Which pictures of a batch are to be drawn here, by index.
pub fn wanted(job: &Job, finished: &HashSet<usize>, number: usize) -> Vec<usize> {
    if !is_ours(job, number) {
        return vec![];
    }
    let pictures = job.lines.numbers_of(number);
    pictures.enumerate().filter(|(_, n)| !finished.contains(n)).map(|(index, _)| index).collect()
}

fn is_ours(job: &Job, number: usize) -> bool {
    job.shard.is_none_or(|shard| shard.owns(number))
}
