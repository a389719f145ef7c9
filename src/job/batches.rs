//! The batches of a run, one by one.

use super::{Batch, ImageRequest, Job};
use crate::args::SeedMode;
use crate::prompts::wildcards;
use crate::rng;

impl Job {
    /// How many pictures the run draws.
    pub fn n_pictures(&self) -> usize {
        self.iterations * self.lines.lines().len()
    }

    /// In how many batches.
    pub fn n_batches(&self) -> usize {
        self.iterations * self.lines.n_batches()
    }

    /// The batches of the run, in order.
    pub fn batches(&self) -> impl Iterator<Item = Batch<'_>> {
        (0..self.n_batches()).map(|number| self.batch(number))
    }

    /// The batch of this number, from 0.
    pub fn batch(&self, number: usize) -> Batch<'_> {
        let mut batch = self.lines.batch(number, self.counts_seeds().then_some(self.seed));
        if let Some(replay) = &self.replay {
            batch.images[0].origin = Some(replay.record.origin);
        }
        if self.wildcards {
            batch.images.iter_mut().for_each(|image| self.choose(image));
        }
        batch
    }

    /// Whether a batch takes no part in the run's stream of random numbers.
    pub fn has_own_seeds(&self, number: usize) -> bool {
        self.counts_seeds() || self.replay.is_some() || self.lines.has_own_seeds(number)
    }

    fn counts_seeds(&self) -> bool {
        self.seed_mode == SeedMode::PerImage
    }

    /// Its wording: by its own seed if it has one, and so the same whatever is drawn beside it.
    fn choose(&self, image: &mut ImageRequest) {
        let mut choices = match image.origin {
            Some(origin) => rng::choices(u64::from(origin.seed), 0),
            None => rng::choices(u64::from(self.seed), image.number as u64),
        };
        // Braces that do not match were refused before.
        if let Ok(prompt) = wildcards::expand(&image.prompt, &mut choices) {
            image.prompt = prompt.into();
        }
    }
}
