//! Sampling the latents of a batch: in one pass, or in a second one for large pictures (`--hires`), and in parts if memory is
//! short.

use super::conditions::{BatchConditions, Steps};
use super::input::Encoded;
use super::{Batch, BatchNoise, Engine, Evaluation, Latents, Loaded, NOT_LOADED, Observer, Stage, enlarge, is_finite};
use crate::diffusion::guidance::Guidance;
use crate::diffusion::samplers::{Counts, Sampling, Start};
use crate::diffusion::schedule::Schedule;
use crate::output;
use crate::params::{SamplingParams, Upscaler};
use crate::text::PassSteps;
use anyhow::{Context, Result};
use candle_core::Tensor;

/// A pass of sampling.
pub struct Pass {
    /// The parameters of the pass.
    pub params: SamplingParams,
    /// The cost of its sampler.
    pub counts: Counts,
    /// Its steps, as prompts count them.
    pub steps: PassSteps,
    /// The number of steps of the passes before.
    pub first_step: usize,
}

impl Pass {
    /// Returns the passes of a batch with these parameters.
    pub fn all(params: &SamplingParams, schedule: &Schedule) -> Vec<Self> {
        let mut passes: Vec<Self> = vec![];
        for params in params.passes() {
            let counts = params.sampler.counts(schedule);
            let last = passes.last();
            let (before, first_step) = (last.map(|pass| pass.steps.steps), last.map_or(0, |pass| pass.counts.steps));
            let steps = PassSteps { steps: params.sampler.prompt_steps(counts.steps), before };
            passes.push(Self { params, counts, steps, first_step });
        }
        passes
    }
}

impl Engine<'_> {
    /// Samples the latents of a batch. What does not fit in memory at once is computed in parts. What returns NaN or
    /// infinity in half precision is computed again in f32; each batch is tried in half precision first, so that no image
    /// depends on the batches before it.
    ///
    /// # Errors
    /// If the observer returns an error, memory does not suffice for one image, or the device fails.
    pub fn sample(
        &mut self,
        batch: &Batch,
        noise: &mut dyn BatchNoise,
        observer: &mut dyn Observer,
    ) -> Result<Latents> {
        let latents = self.sample_in_parts(batch, noise, observer, false)?;
        let Some(stage) = latents.non_finite else { return Ok(latents) };
        if !self.fall_back_to_f32(stage, observer)? {
            return Ok(latents);
        }
        observer.on_repeat();
        self.sample_in_parts(batch, noise, observer, true)
    }

    /// Samples a batch, in smaller parts each time memory does not suffice. `in_f32`: whether to use the fallback.
    fn sample_in_parts(
        &mut self,
        batch: &Batch,
        noise: &mut dyn BatchNoise,
        observer: &mut dyn Observer,
        in_f32: bool,
    ) -> Result<Latents> {
        loop {
            match self.sample_once(batch, noise, observer, in_f32) {
                Err(error) if self.device.is_out_of_memory(&error) => (),
                latents => return latents,
            }
            let size = self.max_batch.min(batch.prompts.len());
            if size == 1 {
                let (height, width) = batch.params.final_latent_size();
                return Err(self.too_large(height, width));
            }
            self.max_batch = size.div_ceil(2);
            observer.on_note(&format!(
                "{} is too small for a batch of {size} pictures; the batch size is now limited to {}",
                self.device.memory(),
                self.max_batch
            ));
        }
    }

    /// Samples a batch, in a second pass if it has one.
    fn sample_once(
        &mut self,
        batch: &Batch,
        noise: &mut dyn BatchNoise,
        observer: &mut dyn Observer,
        in_f32: bool,
    ) -> Result<Latents> {
        let passes = Pass::all(&batch.params, self.loaded(in_f32)?.model.schedule());
        let mut done: Option<Latents> = None;
        for pass in &passes {
            let image = done.as_ref().map(|latents| self.enlarged(latents, &batch.params, &pass.params, observer));
            let mut latents = self.sample_pass(batch, pass, image.transpose()?, noise, observer, in_f32)?;
            latents.non_finite = done.and_then(|first| first.non_finite).or(latents.non_finite);
            done = Some(latents);
        }
        done.context("there is no pass")
    }

    /// Samples a batch in one pass. `enlarged`: the latents that the second pass starts from (B, h, w, 4).
    fn sample_pass(
        &mut self,
        batch: &Batch,
        pass: &Pass,
        enlarged: Option<Tensor>,
        noise: &mut dyn BatchNoise,
        observer: &mut dyn Observer,
        in_f32: bool,
    ) -> Result<Latents> {
        let Batch { prompts, input, .. } = batch;
        let Pass { params, counts, steps, first_step } = pass;
        let SamplingParams {
            scale, guidance_rescale: rescale, guidance_interval, sampler, clip_skip, deepcache, ..
        } = *params;
        let loaded = if in_f32 { &mut self.fallback } else { &mut self.loaded };
        let Loaded { model, dtype, contexts } = loaded.as_mut().context(NOT_LOADED)?;
        model.free_decoder();
        let steps = Steps { steps: *steps, evaluations: counts.model_calls };
        let encode = |text: &str| contexts.get(text, clip_skip, model, &mut |note| observer.on_note(note));
        let guidance = Guidance { scale, rescale };
        let needs_uncond = |weights: &[f64]| {
            [guidance, Guidance::NONE].iter().any(|guidance| guidance.outside(model.unet()).needs_uncond(weights))
        };
        let conditions = BatchConditions::new(prompts, self.reading, steps, needs_uncond, encode)?;
        model.free_text_encoder();
        let guided = sampler.evaluations(model.schedule(), guidance_interval.steps(counts.steps));
        let phases = conditions.guided_phases(guidance, guided);
        let shape = (prompts.len(), params.latent_height(), params.latent_width(), self.config.unet.out_channels);
        let noise_at_start = noise.start(shape, &self.device.device)?;
        let Encoded { image, region, mask } = match self.encoder.as_mut() {
            Some(encoder) => encoder.encode_input(*input, params, prompts.len(), model.unet().takes_mask())?,
            None => Encoded::default(),
        };
        let start = Start { noise: noise_at_start, image: enlarged.or(image), region };
        let evaluation = Evaluation { clip_skip, deepcache, max_batch: self.max_batch, mask };
        let denoiser = model.denoiser_in_phases(phases, conditions.conditions, evaluation)?;
        // Again, as contexts of different lengths are padded with that of the empty prompt.
        model.free_text_encoder();
        observer.on_start(pass);
        let mut on_step = |i: usize, x: &Tensor, x0: &Tensor| {
            observer.on_step(first_step + i, x, x0, &|index| model.preview(x0, index))
        };
        let mut sampling = Sampling { model: &*denoiser, noise: noise.steps(), on_step: &mut on_step };
        let latents = sampler.sample(model.schedule(), start, &mut sampling).inspect_err(|_| observer.on_fail())?; // (B, h, w, 4)
        // NaN in one step is NaN in all that follow, so the last one suffices.
        let mut non_finite = (!is_finite(&latents)?).then_some(Stage::Step);
        for context in &conditions.contexts {
            if !is_finite(context)? {
                non_finite = Some(Stage::Text);
            }
        }
        Ok(Latents { latents, dtype: *dtype, non_finite })
    }

    /// Returns the latents of a first pass, enlarged for the second: (B, h, w, 4).
    fn enlarged(
        &mut self,
        latents: &Latents,
        first: &SamplingParams,
        second: &SamplingParams,
        observer: &mut dyn Observer,
    ) -> Result<Tensor> {
        let (size, upscaler) = ((second.latent_height(), second.latent_width()), first.hires.upscaler);
        let cropped = enlarge::cropped(&latents.latents, size)?;
        if upscaler != Upscaler::Lanczos {
            return Ok(enlarge::enlarged(&cropped, size, upscaler)?);
        }
        let side = self.config.vae.side_factor();
        let latents = Latents { latents: cropped, ..*latents };
        let mut all = vec![];
        for index in 0..latents.latents.dim(0)? {
            let picture = self.decode(&latents, index, observer)?.picture()?;
            let picture = output::resized(&picture, side * size.1, side * size.0);
            let encoder = self.encoder.as_mut().context("the encoder is not loaded")?;
            all.push(encoder.encode(&picture, None)?); // (1, h, w, 4)
        }
        Ok(Tensor::cat(&all, 0)?)
    }
}
