//! The three networks of Stable Diffusion 1.x, with weights.

use crate::checkpoint::{Checkpoint, ema, weights};
use crate::config::{ModelConfig, Prediction};
use crate::conventions::Conventions;
use crate::diffusion::guidance::{Guided, Unguided};
use crate::diffusion::schedule::Schedule;
use crate::diffusion::split_batch::SplitBatch;
use crate::diffusion::unet::UNet;
use crate::diffusion::{EpsModel, VPrediction};
use crate::ops::Compute;
use crate::output::{self, Picture};
use crate::text::{Reading, TextConfig, TextEncoder, Tokenizer, Tokens};
use crate::vae::Decoder;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, IndexOp, Tensor};
use std::sync::OnceLock;

/// Where a checkpoint has the text encoder.
pub const TEXT: &str = "cond_stage_model.transformer.text_model";

/// Where it has the denoiser.
pub const UNET: &str = "model.diffusion_model";

/// Where it has the autoencoder.
pub const VAE: &str = "first_stage_model";

/// A model, ready to draw.
pub struct Model {
    tokenizer: Tokenizer,
    text: TextEncoder,
    unet: UNet,
    decoder: Decoder,
    prediction: Prediction,
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
        let conventions = Conventions::new(checkpoint, config)?;
        let text_config = text_config(checkpoint, config)?;
        let tokenizer = Tokenizer::new()?;
        let scale_factor = conventions.scale_factor.value;
        let compute = if dtype == DType::F32 { Compute::F32 } else { Compute::Half };
        weights::load(checkpoint, device, read, |vb| {
            let of_unet = if conventions.use_ema.value { vb.clone().rename_f(ema::name) } else { vb.clone() };
            let (unet, (text, decoder)) = rayon::join(
                || UNet::new(&config.unet, compute, of_unet.pp(UNET)),
                || {
                    rayon::join(
                        || TextEncoder::new(text_config, vb.pp(TEXT)),
                        || Decoder::new(&config.vae, scale_factor, compute, vb.pp(VAE)),
                    )
                },
            );
            Ok(Self {
                text: text?,
                unet: unet?,
                decoder: decoder?,
                prediction: conventions.prediction.value,
                schedule: conventions.schedule,
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

    /// A prompt's tokens, as the original reads it.
    ///
    /// # Errors
    /// None that a prompt can cause.
    pub fn tokens(&self, prompt: &str) -> Result<Tokens> {
        self.tokenizer.encode(prompt)
    }

    /// A prompt's tokens, read as wished.
    ///
    /// # Errors
    /// With emphasis, when its weights multiply beyond all measure.
    pub fn read(&self, prompt: &str, reading: Reading) -> Result<Tokens> {
        self.tokenizer.tokenize(prompt, reading)
    }

    /// Prompts as the UNet reads them: (B, M, C), M = 77 for each of their chunks.
    ///
    /// # Errors
    /// When the prompts have different numbers of chunks, or the device fails.
    pub fn context(&self, prompts: &[Tokens]) -> Result<Tensor> {
        match prompts.split_first() {
            // Copies of one prompt, the usual batch, are encoded once.
            Some((first, rest)) if rest.iter().all(|other| other == first) => {
                let context = self.text.encode(&prompts[..1])?; // (1, M, C)
                Ok(context.repeat((prompts.len(), 1, 1))?)
            }
            _ => self.text.encode(prompts),
        }
    }

    /// The empty prompt's context: (1, 77, C).
    ///
    /// # Errors
    /// When the device fails.
    pub fn uncond(&self) -> Result<Tensor> {
        if let Some(uncond) = self.uncond.get() {
            return Ok(uncond.clone());
        }
        let uncond = self.text.encode(&[self.tokens("")?])?;
        Ok(self.uncond.get_or_init(|| uncond).clone())
    }

    /// The denoiser told what to avoid and what to draw. uncond: (1 or B, M', C), of the empty prompt or of negative ones;
    /// cond: (B, M, C), of the batch's prompts. The shorter is filled up with the empty prompt's context.
    ///
    /// # Errors
    /// When the shapes are others, or the device fails.
    pub fn denoiser(&self, uncond: &Tensor, cond: &Tensor, scale: f64) -> Result<Box<dyn EpsModel + '_>> {
        // At scale 1 what is to be avoided would cancel out.
        let predicted: Box<dyn EpsModel> = if scale == 1. {
            Box::new(Unguided::new(&self.unet, cond)?)
        } else {
            let m = uncond.dim(1)?.max(cond.dim(1)?);
            Box::new(Guided::new(&self.unet, &self.filled(uncond, m)?, &self.filled(cond, m)?, scale)?)
        };
        Ok(match self.prediction {
            Prediction::Eps => predicted,
            Prediction::V => Box::new(VPrediction(predicted)),
        })
    }

    /// The same for prompts of any lengths: a context (1, M, C) with an M of its own for each picture of the batch, or one
    /// `uncond` for all. Only neighbours of the same lengths are evaluated together, `most` of them at once: no picture
    /// depends on the others.
    ///
    /// # Errors
    /// When there are no prompts or not as many to avoid, or the device fails.
    pub fn denoiser_of_each(
        &self,
        unconds: &[Tensor],
        conds: &[Tensor],
        scale: f64,
        most: usize,
    ) -> Result<Box<dyn EpsModel + '_>> {
        let (n, n_uncond) = (conds.len(), unconds.len());
        ensure!(n > 0 && (n_uncond == 1 || n_uncond == n), "{n} prompts cannot be told to avoid {n_uncond}");
        let pairs: Vec<_> = unconds.iter().cycle().zip(conds).collect();
        let denoisers = pairs
            .chunk_by(|(uncond, cond), next| uncond.dims() == next.0.dims() && cond.dims() == next.1.dims())
            .flat_map(|alike| alike.chunks(most.max(1)))
            .map(|alike| {
                let (unconds, conds): (Vec<_>, Vec<_>) = alike.iter().copied().unzip();
                let (uncond, cond) = (Tensor::cat(&unconds, 0)?, Tensor::cat(&conds, 0)?); // (B', M', C), (B', M, C)
                Ok((alike.len(), self.denoiser(&uncond, &cond, scale)?))
            })
            .collect::<Result<_>>()?;
        Ok(Box::new(SplitBatch(denoisers)))
    }

    /// context: (B, M', C) → (B, M, C), the empty prompt's again and again after it; both multiples of 77, M' ≤ M.
    fn filled(&self, context: &Tensor, m: usize) -> Result<Tensor> {
        let (b, length, _) = context.dims3()?;
        match (m - length) / Tokens::LENGTH {
            0 => Ok(context.clone()),
            missing => Ok(Tensor::cat(&[context, &self.uncond()?.repeat((b, missing, 1))?], 1)?),
        }
    }

    /// latents: (B, h, w, 4) → the picture of the `index`th.
    ///
    /// # Errors
    /// When the device fails.
    pub fn picture(&self, latents: &Tensor, index: usize) -> Result<Picture> {
        picture(&self.pixels(&latents.i(index..=index)?)?, output::picture)
    }

    /// latents: (1, h, w, 4) → (1, 8h, 8w, 3), from −1 to 1 or a little beyond.
    ///
    /// # Errors
    /// When the device fails.
    pub fn pixels(&self, latents: &Tensor) -> Result<Tensor> {
        Ok(self.decoder.forward(latents)?)
    }

    /// The same in pieces, in less memory; near the whole one's, not equal.
    ///
    /// # Errors
    /// When the device fails.
    pub fn pixels_in_tiles(&self, latents: &Tensor) -> Result<Tensor> {
        Ok(self.decoder.forward_in_tiles(latents)?)
    }

    /// The decoder.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }
}

/// The shape of the checkpoint's text encoder, which configs leave out.
///
/// # Errors
/// When the checkpoint lacks one of its networks, or its text encoder does not fit the config's UNet.
pub fn text_config(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<TextConfig> {
    checkpoint.check_complete()?;
    let heads = checkpoint.declared().text_heads.as_ref().map(|heads| heads.value);
    TextConfig::from_shapes(|name| checkpoint.shape(&format!("{TEXT}.{name}")), config.unet.context_dim)
        .and_then(|config| config.check_heads(heads).map(|()| config))
        .with_context(|| format!("checkpoint '{}'", checkpoint.path().display()))
}

/// pixels: (1, 8h, 8w, 3), from −1 to 1. made_by: one of `output`'s ways to make levels of them.
///
/// # Errors
/// When the device fails.
pub fn picture(pixels: &Tensor, made_by: fn(&[f32], usize, usize) -> Picture) -> Result<Picture> {
    let (_, height, width, _) = pixels.dims4()?;
    Ok(made_by(&pixels.flatten_all()?.to_vec1::<f32>()?, width, height))
}
