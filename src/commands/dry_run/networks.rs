//! The networks of a model without weights: their tensors, and the memory that they need.

use crate::checkpoint::names::{TEXT, UNET, VAE};
use crate::config::ModelConfig;
use crate::diffusion::unet::{UNet, skips_per_latent};
use crate::ops::{Compute, Outline, Packing};
use crate::text::{TextConfig, TextEncoder};
use crate::vae::{Decoder, Encoder};
use candle_core::{DType, Device, Result, Tensor};
use std::collections::HashSet;
use std::sync::Arc;

/// The names and shapes of tensors.
pub type Inventory = Vec<(String, Vec<usize>)>;

/// The networks of a model, without weights.
pub struct Networks {
    text: Outline,
    unet: (UNet, Outline),
    decoder: (Decoder, Outline),
    /// The decoder of the model's own autoencoder, if that is used beside TAESD.
    own_decoder: Option<(Decoder, Outline)>,
    /// The encoder's; empty if nothing is encoded.
    encoder: Outline,
    vae: VaeUse,
    config: ModelConfig,
}

/// The parts of autoencoders that a run uses.
#[derive(Clone, Copy, Default)]
pub struct VaeUse {
    /// If true, the decoder is TAESD's.
    pub is_tiny: bool,
    /// If true, pictures are encoded; inpainting models encode them in any case.
    pub encodes: bool,
    /// If true, TAESD's pictures are compared with those of the model's own decoder.
    pub compares: bool,
}

/// The sizes in bytes of the weights of each network.
pub struct Bytes {
    pub text: f64,
    pub unet: f64,
    pub decoder: f64,
    /// The model's own decoder beside TAESD.
    pub exact_decoder: f64,
    pub encoder: f64,
}

/// The smallest side, in latents, of the map that the UNet is run on. On smaller maps a layer over the prompt could be the
/// largest.
const SIDE: usize = 8;

impl Networks {
    /// Outlines the networks. `compute`, `packing`: the arithmetic of the UNet and the autoencoders, and how their weights are
    /// stored. `f16`: the names of the weights that are f16 in the checkpoint.
    ///
    /// # Errors
    /// If there are no networks of these shapes.
    pub fn new(
        config: &ModelConfig,
        text: TextConfig,
        vae: VaeUse,
        compute: Compute,
        packing: Packing,
        f16: &Arc<HashSet<String>>,
    ) -> Result<Self> {
        let [text_outline, unet_outline, encoder] = [(); 3].map(|()| Outline::new(packing, f16));
        TextEncoder::new(text, text_outline.layer_builder(Compute::F32).pp(TEXT))?;
        let unet = UNet::new(&config.unet, unet_outline.layer_builder(compute).pp(UNET))?;
        let decoder = |is_tiny: bool| -> Result<(Decoder, Outline)> {
            let outline = Outline::new(packing, f16);
            let lb = outline.layer_builder(compute).pp(VAE);
            let decoder = if is_tiny { Decoder::tiny(lb) } else { Decoder::new(&config.vae, config.scale_factor, lb) };
            Ok((decoder?, outline))
        };
        let vae = VaeUse { encodes: vae.encodes || config.unet.takes_mask(), ..vae };
        if vae.encodes {
            Encoder::new(&config.vae, config.scale_factor, encoder.layer_builder(compute).pp(VAE))?;
        }
        Ok(Self {
            text: text_outline,
            unet: (unet, unet_outline),
            decoder: decoder(vae.is_tiny)?,
            own_decoder: (vae.is_tiny && (vae.compares || vae.encodes)).then(|| decoder(false)).transpose()?,
            encoder,
            vae,
            config: config.clone(),
        })
    }

    /// Returns the tensors that loading reads from the checkpoint: those of the text encoder, the UNet and the autoencoder's
    /// parts, each sorted by name. The model's own autoencoder is read from another one if there is TAESD's.
    pub fn inventory(&self) -> Inventory {
        let encoder = (!self.vae.is_tiny).then_some(&self.encoder);
        let outlines = [&self.text, &self.unet.1, &self.decoder.1].into_iter().chain(encoder);
        outlines.flat_map(|outline| outline.needs().tensors).collect()
    }

    /// Returns the sizes of the weights, packed for this CPU.
    pub fn packed_bytes(&self) -> Bytes {
        // The text encoder computes in f32, and takes as much packed and unpacked.
        let text = self.text.needs().unpacked_bytes;
        self.bytes(text, |outline| outline.needs().packed_bytes)
    }

    /// Returns the sizes of the weights on a GPU. `element`: the bytes of an element of the UNet and the autoencoder.
    pub fn gpu_bytes(&self, element: f64) -> Bytes {
        let text = 4. * self.text.needs().parameters();
        self.bytes(text, |outline| element * outline.needs().parameters())
    }

    /// Returns the sizes of the weights: `text` for the text encoder, and those that `bytes` returns for the others.
    fn bytes(&self, text: f64, bytes: impl Fn(&Outline) -> f64) -> Bytes {
        let exact_decoder = self.own_decoder.as_ref().filter(|_| self.vae.compares);
        Bytes {
            text,
            unet: bytes(&self.unet.1),
            decoder: bytes(&self.decoder.1),
            exact_decoder: exact_decoder.map_or(0., |(_, outline)| bytes(outline)),
            encoder: bytes(&self.encoder),
        }
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
        let latents = zeros(&[1, side, side, config.unet.in_channels])?;
        let largest = outline.largest_layer(|| unet.forward(&latents, 0., &prompt))?;
        Ok(skips_per_latent(&config.unet) + largest as f64 / (side * side) as f64)
    }

    /// Returns the number of elements of the input and output of the autoencoders' largest layer, for each latent of a map of
    /// `height` rows. TAESD decodes tall maps in bands, which makes their number depend on the height.
    ///
    /// # Errors
    /// If there is not enough memory for a map of one column.
    pub fn decoding_elements(&self, height: usize) -> Result<f64> {
        let elements = |(decoder, outline): &(Decoder, Outline), height: usize| -> Result<f64> {
            let latents = zeros(&[1, height, 1, self.config.vae.embed_dim])?;
            Ok(outline.largest_layer(|| decoder.forward(&latents))? as f64 / height as f64)
        };
        let decoder = elements(&self.decoder, if self.vae.is_tiny { height } else { 1 })?;
        let own = self.own_decoder.as_ref().map(|decoder| elements(decoder, 1)).transpose()?;
        Ok(decoder.max(own.unwrap_or(0.)))
    }
}

fn zeros(shape: &[usize]) -> Result<Tensor> {
    Tensor::zeros(shape, DType::F32, &Device::Cpu)
}
