//! The networks of a model without weights: their tensors, and the memory that they need.

use crate::checkpoint::names::{TEXT, UNET, VAE};
use crate::config::ModelConfig;
use crate::diffusion::unet::{UNet, skips_per_latent};
use crate::ops::{Compute, Outline, Packing};
use crate::text::{TextConfig, TextEncoder};
use crate::vae::{Decoder, Encoder};
use candle_core::{DType, Device, Result, Tensor};

/// The names and shapes of tensors.
pub type Inventory = Vec<(String, Vec<usize>)>;

/// The networks of a model, without weights.
pub struct Networks {
    text: Outline,
    unet: (UNet, Outline),
    decoder: (Decoder, Outline),
    /// The encoder's, if it is read from the same checkpoint.
    encoder: Outline,
    config: ModelConfig,
}

/// The sizes in bytes of the weights of each network.
pub struct Bytes {
    pub text: f64,
    pub unet: f64,
    pub decoder: f64,
    pub encoder: f64,
}

/// The smallest side, in latents, of the map that the UNet is run on. On smaller maps a layer over the prompt could be the
/// largest.
const SIDE: usize = 8;

impl Networks {
    /// Outlines the networks. `has_tiny_vae`: whether the decoder is TAESD's. `encodes`: whether pictures are encoded besides by
    /// inpainting models. `compute`, `packing`: the arithmetic of the UNet and the autoencoder, and how their weights are stored.
    ///
    /// # Errors
    /// If there are no networks of these shapes.
    pub fn new(
        config: &ModelConfig,
        text: TextConfig,
        has_tiny_vae: bool,
        encodes: bool,
        compute: Compute,
        packing: Packing,
    ) -> Result<Self> {
        let [text_outline, unet_outline, decoder_outline, encoder] = [(); 4].map(|()| Outline::new(packing));
        TextEncoder::new(text, text_outline.layer_builder(Compute::F32).pp(TEXT))?;
        let unet = UNet::new(&config.unet, unet_outline.layer_builder(compute).pp(UNET))?;
        let lb = decoder_outline.layer_builder(compute).pp(VAE);
        let decoder =
            if has_tiny_vae { Decoder::tiny(lb) } else { Decoder::new(&config.vae, config.scale_factor, lb) }?;
        if (encodes || config.unet.takes_mask()) && !has_tiny_vae {
            Encoder::new(&config.vae, config.scale_factor, encoder.layer_builder(compute).pp(VAE))?;
        }
        let (unet, decoder) = ((unet, unet_outline), (decoder, decoder_outline));
        Ok(Self { text: text_outline, unet, decoder, encoder, config: config.clone() })
    }

    /// Returns the tensors that loading reads: those of the text encoder, the UNet and the autoencoder's parts, each sorted by
    /// name.
    pub fn inventory(&self) -> Inventory {
        [&self.text, &self.unet.1, &self.decoder.1, &self.encoder]
            .into_iter()
            .flat_map(|outline| outline.needs().tensors)
            .collect()
    }

    /// Returns the sizes of the weights, packed for this CPU.
    pub fn packed_bytes(&self) -> Bytes {
        self.bytes(|outline| outline.needs().packed_bytes)
    }

    /// Returns the sizes of the weights on a GPU. `element`: the bytes of an element of the UNet and the autoencoder.
    pub fn gpu_bytes(&self, element: f64) -> Bytes {
        self.bytes(|outline| element * outline.needs().parameters())
    }

    /// Returns the sizes of the weights. The text encoder computes in f32, and takes as much packed and unpacked.
    fn bytes(&self, bytes: impl Fn(&Outline) -> f64) -> Bytes {
        let [unet, decoder, encoder] = [&self.unet.1, &self.decoder.1, &self.encoder].map(bytes);
        Bytes { text: 4. * self.text.needs().parameters(), unet, decoder, encoder }
    }

    /// Returns the number of elements that the UNet holds at once for each latent and context: its skips,
    /// and the input and output of its largest layer.
    ///
    /// # Errors
    /// If there is not enough memory for a small map.
    pub fn sampling_elements(&self) -> Result<f64> {
        let ((unet, outline), config) = (&self.unet, &self.config);
        let side = SIDE.max(1 << (config.unet.channel_mult.len() - 1)); // a whole number on every level
        let prompt = unet.project(&zeros(&[1, 1, config.unet.context_dim])?, 1.)?;
        unet.forward(&zeros(&[1, side, side, config.unet.in_channels])?, 0., &prompt)?;
        Ok(skips_per_latent(&config.unet) + outline.needs().largest_layer as f64 / (side * side) as f64)
    }

    /// Returns the number of elements of the input and output of the decoder's largest layer for each latent.
    ///
    /// # Errors
    /// If there is not enough memory for a small map.
    pub fn decoding_elements(&self) -> Result<f64> {
        let (decoder, outline) = &self.decoder;
        decoder.forward(&zeros(&[1, 1, 1, self.config.vae.embed_dim])?)?;
        Ok(outline.needs().largest_layer as f64)
    }
}

fn zeros(shape: &[usize]) -> Result<Tensor> {
    Tensor::zeros(shape, DType::F32, &Device::Cpu)
}
