//! The batches of a run, one after the other: encode → sample → decode.

use super::contexts::Contexts;
use super::load;
use super::watch::{Watched, is_finite};
use crate::checkpoint::Checkpoint;
use crate::interrupt;
use crate::job::{Batch, Job, Settings, Wish};
use crate::model::{self, Model};
use crate::output::{self, Picture, Record};
use crate::progress::Progress;
use crate::rng::{Each, Generator, Noise, Origin, Place};
use anyhow::{Context, Result};
use candle_core::{DType, IndexOp, Tensor};
use std::fmt;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

/// A picture on its way to its file.
pub struct Drawn {
    pub picture: Picture,
    /// The same as the safety checker sees it, if there is one.
    pub seen: Option<Picture>,
    /// How it was drawn.
    pub record: Record,
    /// Which of the run's it is, from 0.
    pub number: usize,
    /// Seconds that sampling its batch took, and decoding it.
    pub seconds: [f64; 2],
    /// What gave values that are not numbers, in f32: it is not the picture that was asked for.
    pub broken: Option<Stage>,
}

/// What comes to be saved.
pub enum Finished {
    /// A picture.
    Picture(Box<Drawn>),
    /// What one will about look like. index: which of its batch it is, from 0. step: after which, from 1.
    Preview { index: usize, step: usize, picture: Picture },
}

/// A batch before it is decoded.
struct Sampled {
    latents: Tensor, // (B, h, w, 4)
    origins: Vec<Origin>,
    seconds: f64,
    broken: Option<Stage>,
}

/// What may give values that are not numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Text,
    Step,
    Decode,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Stage::Text => "the text encoder",
            Stage::Step => "a sampling step",
            Stage::Decode => "the decoder",
        })
    }
}

/// A run under way.
pub struct Run<'a> {
    job: &'a Job,
    checkpoint: &'a Checkpoint,
    model: Model,
    /// What the model multiplies.
    dtype: DType,
    progress: &'a Progress,
    contexts: Contexts<'a>,
    /// The numbers of all pictures that have none of their own.
    stream: Box<dyn Generator>,
    /// What every batch of these starts from, if all start alike.
    start: Option<Tensor>, // (longest batch, h, w, 4)
    pictures: SyncSender<Finished>,
    /// Whether a safety checker looks at them.
    is_checked: bool,
}

impl<'a> Run<'a> {
    pub fn new(
        job: &'a Job,
        checkpoint: &'a Checkpoint,
        model: Model,
        progress: &'a Progress,
        pictures: SyncSender<Finished>,
        is_checked: bool,
    ) -> Result<Self> {
        let mut stream = job.rng.noise(u64::from(job.seed));
        let start = match job.fixed_code {
            Some(batch) => Some(start(&mut *stream, batch, job, &job.lines.settings_of(0))?),
            None => None,
        };
        let (dtype, contexts) = (job.precision.dtype(), Contexts::new(progress, job.reading));
        Ok(Self { job, checkpoint, model, dtype, progress, contexts, stream, start, pictures, is_checked })
    }

    pub fn draw_all(mut self) -> Result<()> {
        let bar = self.progress.batches(self.job.n_batches());
        for batch in self.job.batches() {
            interrupt::check()?;
            self.draw(&batch)?;
            bar.tick();
        }
        Ok(())
    }

    fn draw(&mut self, batch: &Batch) -> Result<()> {
        let before = self.stream.position();
        let mut sampled = self.sample(batch)?;
        if let Some(stage) = sampled.broken
            && self.turns_to_f32(stage)?
        {
            self.stream.seek(before);
            sampled = self.sample(batch)?;
        }
        for (index, wish) in batch.wishes.iter().enumerate() {
            let drawn = self.decode(&sampled, index, wish, &batch.settings)?;
            send(&self.pictures, Finished::Picture(Box::new(drawn)))?;
            interrupt::check()?;
        }
        Ok(())
    }

    fn sample(&mut self, batch: &Batch) -> Result<Sampled> {
        let begun = Instant::now();
        let Settings { scale, plan, .. } = batch.settings;
        let mut context = |prompt: &str| self.contexts.of(prompt, &self.model);
        let conds = batch.wishes.iter().map(|wish| context(&wish.prompt)).collect::<Result<Vec<_>>>()?; // B of (1, M, C)
        let unconds = batch.wishes.iter().map(|wish| context(wish.negative)).collect::<Result<Vec<_>>>()?;
        let origins = self.origins(batch);
        let (x, mut own); // (B, h, w, 4)
        let noise: &mut dyn Noise = if batch.wishes[0].origin.is_some() {
            own = Each::new(self.job.rng, &origins);
            x = start(&mut own, origins.len(), self.job, &batch.settings)?;
            own.go_to_steps(&origins);
            &mut own
        } else {
            x = self.start(batch)?;
            &mut *self.stream
        };
        let denoiser = self.model.denoiser_of_each(&unconds, &conds, scale)?;
        let previews = self.job.preview_steps;
        let watched = Watched::new(&*denoiser, self.model.schedule(), previews.is_some());
        let sampler = plan.sampler(self.model.schedule());
        let bar = self.progress.steps(sampler.steps());
        let mut step = 0;
        let mut tick = || {
            bar.tick();
            step += 1;
            if previews.is_some_and(|every| step % every == 0) {
                send_previews(&self.pictures, &watched, step)?;
            }
            interrupt::check()
        };
        let latents = sampler.sample(&watched, x, noise, &mut tick)?;
        let mut broken = (!watched.is_finite()).then_some(Stage::Step);
        for context in conds.iter().chain(&unconds) {
            if !is_finite(context)? {
                broken = Some(Stage::Text);
            }
        }
        Ok(Sampled { latents, origins, seconds: begun.elapsed().as_secs_f64(), broken })
    }

    /// Where the noise of each picture comes from.
    fn origins(&self, batch: &Batch) -> Vec<Origin> {
        let here = Place { position: self.stream.position(), of: batch.wishes.len() };
        let (start, steps) = match self.job.fixed_code {
            Some(of) => (Place { position: 0, of }, Some(here)),
            None => (here, None),
        };
        let of_stream = |index| Origin { seed: self.job.seed, start, steps, index };
        let wishes = batch.wishes.iter().enumerate();
        wishes.map(|(index, wish)| wish.origin.unwrap_or_else(|| of_stream(index))).collect()
    }

    /// What a batch of the stream's starts from: (B, h, w, 4).
    fn start(&mut self, batch: &Batch) -> Result<Tensor> {
        match &self.start {
            Some(start) => Ok(start.narrow(0, 0, batch.wishes.len())?),
            None => start(&mut *self.stream, batch.wishes.len(), self.job, &batch.settings),
        }
    }

    /// The index-th picture of a batch.
    fn decode(&mut self, sampled: &Sampled, index: usize, wish: &Wish, settings: &Settings) -> Result<Drawn> {
        let begun = Instant::now();
        let latents = sampled.latents.i(index..=index)?; // (1, h, w, 4)
        let mut pixels = self.model.pixels(&latents)?; // (1, 8h, 8w, 3)
        let mut broken = sampled.broken;
        if broken.is_none() && !is_finite(&pixels)? {
            if self.turns_to_f32(Stage::Decode)? {
                pixels = self.model.pixels(&latents)?;
            }
            broken = (!is_finite(&pixels)?).then_some(Stage::Decode);
        }
        if let Some(stage) = broken {
            self.progress.note(&format!(
                "{stage} gave values that are not numbers, and the picture is not the one asked for: \
                 the checkpoint may be damaged, or --scale out of all reason"
            ));
        }
        let picture = model::picture(&pixels, output::picture)?;
        Ok(Drawn {
            seen: self.is_checked.then(|| model::picture(&pixels, output::rounded)).transpose()?,
            record: self.record(wish, sampled.origins[index], settings, &picture),
            picture,
            number: wish.number,
            seconds: [sampled.seconds, begun.elapsed().as_secs_f64()],
            broken,
        })
    }

    fn record(&self, wish: &Wish, origin: Origin, settings: &Settings, picture: &Picture) -> Record {
        let Settings { latent_height, latent_width, scale, plan } = *settings;
        let job = self.job;
        Record {
            version: env!("CARGO_PKG_VERSION").into(),
            prompt: wish.prompt.to_string(),
            negative_prompt: wish.negative.into(),
            origin,
            rng: job.rng.to_string(),
            sampler: plan.kind.name().into(),
            schedule: plan.spacing.name().into(),
            steps: plan.steps,
            eta: plan.eta,
            scale,
            latent_width,
            latent_height,
            width: picture.width,
            height: picture.height,
            emphasis: job.reading.emphasis,
            long_prompt: job.reading.long,
            model: job.ckpt.to_string(),
            model_hash: None,
            vae: job.vae.as_ref().map(ToString::to_string),
            config: job.config_path.as_ref().map(|path| path.display().to_string()),
            products: if self.dtype == DType::F32 { "f32" } else { "bf16" }.into(),
            watermark: job.watermark,
        }
    }

    /// Whether the model multiplied in half precision till now, and does not any more.
    fn turns_to_f32(&mut self, stage: Stage) -> Result<bool> {
        if self.dtype == DType::F32 {
            return Ok(false);
        }
        self.progress
            .note(&format!("in half precision {stage} gave values that are not numbers: the run goes on in f32"));
        self.dtype = DType::F32;
        self.model = load(self.checkpoint, self.job, self.dtype, self.progress)?;
        self.contexts.clear();
        Ok(true)
    }
}

fn send(pictures: &SyncSender<Finished>, finished: Finished) -> Result<()> {
    pictures.send(finished).context("nobody saves pictures any more")
}

/// What the batch looks like by now.
fn send_previews(pictures: &SyncSender<Finished>, watched: &Watched, step: usize) -> Result<()> {
    let Some(x0) = watched.x0() else { return Ok(()) }; // (B, h, w, 4)
    for index in 0..x0.dim(0)? {
        let picture = output::preview(&x0.i(index..=index)?)?;
        send(pictures, Finished::Preview { index, step, picture })?;
    }
    Ok(())
}

/// Fresh noise to start from: (B, h, w, 4).
fn start(noise: &mut dyn Noise, batch: usize, job: &Job, settings: &Settings) -> Result<Tensor> {
    let shape = (batch, settings.latent_height, settings.latent_width, job.config.unet.in_channels);
    Ok(noise.randn_latents(shape, &job.device)?)
}
