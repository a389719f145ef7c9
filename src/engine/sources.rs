//! The sources of a model's networks: a checkpoint, its config and LoRAs.

use super::model::text_config;
use crate::checkpoint::lora::Loras;
use crate::checkpoint::names::{TEXT, UNET, VAE};
use crate::checkpoint::{Checkpoint, Embedding, ema, weights};
use crate::config::ModelConfig;
use crate::conventions::Conventions;
use crate::diffusion::unet::UNet;
use crate::ops::{Compute, LayerBuilder, Outline, Packing};
use crate::text::{TextConfig, TextEncoder, Tokenizer};
use crate::vae::Decoder;
use anyhow::Result;
use candle_core::{DType, Device};
use candle_nn::VarBuilder;

/// The files and settings that the networks of a model are built from.
pub struct Sources<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a ModelConfig,
    loras: Loras,
    device: Device,
    compute: Compute,
    packing: Packing,
    pub conventions: Conventions,
    pub text_config: TextConfig,
}

impl<'a> Sources<'a> {
    /// Finds out how the networks are built. See [`Model::load`](super::Model::load) for the parameters.
    ///
    /// # Errors
    /// If the checkpoint lacks a network, or it is not one of Stable Diffusion 1.x.
    pub fn new(
        checkpoint: &'a Checkpoint,
        config: &'a ModelConfig,
        loras: &Loras,
        device: &Device,
        dtype: DType,
        packing: Packing,
    ) -> Result<Self> {
        let conventions = Conventions::new(checkpoint, config)?;
        let text_config = text_config(checkpoint, config)?;
        let (loras, device, compute) = (loras.clone(), device.clone(), Compute::of(dtype));
        Ok(Self { checkpoint, config, loras, device, compute, packing, conventions, text_config })
    }

    /// Returns the tokenizer with the embeddings of the checkpoint and the LoRAs, and these embeddings.
    ///
    /// # Errors
    /// If the embeddings of the checkpoint do not have different names, or those of a LoRA cannot be read.
    pub fn tokenizer(&self) -> Result<(Tokenizer, Vec<Embedding>)> {
        let mut embeddings = self.checkpoint.embeddings().to_vec();
        let mut tokenizer = Tokenizer::new()?.with_embeddings(&embeddings)?;
        // Of several with one name, the first counts.
        let added = self.loras.embeddings()?.into_iter();
        embeddings.extend(added.filter(|embedding| tokenizer.add_embedding(embedding).is_ok()));
        Ok((tokenizer, embeddings))
    }

    /// Returns whether the decoder is TAESD's.
    pub fn has_tiny_decoder(&self) -> bool {
        self.checkpoint.has_tiny_vae()
    }

    /// Builds networks from their weights. `read` is called after each tensor.
    ///
    /// # Errors
    /// If tensors are missing or have another shape, which the error names, or the device fails.
    pub fn load<T>(&self, read: &(dyn Fn() + Sync), build: impl FnOnce(&VarBuilder) -> Result<T>) -> Result<T> {
        weights::load(self.checkpoint, &self.loras, &self.device, read, |vb| build(&vb))
    }

    /// Checks that the checkpoint has the weights of the text encoder and the decoder.
    ///
    /// # Errors
    /// If tensors are missing or have another shape, which the error names.
    pub fn check(&self) -> Result<()> {
        let outline = Outline::default();
        TextEncoder::new(self.text_config, outline.layer_builder(Compute::F32).pp(TEXT))?;
        self.decoder_of(outline.layer_builder(self.compute).pp(VAE))?;
        weights::check(self.checkpoint, &outline.needs().tensors)
    }

    /// Builds the UNet.
    pub fn unet(&self, vb: &VarBuilder) -> Result<UNet> {
        let use_ema = self.conventions.use_ema.value;
        let vb = if use_ema { vb.clone().rename_f(ema::name) } else { vb.clone() };
        let lb = LayerBuilder::new(vb.pp(UNET), self.compute, self.packing)?;
        Ok(UNet::new(&self.checkpoint.unet_config(self.config), lb)?)
    }

    /// Builds the text encoder with the vectors of `embeddings`, packed for memory: reading its weights takes more time than the
    /// products.
    pub fn text_encoder(&self, vb: &VarBuilder, embeddings: &[Embedding]) -> Result<TextEncoder> {
        let lb = LayerBuilder::new(vb.pp(TEXT), Compute::F32, Packing::Compact)?;
        Ok(TextEncoder::new(self.text_config, lb)?.with_embeddings(embeddings)?)
    }

    /// Builds the decoder.
    pub fn decoder(&self, vb: &VarBuilder) -> Result<Decoder> {
        self.decoder_of(LayerBuilder::new(vb.pp(VAE), self.compute, self.packing)?)
    }

    fn decoder_of(&self, lb: LayerBuilder) -> Result<Decoder> {
        Ok(match self.has_tiny_decoder() {
            true => Decoder::tiny(lb)?,
            false => Decoder::new(&self.config.vae, self.conventions.scale_factor.value, lb)?,
        })
    }
}
