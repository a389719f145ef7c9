//! The noise of each image of a batch, so that any image can be redrawn without the others.

use super::{Generator, Noise, Rng};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// The origin of an image's noise, which suffices to redraw the image without the rest of its batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The seed of the generator.
    pub seed: u32,
    /// The stream position of the start noise.
    pub start: StreamPos,
    /// The stream position of the step noise, if it does not follow the start noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<StreamPos>,
    /// The index of the image in its batch, from 0.
    pub index: usize,
}

/// A position in the stream of a seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamPos {
    /// The position, in the unit of [`Generator::position`].
    pub position: u64,
    /// The number of images that share each call of `randn`.
    pub of: usize,
}

/// The largest valid position: beyond any run, and far enough from the end that drawing from it cannot overflow.
const MAX_POSITION: u64 = 1 << 62;

/// The largest valid batch, which is larger than any that fits in memory.
const MAX_BATCH: usize = 1 << 20;

impl Origin {
    /// Returns the origin of an image that is drawn alone from `seed`.
    pub fn alone(seed: u32) -> Self {
        Self { seed, start: StreamPos { position: 0, of: 1 }, steps: None, index: 0 }
    }

    /// Checks an origin that was read from a file.
    ///
    /// # Errors
    /// If a position, the batch or the index is larger than any that this program writes.
    pub fn check(&self) -> Result<()> {
        let is_valid = |at: &StreamPos| at.position <= MAX_POSITION && at.of <= MAX_BATCH && self.index < at.of;
        ensure!(
            is_valid(&self.start) && self.steps.as_ref().is_none_or(is_valid),
            "its position in the random number stream is invalid"
        );
        Ok(())
    }
}

/// The noise of a batch whose images have a generator each. Every image gets the numbers that it would get alone.
pub struct PerImage(Vec<ImageNoise>);

impl PerImage {
    /// Creates the generators of images with these origins, at the positions of their start noise.
    pub fn new(rng: Rng, origins: &[Origin]) -> Self {
        Self(origins.iter().map(|origin| ImageNoise::new(rng, origin)).collect())
    }

    /// Moves to the positions of the step noise. Images without one continue after their start noise.
    pub fn go_to_steps(&mut self, origins: &[Origin]) {
        for (image, origin) in self.0.iter_mut().zip(origins) {
            origin.steps.into_iter().for_each(|steps| image.seek(steps));
        }
    }
}

impl Noise for PerImage {
    /// Returns `n` numbers, an equal share for each image.
    fn randn(&mut self, n: usize) -> Vec<f32> {
        let share = n / self.0.len().max(1);
        self.0.iter_mut().flat_map(|image| image.randn(share)).collect()
    }

    fn skip(&mut self, n: usize) {
        let share = n / self.0.len().max(1);
        self.0.iter_mut().for_each(|image| image.skip(share));
    }
}

/// The noise of one image of a batch that shared a generator when it was first drawn.
struct ImageNoise {
    noise: Box<dyn Generator>,
    of: usize,
    index: usize,
}

impl ImageNoise {
    fn new(rng: Rng, origin: &Origin) -> Self {
        let mut image = Self { noise: rng.noise(u64::from(origin.seed)), of: 1, index: origin.index };
        image.seek(origin.start);
        image
    }

    fn seek(&mut self, to: StreamPos) {
        self.noise.seek(to.position);
        self.of = to.of;
    }

    fn randn(&mut self, n: usize) -> Vec<f32> {
        let mut numbers = self.noise.randn(n * self.of);
        numbers.drain(..n * self.index);
        numbers.truncate(n);
        numbers
    }

    fn skip(&mut self, n: usize) {
        self.noise.skip(n * self.of);
    }
}
