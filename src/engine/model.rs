//! The three networks of Stable Diffusion 1.x with their weights.

use super::Conditions;
use super::part::Part;
use super::sources::Sources;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::lora::Loras;
use crate::checkpoint::names::TEXT;
use crate::config::{ModelConfig, Prediction};
use crate::conventions::Conventions;
use crate::diffusion::deep_cache::DeepCache;
use crate::diffusion::guidance::{Guidance, Guided};
use crate::diffusion::schedule::Schedule;
use crate::diffusion::split_batch::SplitBatch;
use crate::diffusion::staged::Staged;
use crate::diffusion::unet::UNet;
use crate::diffusion::{EpsModel, VPrediction};
use crate::ops::Packing;
use crate::output::{self, Picture};
use crate::text::{PassSteps, Reading, TextConfig, TextEncoder, Tokenizer, Tokens, check_clip_skip, texts};
use crate::vae::Decoder;
use anyhow::{Context, Error, Result, ensure};
use candle_core::{DType, Device, IndexOp, Tensor};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

/// A loaded model.
pub struct Model<'a> {
    tokenizer: Tokenizer,
    text: Part<'a, TextEncoder>,
    unet: UNet,
    decoder: Part<'a, Decoder>,
    has_tiny_decoder: bool,
    prediction: Prediction,
    schedule: Schedule,
    /// The contexts of the empty prompt by clip skip, from 1, each encoded on first use.
    uncond: Vec<OnceLock<Tensor>>, // (1, 77, C) each
}

impl Model<'static> {
    /// Loads the networks that `config` describes, changed by `loras`. `dtype`: the type that the UNet and the decoder
    /// multiply, f32 or a half precision; the text encoder computes in f32. `read` is called after each tensor.
    ///
    /// # Errors
    /// If tensors are missing or have another shape, which the error names, or the device fails.
    pub fn load(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        loras: &Loras,
        device: &Device,
        dtype: DType,
        read: &(dyn Fn() + Sync),
    ) -> Result<Self> {
        let sources = Sources::new(checkpoint, config, loras, device, dtype, Packing::Fast)?;
        sources.load(read, |vb| {
            let text = || {
                let (tokenizer, embeddings) = sources.tokenizer()?;
                Ok::<_, Error>((tokenizer, sources.text_encoder(vb, &embeddings)?))
            };
            let (unet, (text, decoder)) =
                rayon::join(|| sources.unet(vb), || rayon::join(text, || sources.decoder(vb)));
            let (tokenizer, text) = text?;
            Ok(Self::new(&sources, tokenizer, unet?, Part::kept(text), Part::kept(decoder?)))
        })
    }
}

impl<'a> Model<'a> {
    /// Loads the UNet that `config` describes, changed by `loras`, and the other networks when they are needed, all of them
    /// packed for memory. See [`Model::load`] for the parameters.
    ///
    /// # Errors
    /// If tensors are missing or have another shape, which the error names, or the device fails.
    pub fn load_on_demand(
        checkpoint: &'a Checkpoint,
        config: &'a ModelConfig,
        loras: &Loras,
        device: &Device,
        dtype: DType,
        read: &(dyn Fn() + Sync),
    ) -> Result<Self> {
        let sources = Arc::new(Sources::new(checkpoint, config, loras, device, dtype, Packing::Compact)?);
        // Before anything is computed in vain.
        sources.check()?;
        let (tokenizer, embeddings) = sources.tokenizer()?;
        let unet = sources.load(read, |vb| sources.unet(vb))?;
        let (of_text, of_decoder) = (sources.clone(), sources.clone());
        let text = Part::on_demand(move || of_text.load(&|| (), |vb| of_text.text_encoder(vb, &embeddings)));
        let decoder = Part::on_demand(move || of_decoder.load(&|| (), |vb| of_decoder.decoder(vb)));
        Ok(Self::new(&sources, tokenizer, unet, text, decoder))
    }

    fn new(
        sources: &Sources,
        tokenizer: Tokenizer,
        unet: UNet,
        text: Part<'a, TextEncoder>,
        decoder: Part<'a, Decoder>,
    ) -> Self {
        let Conventions { prediction, schedule, .. } = &sources.conventions;
        Self {
            tokenizer,
            uncond: vec![OnceLock::new(); sources.text_config.layers],
            text,
            unet,
            decoder,
            has_tiny_decoder: sources.has_tiny_decoder(),
            prediction: prediction.value,
            schedule: schedule.clone(),
        }
    }

    /// Frees the memory of the text encoder, if it is loaded on demand.
    pub fn free_text_encoder(&self) {
        self.text.free();
    }

    /// Frees the memory of the decoder, if it is loaded on demand.
    pub fn free_decoder(&self) {
        self.decoder.free();
    }

    /// The noise schedule that the model was trained with.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The UNet.
    pub fn unet(&self) -> &UNet {
        &self.unet
    }

    /// Tokenizes a prompt as the original does: without emphasis, and cut after 75 tokens.
    ///
    /// # Errors
    /// If the tokenizer fails, which no prompt makes it do.
    pub fn tokens(&self, prompt: &str) -> Result<Tokens> {
        self.tokenizer.encode(prompt)
    }

    /// Tokenizes a prompt with the options of `reading`.
    ///
    /// # Errors
    /// If the weights of emphasis multiply to infinity.
    pub fn read(&self, prompt: &str, reading: Reading) -> Result<Tokens> {
        self.tokenizer.tokenize(prompt, reading)
    }

    /// Returns the indices of the embeddings in a prompt and a negative prompt, each once: the checkpoint's first, then those
    /// in LoRA files. `passes`: the steps of each pass.
    ///
    /// # Errors
    /// If the weights of emphasis multiply to infinity.
    pub fn embeddings_in(
        &self,
        prompts: (&str, &str),
        reading: Reading,
        passes: &[PassSteps],
    ) -> Result<BTreeSet<usize>> {
        let texts = texts(prompts, reading, passes)?;
        let found = texts.iter().map(|text| Ok(self.tokenizer.embeddings_in(&self.read(text, reading)?)));
        Ok(found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// Encodes prompts as the original does: without clip skip.
    ///
    /// # Errors
    /// If the prompts have different numbers of chunks, or the device fails.
    pub fn context(&self, prompts: &[Tokens]) -> Result<Tensor> {
        self.context_with(prompts, 1)
    }

    /// Encodes prompts: returns their contexts (B, M, C), where M is 77 times the number of chunks. `clip_skip`: the
    /// layer of the text encoder to take, counted from the last, which is 1.
    ///
    /// # Errors
    /// If the prompts have different numbers of chunks, the text encoder lacks the layer, or the device fails.
    pub fn context_with(&self, prompts: &[Tokens], clip_skip: usize) -> Result<Tensor> {
        match prompts.split_first() {
            // Copies of one prompt, the usual batch, are encoded once.
            Some((first, rest)) if rest.iter().all(|other| other == first) => {
                let context = self.text.get()?.encode(&prompts[..1], clip_skip)?; // (1, M, C)
                Ok(context.repeat((prompts.len(), 1, 1))?)
            }
            _ => self.text.get()?.encode(prompts, clip_skip),
        }
    }

    /// The context of the empty prompt, without clip skip: (1, 77, C).
    ///
    /// # Errors
    /// If the device fails.
    pub fn uncond(&self) -> Result<Tensor> {
        self.empty(1)
    }

    /// The context of the empty prompt: (1, 77, C).
    fn empty(&self, clip_skip: usize) -> Result<Tensor> {
        check_clip_skip(clip_skip, self.uncond.len())?;
        let kept = &self.uncond[clip_skip - 1];
        if let Some(uncond) = kept.get() {
            return Ok(uncond.clone());
        }
        let uncond = self.text.get()?.encode(&[self.tokens("")?], clip_skip)?;
        Ok(kept.get_or_init(|| uncond).clone())
    }

    /// Returns the UNet with classifier-free guidance. `uncond`: (1 or B, M', C), the context of the empty or the negative
    /// prompts. `cond`: (B, M, C), the context of the prompts. The shorter is padded with the context of the empty prompt,
    /// without clip skip.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device fails.
    pub fn denoiser(&self, uncond: &Tensor, cond: &Tensor, scale: f64) -> Result<Box<dyn EpsModel + '_>> {
        let uncond = if uncond.dim(0)? == 1 { uncond.repeat((cond.dim(0)?, 1, 1))? } else { uncond.clone() };
        let conditions = Conditions { uncond: Some(uncond), conds: vec![(cond.clone(), 1.)] };
        let guidance = scale.into();
        let terms = self.terms(&conditions, guidance, 1)?;
        Ok(self.guided(terms.uncond.as_ref(), &terms.conds, guidance, &Evaluation::default(), usize::MAX)?)
    }

    /// Returns the UNet with classifier-free guidance for prompts of different lengths. `unconds`, `conds`: a context
    /// (1, M, C) for each image, whose M may differ; a single one in `unconds` serves all images. Only neighbours with equal
    /// lengths are evaluated in one batch, so no image depends on the others.
    ///
    /// # Errors
    /// If there are no prompts, or a different number of negative ones, or the device fails.
    pub fn denoiser_of_each(
        &self,
        unconds: &[Tensor],
        conds: &[Tensor],
        guidance: impl Into<Guidance>,
        evaluation: Evaluation,
    ) -> Result<Box<dyn EpsModel + '_>> {
        let (n, n_uncond) = (conds.len(), unconds.len());
        ensure!(
            n > 0 && (n_uncond == 1 || n_uncond == n),
            "{n} prompts cannot be combined with {n_uncond} negative prompts"
        );
        let conditions = unconds.iter().cycle().zip(conds);
        let conditions = conditions
            .map(|(uncond, cond)| Conditions { uncond: Some(uncond.clone()), conds: vec![(cond.clone(), 1.)] })
            .collect();
        let phase = Phase { first: 0, conditions: 0, guidance: guidance.into() };
        self.denoiser_in_phases(vec![phase], vec![conditions], evaluation)
    }

    /// Returns the UNet with guidance by conditions that change during sampling. It can be sampled from once.
    ///
    /// `conditions`: those of each image, by number; they may differ in number, length and weight, and all contexts are
    /// (1, M, C). Only neighbours that differ in none of these are evaluated in one batch, so no image depends on the others.
    ///
    /// # Errors
    /// If the UNet lacks the skip connection of DeepCache, or the device fails.
    pub fn denoiser_in_phases(
        &self,
        phases: Vec<Phase>,
        conditions: Vec<Vec<Conditions>>,
        evaluation: Evaluation,
    ) -> Result<Box<dyn EpsModel + '_>> {
        let mut kinds: Vec<(usize, Guidance)> = vec![];
        let parts = phases.into_iter().map(|Phase { first, conditions, guidance }| {
            let kind = (conditions, guidance);
            let number = kinds.iter().position(|other| *other == kind).unwrap_or_else(|| {
                kinds.push(kind);
                kinds.len() - 1
            });
            (first, number)
        });
        let parts: Vec<_> = parts.collect();
        let make = move |number: usize| {
            let (conditions, guidance) = (&conditions[kinds[number].0], kinds[number].1);
            let terms = conditions.iter().map(|conditions| self.terms(conditions, guidance, evaluation.clip_skip));
            self.denoiser_of_terms(&terms.collect::<Result<Vec<_>>>()?, guidance, &evaluation)
        };
        match parts[..] {
            [(_, only)] => make(only),
            // An error of candle's stays one, since running out of memory is recognized by its type.
            _ => Ok(Box::new(Staged::new(parts, move |number| {
                make(number).map_err(|error| error.downcast().unwrap_or_else(candle_core::Error::msg))
            }))),
        }
    }

    /// Returns the UNet with guidance by the terms of each image. No batch is larger than guidance by one condition for as
    /// many images as fit makes it.
    fn denoiser_of_terms(
        &self,
        images: &[Terms],
        guidance: Guidance,
        evaluation: &Evaluation,
    ) -> Result<Box<dyn EpsModel + '_>> {
        let max_batch = evaluation.max_batch.clamp(1, images.len().max(1));
        let denoisers = images
            .chunk_by(|terms, next| terms.is_like(next))
            .flat_map(|group| group.chunks(max_batch))
            .map(|group| {
                let cat = |context: &dyn Fn(&Terms) -> Option<Tensor>| {
                    let contexts: Vec<Tensor> = group.iter().filter_map(context).collect();
                    Tensor::cat(&contexts, 0) // (B', M, C)
                };
                let uncond = group[0].uncond.is_some().then(|| cat(&|terms| terms.uncond.clone())).transpose()?;
                let conds = group[0].conds.iter().enumerate();
                let conds = conds.map(|(i, (_, weight))| Ok((cat(&|terms| Some(terms.conds[i].0.clone()))?, *weight)));
                let conds = conds.collect::<candle_core::Result<Vec<_>>>()?;
                let max_terms = 2 * max_batch / group.len();
                let guided = self.guided(uncond.as_ref(), &conds, guidance, evaluation, max_terms)?;
                Ok((group.len(), guided))
            })
            .collect::<Result<_>>()?;
        Ok(Box::new(SplitBatch(denoisers)))
    }

    /// Returns the UNet with guidance. `uncond`, `conds`: (B, M, C) each. `max_terms`: the number of them in one batch.
    fn guided(
        &self,
        uncond: Option<&Tensor>,
        conds: &[(Tensor, f64)],
        guidance: Guidance,
        evaluation: &Evaluation,
        max_terms: usize,
    ) -> candle_core::Result<Box<dyn EpsModel + '_>> {
        let Evaluation { deepcache, mask, .. } = evaluation;
        let guided = Guided::composed(&self.unet, uncond, conds, guidance, *deepcache, mask.clone(), max_terms)?;
        let predicted = Box::new(guided);
        Ok(match self.prediction {
            Prediction::Eps => predicted,
            Prediction::V => Box::new(VPrediction(predicted)),
        })
    }

    /// Returns the contexts that guidance needs of `conditions`, padded to one length.
    fn terms(&self, conditions: &Conditions, guidance: Guidance, clip_skip: usize) -> Result<Terms> {
        let Conditions { uncond, conds } = conditions;
        let weights: Vec<f64> = conds.iter().map(|(_, weight)| *weight).collect();
        let uncond = match guidance.outside(&self.unet).needs_uncond(&weights) {
            true => Some(uncond.as_ref().context("guidance needs the context of a negative prompt")?),
            false => None,
        };
        let lengths = uncond.into_iter().chain(conds.iter().map(|(cond, _)| cond)).map(|context| context.dim(1));
        let m = lengths.collect::<candle_core::Result<Vec<_>>>()?.into_iter().max().unwrap_or(0);
        Ok(Terms {
            uncond: uncond.map(|uncond| self.padded(uncond, m, clip_skip)).transpose()?,
            conds: conds
                .iter()
                .map(|(cond, weight)| Ok((self.padded(cond, m, clip_skip)?, *weight)))
                .collect::<Result<_>>()?,
        })
    }

    /// Pads `context` (B, M', C) to (B, M, C) with copies of the empty prompt's context. M' ≤ M are multiples of 77.
    fn padded(&self, context: &Tensor, m: usize, clip_skip: usize) -> Result<Tensor> {
        let (b, length, _) = context.dims3()?;
        match (m - length) / Tokens::LENGTH {
            0 => Ok(context.clone()),
            missing => Ok(Tensor::cat(&[context, &self.empty(clip_skip)?.repeat((b, missing, 1))?], 1)?),
        }
    }

    /// Decodes image `index` of `latents` (B, h, w, 4).
    ///
    /// # Errors
    /// If the device fails.
    pub fn picture(&self, latents: &Tensor, index: usize) -> Result<Picture> {
        picture(&self.pixels(&latents.i(index..=index)?)?, output::picture)
    }

    /// Returns a preview of image `index` of `latents` (B, h, w, 4): TAESD's picture if that is the decoder, and else one
    /// colour for each latent.
    ///
    /// # Errors
    /// If the device fails.
    pub fn preview(&self, latents: &Tensor, index: usize) -> Result<Picture> {
        match self.has_tiny_decoder {
            true => self.picture(latents, index),
            false => output::preview(&latents.i(index..=index)?),
        }
    }

    /// Decodes `latents` (1, h, w, 4) → pixels (1, 8h, 8w, 3), about −1 to 1.
    ///
    /// # Errors
    /// If the device fails.
    pub fn pixels(&self, latents: &Tensor) -> Result<Tensor> {
        Ok(self.decoder.get()?.forward(latents)?)
    }

    /// Decodes `latents` (1, h, w, 4) tile by tile, which takes less memory than [`Self::pixels`]. The pixels
    /// (1, 8h, 8w, 3) are similar, not equal.
    ///
    /// # Errors
    /// If the device fails.
    pub fn pixels_in_tiles(&self, latents: &Tensor) -> Result<Tensor> {
        Ok(self.decoder.get()?.forward_in_tiles(latents)?)
    }
}

/// A part of the evaluations of a model, with conditions and guidance of its own.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Phase {
    /// The first evaluation, from 0.
    pub first: usize,
    /// The number of the conditions.
    pub conditions: usize,
    /// The guidance by them.
    pub guidance: Guidance,
}

/// The settings of evaluations of the UNet, besides guidance.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The clip skip of the contexts.
    pub clip_skip: usize,
    /// The evaluations in which the whole UNet runs.
    pub deepcache: DeepCache,
    /// The largest number of images in one batch.
    pub max_batch: usize,
    /// What an inpainting model takes besides the latents: the mask, and the latents of the masked image (1, h, w, 5).
    pub mask: Option<Tensor>,
}

impl Default for Evaluation {
    /// As in the original: without clip skip and DeepCache, in batches of any size.
    fn default() -> Self {
        Self { clip_skip: 1, deepcache: DeepCache::default(), max_batch: usize::MAX, mask: None }
    }
}

/// The contexts that guidance needs, all of one length.
struct Terms {
    uncond: Option<Tensor>,
    conds: Vec<(Tensor, f64)>,
}

impl Terms {
    /// Whether two images can be evaluated in one batch.
    fn is_like(&self, other: &Self) -> bool {
        let shape = |terms: &Self| {
            let length = terms.uncond.iter().chain(terms.conds.iter().map(|(cond, _)| cond)).map(|x| x.dims()[1]).max();
            (terms.uncond.is_some(), length, terms.conds.iter().map(|(_, weight)| *weight).collect::<Vec<_>>())
        };
        shape(self) == shape(other)
    }
}

/// Returns the shape of the checkpoint's text encoder, which configs leave out.
///
/// # Errors
/// If the checkpoint lacks one of the networks, or its text encoder does not fit the config's UNet.
pub fn text_config(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<TextConfig> {
    checkpoint.check_complete()?;
    let heads = checkpoint.declared().text_heads.as_ref().map(|heads| heads.value);
    TextConfig::from_shapes(|name| checkpoint.shape(&format!("{TEXT}.{name}")), config.unet.context_dim)
        .and_then(|config| config.check_heads(heads).map(|()| config))
        .with_context(|| format!("checkpoint '{}'", checkpoint.path().display()))
}

/// Converts `pixels` (1, 8h, 8w, 3), about −1 to 1, to 8 bits. `to_levels`: a function of `output` that does so.
///
/// # Errors
/// If the device fails.
pub fn picture(pixels: &Tensor, to_levels: fn(&[f32], usize, usize) -> Picture) -> Result<Picture> {
    let (_, height, width, _) = pixels.dims4()?;
    Ok(to_levels(&pixels.flatten_all()?.to_vec1::<f32>()?, width, height))
}
