//! The autoencoder: the decoder, which converts latents to pixels, and the encoder, which converts pixels to latents.

mod blocks;
mod encoder;
mod kl;
mod tiles;
mod tiny;

use crate::config::VaeConfig;
use crate::ops::LayerBuilder;
use candle_core::{Result, Tensor};
use kl::KlDecoder;
use tiny::TinyDecoder;

pub use encoder::Encoder;
pub use tiles::SIDE as TILE_SIDE;

/// A decoder.
pub enum Decoder {
    /// That of the model's own autoencoder.
    Kl(Box<KlDecoder>),
    /// TAESD's.
    Tiny(Box<TinyDecoder>),
}

impl Decoder {
    /// Builds the decoder of an `AutoencoderKL` from the layers below `lb`. `scale_factor`: the factor that latents were
    /// multiplied by.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn new(config: &VaeConfig, scale_factor: f64, lb: LayerBuilder) -> Result<Self> {
        Ok(Self::Kl(Box::new(KlDecoder::new(config, scale_factor, lb)?)))
    }

    /// Builds the decoder of a TAESD from the layers below `lb`.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn tiny(lb: LayerBuilder) -> Result<Self> {
        Ok(Self::Tiny(Box::new(TinyDecoder::new(lb)?)))
    }

    /// Decodes `latents` (B, h, w, 4) → pixels (B, 8h, 8w, 3), about -1 to 1.
    ///
    /// # Errors
    /// If the device fails.
    pub fn forward(&self, latents: &Tensor) -> Result<Tensor> {
        match self {
            Self::Kl(decoder) => decoder.forward(latents),
            Self::Tiny(decoder) => decoder.forward(latents),
        }
    }
}
