//! The random numbers of a run on one device.

use super::Images;
use super::tasks::{NoiseSource, Task};
use crate::engine::BatchNoise;
use crate::rng::{Generator, Noise, Origin, PerImage, Rng};
use anyhow::Result;
use candle_core::{Device, Tensor};

/// The random numbers of a run.
pub struct RunNoise {
    rng: Rng,
    /// The run's stream, for images without seeds of their own.
    stream: Box<dyn Generator>,
    /// The noise that every batch starts from, with `--fixed_code`.
    start: Option<Tensor>, // (longest batch, h, w, C)
}

impl RunNoise {
    /// Returns the random numbers of a run. `channels`: the channels of latents.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(images: &Images, channels: usize, device: &Device) -> Result<Self> {
        let mut stream = images.rng.noise(u64::from(images.seed));
        let start = images.fixed_code.map(|batch| {
            let params = images.requests.params_of(0);
            stream.randn_latents((batch, params.latent_height(), params.latent_width(), channels), device)
        });
        Ok(Self { rng: images.rng, stream, start: start.transpose()? })
    }

    /// Returns the random numbers of a task.
    pub fn for_task<'a>(&'a mut self, task: &'a Task) -> TaskNoise<'a> {
        TaskNoise { run: self, source: task.noise, origins: &task.origins, per_image: None }
    }
}

/// The random numbers of a task.
pub struct TaskNoise<'a> {
    run: &'a mut RunNoise,
    source: NoiseSource,
    origins: &'a [Origin],
    per_image: Option<PerImage>,
}

impl BatchNoise for TaskNoise<'_> {
    fn start(&mut self, shape: (usize, usize, usize, usize), device: &Device) -> Result<Tensor> {
        match self.source {
            NoiseSource::Stream { position } => {
                self.run.stream.seek(position);
                Ok(self.run.stream.randn_latents(shape, device)?)
            }
            NoiseSource::FixedStart { position } => {
                let (batch, height, width, _) = shape;
                let start = self.run.start.as_ref().expect("with --fixed_code there is a start");
                let start = match start.dims4()? {
                    (_, h, w, _) if (h, w) == (height, width) => start.narrow(0, 0, batch)?,
                    // The second pass is larger.
                    (longest, ..) => {
                        self.run.stream.seek(0);
                        let all = self.run.stream.randn_latents((longest, height, width, shape.3), device)?;
                        all.narrow(0, 0, batch)?
                    }
                };
                self.run.stream.seek(position);
                Ok(start)
            }
            NoiseSource::PerImage => {
                let noise = self.per_image.insert(PerImage::new(self.run.rng, self.origins));
                let x = noise.randn_latents(shape, device)?;
                noise.go_to_steps(self.origins);
                Ok(x)
            }
        }
    }

    fn steps(&mut self) -> &mut dyn Noise {
        match &mut self.per_image {
            Some(noise) => noise,
            None => &mut *self.run.stream,
        }
    }
}
