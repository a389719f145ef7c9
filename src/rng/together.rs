//! Random numbers of pictures that are drawn together and yet have their own.

use super::{Generator, Noise};

/// The noise of a batch whose pictures have a generator each: to every picture what it would draw alone.
pub struct Each(
    /// One for every picture.
    pub Vec<Box<dyn Generator>>,
);

impl Noise for Each {
    /// n: for all pictures together, an equal share for each.
    fn randn(&mut self, n: usize) -> Vec<f32> {
        let share = n / self.0.len().max(1);
        self.0.iter_mut().flat_map(|noise| noise.randn(share)).collect()
    }

    fn skip(&mut self, n: usize) {
        let share = n / self.0.len().max(1);
        self.0.iter_mut().for_each(|noise| noise.skip(share));
    }
}

/// The noise of one picture out of a batch that shared a generator.
pub struct Part {
    /// The batch's.
    pub noise: Box<dyn Generator>,
    /// Pictures in the batch.
    pub of: usize,
    /// Which of them, from 0.
    pub index: usize,
}

impl Noise for Part {
    fn randn(&mut self, n: usize) -> Vec<f32> {
        self.noise.randn(n * self.of).split_off(n * self.index)[..n].to_vec()
    }

    fn skip(&mut self, n: usize) {
        self.noise.skip(n * self.of);
    }
}
