//! The latents of input pictures.

use super::{is_finite, load_vae};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::device::ComputeDevice;
use crate::output::Picture;
use crate::vae::Encoder;
use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};

/// The encoder of a model's autoencoder, with the latents of the last picture, as batches often share one.
pub struct InputEncoder<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a ModelConfig,
    device: &'a ComputeDevice,
    encoder: Encoder,
    dtype: DType,
    /// The encoder in f32, once half precision has returned NaN or infinity. Each picture is tried in half precision first, so
    /// that no latents depend on the pictures before.
    fallback: Option<Encoder>,
    last: Option<(Picture, Tensor)>,
}

impl<'a> InputEncoder<'a> {
    /// Loads the encoder. `dtype`: the type in which it computes, as long as it has no NaN or infinity for a result.
    ///
    /// # Errors
    /// If the checkpoint lacks the encoder or does not fit the config, or memory does not suffice.
    pub fn load(
        checkpoint: &'a Checkpoint,
        config: &'a ModelConfig,
        device: &'a ComputeDevice,
        dtype: DType,
    ) -> Result<Self> {
        let encoder = load_vae(checkpoint, config, device, dtype, Encoder::new)?;
        Ok(Self { checkpoint, config, device, encoder, dtype, fallback: None, last: None })
    }

    /// Returns the latents of a picture: (1, h, w, 4).
    ///
    /// # Errors
    /// If the encoder returns NaN or infinity in f32, memory does not suffice, or the device fails.
    pub fn encode(&mut self, picture: &Picture) -> Result<Tensor> {
        if let Some((_, latents)) = self.last.as_ref().filter(|(last, _)| last == picture) {
            return Ok(latents.clone());
        }
        let pixels = self.pixels(picture)?;
        let mut latents = self.latents(&self.encoder, &pixels)?;
        if self.dtype != DType::F32 && !is_finite(&latents)? {
            let fallback = match self.fallback.take() {
                Some(fallback) => fallback,
                None => load_vae(self.checkpoint, self.config, self.device, DType::F32, Encoder::new)?,
            };
            latents = self.latents(&fallback, &pixels)?;
            self.fallback = Some(fallback);
        }
        ensure!(
            is_finite(&latents)?,
            "the encoder returned NaN or infinite values for the input picture; the checkpoint may be damaged"
        );
        self.last = Some((picture.clone(), latents.clone()));
        Ok(latents)
    }

    /// Encodes `pixels` (1, 8h, 8w, 3), in tiles if memory does not suffice for the whole.
    fn latents(&self, encoder: &Encoder, pixels: &Tensor) -> Result<Tensor> {
        match encoder.forward(pixels).map_err(Into::into) {
            Err(error) if self.device.is_out_of_memory(&error) => {
                let factor = self.config.vae.side_factor();
                Ok(encoder.forward_in_tiles(pixels, factor)?.to_device(&self.device.device)?)
            }
            latents => latents,
        }
    }

    /// Converts a picture to numbers from −1 to 1 in two steps, as the original does: (1, height, width, 3).
    fn pixels(&self, picture: &Picture) -> Result<Tensor> {
        let levels: Vec<f32> = picture.rgb.iter().map(|&level| 2. * (f32::from(level) / 255.) - 1.).collect();
        Ok(Tensor::from_vec(levels, (1, picture.height, picture.width, 3), &self.device.device)?)
    }
}
