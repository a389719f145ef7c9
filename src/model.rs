//! The three networks of Stable Diffusion 1.x, with weights.

use crate::checkpoint::{Checkpoint, weights};
use crate::config::ModelConfig;
use crate::diffusion::EpsModel;
use crate::diffusion::guidance::{Guided, Unguided};
use crate::diffusion::schedule::Schedule;
use crate::diffusion::unet::UNet;
use crate::output::{self, Picture};
use crate::text::{TextConfig, TextEncoder, Tokenizer, Tokens};
use crate::vae::Decoder;
use anyhow::{Context, Result};
use candle_core::{DType, Device, IndexOp, Tensor};
use std::sync::OnceLock;

/// A model, ready to draw.
pub struct Model {
    tokenizer: Tokenizer,
    text: TextEncoder,
    unet: UNet,
    decoder: Decoder,
    schedule: Schedule,
    /// The empty prompt's context, once it is asked for.
    uncond: OnceLock<Tensor>, // (1, 77, C)
}

impl Model {
    /// Reads all weights the config asks for; `read` is called after each tensor. dtype: what the UNet and the decoder
    /// multiply, f32 or bf16; everything else is f32.
    ///
    /// # Errors
    /// When the checkpoint lacks tensors or has them in other shapes, named in the error.
    pub fn load(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        device: &Device,
        dtype: DType,
        read: &(dyn Fn() + Sync),
    ) -> Result<Self> {
        const TEXT: &str = "cond_stage_model.transformer.text_model";
        let text_config =
            TextConfig::from_shapes(|name| checkpoint.shape(&format!("{TEXT}.{name}")), config.unet.context_dim)
                .with_context(|| format!("checkpoint '{}'", checkpoint.path().display()))?;
        let tokenizer = Tokenizer::new()?;
        weights::load(checkpoint, device, read, |vb| {
            Ok(Self {
                text: TextEncoder::new(text_config, vb.pp(TEXT))?,
                unet: UNet::new(&config.unet, vb.to_dtype(dtype).pp("model.diffusion_model"))?,
                decoder: Decoder::new(&config.vae, config.scale_factor, vb.to_dtype(dtype).pp("first_stage_model"))?,
                schedule: weights::schedule(checkpoint).unwrap_or_else(|| Schedule::new(&config.noise)),
                tokenizer,
                uncond: OnceLock::new(),
            })
        })
    }

    /// The noise the model was trained with.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The denoiser.
    pub fn unet(&self) -> &UNet {
        &self.unet
    }

    /// A prompt's tokens.
    ///
    /// # Errors
    /// None that a prompt can cause.
    pub fn tokens(&self, prompt: &str) -> Result<Tokens> {
        self.tokenizer.encode(prompt)
    }

    /// Prompts as the UNet reads them: (B, 77, C).
    ///
    /// # Errors
    /// When the device fails.
    pub fn context(&self, prompts: &[Tokens]) -> Result<Tensor> {
        match prompts.split_first() {
            // Copies of one prompt, the usual batch, are encoded once.
            Some((first, rest)) if rest.iter().all(|other| other == first) => {
                let context = self.text.encode(&prompts[..1])?; // (1, 77, C)
                Ok(context.repeat((prompts.len(), 1, 1))?)
            }
            _ => self.text.encode(prompts),
        }
    }

    /// The denoiser told what to draw. context: (B, 77, C), of the batch's prompts.
    ///
    /// # Errors
    /// When the device fails.
    pub fn denoiser(&self, context: &Tensor, scale: f64) -> Result<Box<dyn EpsModel + '_>> {
        // At scale 1 the empty prompt would cancel out.
        if scale == 1. {
            return Ok(Box::new(Unguided::new(&self.unet, context)?));
        }
        Ok(Box::new(Guided::new(&self.unet, &self.uncond()?, context, scale)?))
    }

    /// The empty prompt's context: (1, 77, C).
    fn uncond(&self) -> Result<Tensor> {
        if let Some(uncond) = self.uncond.get() {
            return Ok(uncond.clone());
        }
        let uncond = self.text.encode(&[self.tokens("")?])?;
        Ok(self.uncond.get_or_init(|| uncond).clone())
    }

    /// latents: (B, h, w, 4) → the picture of the `index`th.
    ///
    /// # Errors
    /// When the device fails.
    pub fn picture(&self, latents: &Tensor, index: usize) -> Result<Picture> {
        picture(&self.pixels(&latents.i(index..=index)?)?)
    }

    /// latents: (1, h, w, 4) → (1, 8h, 8w, 3), from −1 to 1 or a little beyond.
    ///
    /// # Errors
    /// When the device fails.
    pub fn pixels(&self, latents: &Tensor) -> Result<Tensor> {
        Ok(self.decoder.forward(latents)?)
    }

    /// The decoder.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }
}

/// pixels: (1, 8h, 8w, 3), from −1 to 1.
///
/// # Errors
/// When the device fails.
pub fn picture(pixels: &Tensor) -> Result<Picture> {
    let (_, height, width, _) = pixels.dims4()?;
    Ok(output::picture(&pixels.flatten_all()?.to_vec1::<f32>()?, width, height))
}
