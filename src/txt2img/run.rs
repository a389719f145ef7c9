//! One device at work on the batches of a run: encode → sample → decode.

use super::contexts::Contexts;
use super::course::Task;
use super::load;
use super::watch::Watched;
use super::work::Units;
use crate::by_name::ByName;
use crate::checkpoint::Checkpoint;
use crate::device::Unit;
use crate::diffusion::EpsModel;
use crate::interrupt;
use crate::job::{Batch, Job, Settings};
use crate::model::{self, Model};
use crate::output::{self, Picture, Record};
use crate::plan::passes;
use crate::progress::Progress;
use crate::rng::{Each, Generator, Noise, Origin, Place};
use anyhow::{Error, Result, anyhow};
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
    /// What it shares with the pictures of its batch.
    pub settings: Settings,
    /// Seconds that sampling its batch took, and decoding it.
    pub seconds: [f64; 2],
    /// What gave values that are not numbers, in f32: it is not the picture that was asked for.
    pub broken: Option<Stage>,
}

/// What comes to be saved.
pub enum Finished {
    /// A picture.
    Picture(Box<Drawn>),
    /// What one will about look like. number: which of the run's it is, from 0. step: after which, from 1.
    Preview { number: usize, step: usize, picture: Picture },
}

/// The error of drawing on when saving has failed, which has an error of its own.
#[derive(Debug)]
pub struct Unsaved;

impl fmt::Display for Unsaved {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("nobody saves pictures any more")
    }
}

impl std::error::Error for Unsaved {}

/// A batch before it is decoded.
struct Sampled {
    latents: Tensor, // (B, h, w, 4)
    origins: Vec<Origin>,
    seconds: f64,
    products: DType,
    broken: Option<Stage>,
    /// How much of the run's work it was.
    work: f64,
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

/// A run under way, as far as one device draws it.
pub struct Run<'a> {
    job: &'a Job,
    checkpoint: &'a Checkpoint,
    pub unit: &'a Unit,
    progress: &'a Progress,
    /// The model; behind it the same in f32, once that was needed.
    engines: Vec<Engine<'a>>,
    /// The numbers of all pictures that have none of their own.
    stream: Box<dyn Generator>,
    /// Pictures of a batch that are computed at once, and whether each is decoded in pieces: as memory allows.
    most: usize,
    in_tiles: bool,
    /// What every batch of these starts from, if all start alike.
    start: Option<Tensor>, // (longest batch, h, w, 4)
    pictures: SyncSender<Finished>,
    /// Whether a safety checker looks at them.
    is_checked: bool,
    units: Units,
}

/// A model, and what it made of prompts.
struct Engine<'a> {
    model: Model,
    /// What it multiplies.
    products: DType,
    contexts: Contexts<'a>,
}

impl<'a> Run<'a> {
    /// The model is loaded here.
    pub fn new(
        job: &'a Job,
        checkpoint: &'a Checkpoint,
        unit: &'a Unit,
        progress: &'a Progress,
        pictures: SyncSender<Finished>,
        is_checked: bool,
        units: Units,
    ) -> Result<Self> {
        let mut stream = job.rng.noise(u64::from(job.seed));
        let start = match job.fixed_code {
            Some(batch) => Some(start(&mut *stream, batch, job, unit, &job.lines.settings_of(0))?),
            None => None,
        };
        let (engines, most, in_tiles) = (vec![], usize::MAX, false);
        let mut run = Self {
            job,
            checkpoint,
            unit,
            progress,
            engines,
            stream,
            most,
            in_tiles,
            start,
            pictures,
            is_checked,
            units,
        };
        run.add_engine(unit.dtype(job.precision))?;
        Ok(run)
    }

    /// Draws what is wanted of a batch; of the task there stays what was not sent to be saved.
    pub fn draw(&mut self, task: &mut Task) -> Result<()> {
        interrupt::check()?;
        let mut sampled = self.sample_within_memory(task, 0)?;
        if let Some(stage) = sampled.broken
            && self.turns_to_f32(stage)?
        {
            self.progress.lost(sampled.work);
            sampled = self.sample_within_memory(task, 1)?;
        }
        while let Some(&index) = task.wanted.first() {
            let drawn = self.decode(&sampled, index, &task.batch)?;
            self.progress.worked(self.units.decoding(&task.batch.settings));
            send(&self.pictures, Finished::Picture(Box::new(drawn)))?;
            task.wanted.remove(0);
            interrupt::check()?;
        }
        Ok(())
    }

    /// engine: which of them. Fewer pictures at once where all of the batch are too many.
    fn sample_within_memory(&mut self, task: &Task, engine: usize) -> Result<Sampled> {
        loop {
            match self.sample(task, engine) {
                Err(error) if self.unit.is_out_of_memory(&error) => (),
                sampled => return sampled,
            }
            let at_once = self.most.min(task.batch.wishes.len());
            if at_once == 1 {
                return Err(self.too_large(&task.batch));
            }
            self.most = at_once.div_ceil(2);
            self.progress.note(&format!(
                "{} does not suffice for {at_once} pictures at once; from now on it is at most {}",
                self.unit.memory(),
                self.most
            ));
        }
    }

    /// The error of a picture that even alone is too much.
    fn too_large(&self, batch: &Batch) -> Error {
        let Settings { latent_height, latent_width, .. } = batch.settings;
        let side = self.job.config.vae.side_factor();
        anyhow!(
            "{} does not suffice for a picture of {}·{} pixels; a smaller --H or --W takes less, and so does \
             --precision autocast",
            self.unit.memory(),
            latent_width * side,
            latent_height * side
        )
    }

    /// engine: which of them.
    fn sample(&mut self, task: &Task, engine: usize) -> Result<Sampled> {
        let begun = Instant::now();
        let batch = &task.batch;
        let Settings { scale, plan, .. } = batch.settings;
        let Engine { model, contexts, products } = &mut self.engines[engine];
        let mut context = |prompt: &str| contexts.of(prompt, model);
        let conds = batch.wishes.iter().map(|wish| context(&wish.prompt)).collect::<Result<Vec<_>>>()?; // B of (1, M, C)
        let unconds = batch.wishes.iter().map(|wish| context(wish.negative)).collect::<Result<Vec<_>>>()?;
        let origins = origins(self.job, task);
        let n = batch.wishes.len();
        let (x, mut own); // (B, h, w, 4)
        let noise: &mut dyn Noise = if batch.wishes[0].origin.is_some() {
            own = Each::new(self.job.rng, &origins);
            x = start(&mut own, n, self.job, self.unit, &batch.settings)?;
            own.go_to_steps(&origins);
            &mut own
        } else {
            self.stream.seek(task.position);
            x = match &self.start {
                Some(start) => start.narrow(0, 0, n)?,
                None => start(&mut *self.stream, n, self.job, self.unit, &batch.settings)?,
            };
            &mut *self.stream
        };
        let denoiser = model.denoiser_of_each(&unconds, &conds, scale, self.most)?;
        let previews = self.job.preview_steps.map(|every| (every, Watched::new(&*denoiser, model.schedule())));
        let denoiser: &dyn EpsModel = previews.as_ref().map_or(&*denoiser, |(_, watched)| watched);
        let sampler = plan.sampler(model.schedule());
        let n_passes = passes(&plan, model.schedule()) as f64;
        let work = self.units.step(&batch.settings, n, n_passes / sampler.steps().max(1) as f64);
        let bar = self.progress.steps(device_of(self.job, self.unit), sampler.steps(), work);
        let mut step = 0;
        let mut tick = || {
            bar.tick();
            step += 1;
            if let Some((every, watched)) = &previews
                && step % every == 0
            {
                send_previews(&self.pictures, watched, task, step)?;
            }
            interrupt::check()
        };
        let latents = sampler.sample(denoiser, x, noise, &mut tick).inspect_err(|_| bar.give_up())?;
        // What is no number in one step is none in all that follow.
        let mut broken = (!is_finite(&latents)?).then_some(Stage::Step);
        for context in conds.iter().chain(&unconds) {
            if !is_finite(context)? {
                broken = Some(Stage::Text);
            }
        }
        Ok(Sampled {
            latents,
            origins,
            seconds: begun.elapsed().as_secs_f64(),
            products: *products,
            broken,
            work: work * step as f64,
        })
    }

    /// The index-th picture of a batch.
    fn decode(&mut self, sampled: &Sampled, index: usize, batch: &Batch) -> Result<Drawn> {
        let begun = Instant::now();
        let latents = sampled.latents.i(index..=index)?; // (1, h, w, 4)
        let mut pixels = self.pixels(0, &latents, batch)?; // (1, 8h, 8w, 3)
        let mut broken = sampled.broken;
        if broken.is_none() && !is_finite(&pixels)? {
            if self.turns_to_f32(Stage::Decode)? {
                pixels = self.pixels(1, &latents, batch)?;
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
            record: self.record(sampled, index, batch, &picture),
            picture,
            number: batch.wishes[index].number,
            settings: batch.settings,
            seconds: [sampled.seconds, begun.elapsed().as_secs_f64()],
            broken,
        })
    }

    /// latents: (1, h, w, 4) → (1, 8h, 8w, 3).
    fn pixels(&mut self, engine: usize, latents: &Tensor, batch: &Batch) -> Result<Tensor> {
        let model = &self.engines[engine].model;
        if !self.in_tiles {
            // What sampling left is given back with the first failure.
            for _ in 0..2 {
                match model.pixels(latents) {
                    Err(error) if self.unit.is_out_of_memory(&error) => (),
                    pixels => return pixels,
                }
            }
            self.in_tiles = true;
            self.progress.note(&format!(
                "{} does not suffice to decode a picture as a whole; from now on they are decoded in pieces, which \
                 differ a little",
                self.unit.memory()
            ));
        }
        model.pixels_in_tiles(latents).map_err(|error| match self.unit.is_out_of_memory(&error) {
            true => self.too_large(batch),
            false => error,
        })
    }

    fn record(&self, sampled: &Sampled, index: usize, batch: &Batch, picture: &Picture) -> Record {
        let Settings { latent_height, latent_width, scale, plan } = batch.settings;
        let (job, wish) = (self.job, &batch.wishes[index]);
        Record {
            version: env!("CARGO_PKG_VERSION").into(),
            prompt: wish.prompt.to_string(),
            negative_prompt: wish.negative.into(),
            origin: sampled.origins[index],
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
            products: sampled.products.as_str().into(),
            watermark: job.watermark,
        }
    }

    /// Whether the model multiplies in half precision, and there is one now that does not. Each batch is tried in half
    /// precision first: what it comes out as depends on no other.
    fn turns_to_f32(&mut self, stage: Stage) -> Result<bool> {
        if self.engines[0].products == DType::F32 {
            return Ok(false);
        }
        self.progress.note(&format!(
            "in half precision {stage} gave values that are not numbers: where it does, f32 takes its place"
        ));
        if self.engines.len() == 1 {
            self.add_engine(DType::F32)?;
        }
        Ok(true)
    }

    fn add_engine(&mut self, products: DType) -> Result<()> {
        let model = load(self.checkpoint, self.job, self.unit, products, self.progress);
        let model = model.map_err(|error| match self.unit.is_out_of_memory(&error) {
            true => anyhow!("{} does not suffice for the model in {}", self.unit.memory(), products.as_str()),
            false => error,
        })?;
        self.engines.push(Engine { model, products, contexts: Contexts::new(self.progress, self.job.reading) });
        Ok(())
    }
}

/// The device's name, where there are several.
pub fn device_of<'a>(job: &Job, unit: &'a Unit) -> Option<&'a str> {
    (job.units.len() > 1).then_some(&*unit.name)
}

/// Where the noise of each picture comes from.
fn origins(job: &Job, task: &Task) -> Vec<Origin> {
    let here = Place { position: task.position, of: task.batch.wishes.len() };
    let (start, steps) = match job.fixed_code {
        Some(of) => (Place { position: 0, of }, Some(here)),
        None => (here, None),
    };
    let of_stream = |index| Origin { seed: job.seed, start, steps, index };
    let wishes = task.batch.wishes.iter().enumerate();
    wishes.map(|(index, wish)| wish.origin.unwrap_or_else(|| of_stream(index))).collect()
}

fn send(pictures: &SyncSender<Finished>, finished: Finished) -> Result<()> {
    pictures.send(finished).map_err(|_| anyhow!(Unsaved))
}

/// What the batch looks like by now.
fn send_previews(pictures: &SyncSender<Finished>, watched: &Watched, task: &Task, step: usize) -> Result<()> {
    let Some(x0) = watched.x0() else { return Ok(()) }; // (B, h, w, 4)
    for &index in &task.wanted {
        let picture = output::preview(&x0.i(index..=index)?)?;
        send(pictures, Finished::Preview { number: task.batch.wishes[index].number, step, picture })?;
    }
    Ok(())
}

/// Fresh noise to start from: (B, h, w, 4).
fn start(noise: &mut dyn Noise, batch: usize, job: &Job, unit: &Unit, settings: &Settings) -> Result<Tensor> {
    let shape = (batch, settings.latent_height, settings.latent_width, job.config.unet.in_channels);
    Ok(noise.randn_latents(shape, &unit.device)?)
}

/// Whether all values are numbers.
fn is_finite(x: &Tensor) -> candle_core::Result<bool> {
    // NaN and infinities survive a sum, and a sum of finite f32 is finite in f64. Row by row: cards add up rows beside
    // each other.
    let sum = x.to_dtype(DType::F64)?.flatten_to(1)?.flatten_from(1)?.sum(1)?.sum_all()?;
    Ok(sum.to_scalar::<f64>()?.is_finite())
}
