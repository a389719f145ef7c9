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
    /// The model's own decoder, if TAESD's pictures are compared with its pictures.
    exact_decoder: Option<(Decoder, Outline)>,
    /// The encoder's; empty if nothing is encoded.
    encoder: Outline,
    has_tiny_vae: bool,
    are_f16: bool,
    config: ModelConfig,
}

/// What a run uses of autoencoders.
#[derive(Clone, Copy, Default)]
pub struct VaeUse {
    /// Whether the decoder is TAESD's.
    pub is_tiny: bool,
    /// Whether pictures are encoded, besides by inpainting models.
    pub encodes: bool,
    /// Whether TAESD's pictures are compared with those of the model's own decoder.
    pub compares: bool,
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
    /// Outlines the networks. `compute`, `packing`: the arithmetic of the UNet and the autoencoders, and how their weights are
    /// stored. `are_f16`: whether the checkpoint holds them as f16.
    ///
    /// # Errors
    /// If there are no networks of these shapes.
    pub fn new(
        config: &ModelConfig,
        text: TextConfig,
        vae: VaeUse,
        compute: Compute,
        packing: Packing,
        are_f16: bool,
    ) -> Result<Self> {
        let [text_outline, unet_outline, encoder] = [(); 3].map(|()| Outline::new(packing, are_f16));
        TextEncoder::new(text, text_outline.layer_builder(Compute::F32).pp(TEXT))?;
        let unet = UNet::new(&config.unet, unet_outline.layer_builder(compute).pp(UNET))?;
        let decoder = |is_tiny: bool| -> Result<(Decoder, Outline)> {
            let outline = Outline::new(packing, are_f16);
            let lb = outline.layer_builder(compute).pp(VAE);
            let decoder = if is_tiny { Decoder::tiny(lb) } else { Decoder::new(&config.vae, config.scale_factor, lb) };
            Ok((decoder?, outline))
        };
        if vae.encodes || config.unet.takes_mask() {
            Encoder::new(&config.vae, config.scale_factor, encoder.layer_builder(compute).pp(VAE))?;
        }
        Ok(Self {
            text: text_outline,
            unet: (unet, unet_outline),
            decoder: decoder(vae.is_tiny)?,
            exact_decoder: (vae.is_tiny && vae.compares).then(|| decoder(false)).transpose()?,
            encoder,
            has_tiny_vae: vae.is_tiny,
            are_f16,
            config: config.clone(),
        })
    }

    /// Returns the tensors that loading reads from the checkpoint: those of the text encoder, the UNet and the autoencoder's
    /// parts, each sorted by name. The model's own autoencoder is read from another one if there is TAESD's.
    pub fn inventory(&self) -> Inventory {
        let encoder = (!self.has_tiny_vae).then_some(&self.encoder);
        let outlines = [&self.text, &self.unet.1, &self.decoder.1].into_iter().chain(encoder);
        outlines.flat_map(|outline| outline.needs().tensors).collect()
    }

    /// Returns the sizes of the weights, packed for this CPU.
    pub fn packed_bytes(&self) -> Bytes {
        // The text encoder computes in f32, and takes as much packed and unpacked.
        let element = if self.are_f16 { 2. } else { 4. };
        self.bytes(element, |outline| outline.needs().packed_bytes)
    }

    /// Returns the sizes of the weights on a GPU. `element`: the bytes of an element of the UNet and the autoencoder.
    pub fn gpu_bytes(&self, element: f64) -> Bytes {
        self.bytes(4., |outline| element * outline.needs().parameters())
    }

    /// Returns the sizes of the weights. `text_element`: the bytes of an element of the text encoder.
    fn bytes(&self, text_element: f64, bytes: impl Fn(&Outline) -> f64) -> Bytes {
        let decoders = [&self.decoder].into_iter().chain(&self.exact_decoder);
        Bytes {
            text: text_element * self.text.needs().parameters(),
            unet: bytes(&self.unet.1),
            decoder: decoders.map(|(_, outline)| bytes(outline)).sum(),
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
        unet.forward(&zeros(&[1, side, side, config.unet.in_channels])?, 0., &prompt)?;
        Ok(skips_per_latent(&config.unet) + outline.needs().largest_layer as f64 / (side * side) as f64)
    }

    /// Returns the number of elements of the input and output of the decoders' largest layer, for each latent of a map of
    /// `height` rows. TAESD decodes tall maps in bands.
    ///
    /// # Errors
    /// If there is not enough memory for a map of one column.
    pub fn decoding_elements(&self, height: usize) -> Result<f64> {
        let mut largest = 0;
        for (decoder, outline) in [&self.decoder].into_iter().chain(&self.exact_decoder) {
            decoder.forward(&zeros(&[1, height, 1, self.config.vae.embed_dim])?)?;
            largest = largest.max(outline.needs().largest_layer);
        }
        Ok(largest as f64 / height as f64)
    }
}

fn zeros(shape: &[usize]) -> Result<Tensor> {
    Tensor::zeros(shape, DType::F32, &Device::Cpu)
}
