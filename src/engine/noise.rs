//! The random numbers that a caller of the engine supplies.

use crate::rng::{Generator, Noise, Rng};
use anyhow::Result;
use candle_core::{Device, Tensor};

/// The random numbers of a batch.
pub trait BatchNoise {
    /// Returns standard normal noise of `shape` (B, h, w, 4) to start from. A batch may be sampled more than once: each
    /// call begins again.
    ///
    /// # Errors
    /// If the device fails.
    fn start(&mut self, shape: (usize, usize, usize, usize), device: &Device) -> Result<Tensor>;

    /// The numbers of the steps, which follow those of the start.
    fn steps(&mut self) -> &mut dyn Noise;
}

/// The noise of a run's first batch: the stream of a seed from its beginning.
pub struct SeedNoise(Box<dyn Generator>);

impl SeedNoise {
    /// Returns the noise of `seed`. `rng`: the torch generator to reproduce.
    pub fn new(rng: Rng, seed: u32) -> Self {
        Self(rng.noise(u64::from(seed)))
    }
}

impl BatchNoise for SeedNoise {
    fn start(&mut self, shape: (usize, usize, usize, usize), device: &Device) -> Result<Tensor> {
        self.0.seek(0);
        Ok(self.0.randn_latents(shape, device)?)
    }

    fn steps(&mut self) -> &mut dyn Noise {
        &mut *self.0
    }
}
