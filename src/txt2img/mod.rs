//! The main loop: for each batch: encode → sample → decode, and on a thread beside it: mark → save.

mod checker;
mod contexts;
mod desk;
mod report;
mod verify;
mod watch;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::hub::Download;
use crate::device::{self, Precision};
use crate::interrupt::{self, Interrupted};
use crate::job::{Batch, Job, Settings, Wish};
use crate::model::{self, Model};
use crate::output::{self, Folder, Picture, Record};
use crate::progress::Progress;
use crate::rng::{Each, Generator, Noise, Origin, Place};
use crate::timings::Timings;
use anyhow::{Context, Result};
use candle_core::{DType, IndexOp, Tensor};
use contexts::Contexts;
use desk::Desk;
use report::Report;
use std::fmt;
use std::io::Write;
use std::panic::resume_unwind;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Instant;
use watch::{Watched, is_finite};

pub use verify::verify_watermarks;

/// How a run that did not fail ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Everything was drawn.
    Finished,
    /// Ctrl-C was pressed: what was done by then is saved.
    Interrupted,
}

/// Finished pictures that may wait to be saved: more would only fill memory.
const MOST_WAITING: usize = 8;

/// Draws everything the job asks for and saves it.
///
/// # Errors
/// When the model cannot be had or a picture cannot be saved; those saved before stay.
pub fn run(job: &Job) -> Result<End> {
    interrupt::listen();
    match draw(job) {
        Err(error) if error.is::<Interrupted>() => Ok(End::Interrupted),
        end => end,
    }
}

fn draw(job: &Job) -> Result<End> {
    if let Some(threads) = job.threads {
        device::use_threads(threads)?;
    }
    let progress = Progress::new(job.watcher);
    job.notes.iter().for_each(|note| progress.note(note));
    let mut timings = Timings::start();
    let checkpoint = open(job, &progress)?;
    let folder = Folder::open(&job.outdir, job.format, None)?;
    let report = Report::begin(job)?;
    let (model, checker) = thread::scope(|scope| {
        let checker = scope.spawn(|| checker::load(job, &progress));
        let model = load(&checkpoint, job, job.precision.dtype(), &progress);
        (model, checker.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let (model, checker) = (model?, checker?);
    timings.loaded();
    let (drawn, saved) = thread::scope(|scope| {
        let (pictures, waiting) = sync_channel(MOST_WAITING);
        let is_checked = checker.is_some();
        let desk = scope.spawn(|| Desk::new(job, folder, checker, report, &progress).work(waiting));
        let drawn = Run::new(job, &checkpoint, model, &progress, pictures, is_checked).and_then(Run::draw_all);
        (drawn, desk.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    // Where saving failed, drawing only stopped for it.
    timings.drawn(saved?);
    let end = match drawn {
        Ok(()) => End::Finished,
        Err(error) if error.is::<Interrupted>() => End::Interrupted,
        Err(error) => return Err(error),
    };
    let mut last_words = String::new();
    if job.timings {
        last_words += &timings.table();
    }
    if end == End::Finished {
        last_words += &format!("Your samples are ready and waiting for you here: \n{}\n", job.outdir.display());
    }
    std::io::stdout().write_all(last_words.as_bytes()).context("writing to standard output")?;
    Ok(end)
}

/// The model's files, fetched where they must be.
fn open(job: &Job, progress: &Progress) -> Result<Checkpoint> {
    let half = job.precision == Precision::Autocast;
    let mut downloads = progress.downloads();
    let mut report = |at: &Download| downloads.show(&at.file, at.done, at.size);
    let checkpoint = job.ckpt.open(half, &mut report)?;
    match &job.vae {
        Some(vae) => checkpoint.with_vae(&vae.path(half, &mut report)?),
        None => Ok(checkpoint),
    }
}

fn load(checkpoint: &Checkpoint, job: &Job, dtype: DType, progress: &Progress) -> Result<Model> {
    let parts =
        ["model.diffusion_model.", "cond_stage_model.", "first_stage_model.decoder.", "first_stage_model.post_quant"];
    let is_read = |name: &&str| parts.iter().any(|part| name.starts_with(part)) && !name.ends_with("position_ids");
    let tensors = checkpoint.names().filter(is_read).count();
    let bar = progress.loading(tensors);
    Model::load(checkpoint, &job.config, &job.device, dtype, &|| bar.tick())
}

/// A picture on its way to its file.
struct Drawn {
    picture: Picture,
    /// The same as the safety checker sees it, if there is one.
    seen: Option<Picture>,
    /// How it was drawn.
    record: Record,
    /// Which of the run's it is, from 0.
    number: usize,
    /// Seconds that sampling its batch took, and decoding it.
    seconds: [f64; 2],
    /// What gave values that are not numbers, in f32: it is not the picture that was asked for.
    broken: Option<Stage>,
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
enum Stage {
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
struct Run<'a> {
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
    pictures: SyncSender<Drawn>,
    /// Whether a safety checker looks at them.
    is_checked: bool,
}

impl<'a> Run<'a> {
    fn new(
        job: &'a Job,
        checkpoint: &'a Checkpoint,
        model: Model,
        progress: &'a Progress,
        pictures: SyncSender<Drawn>,
        is_checked: bool,
    ) -> Result<Self> {
        let mut stream = job.rng.noise(u64::from(job.seed));
        let start = match job.fixed_code {
            Some(batch) => Some(start(&mut *stream, batch, job, &job.lines.lines()[0].settings)?),
            None => None,
        };
        let (dtype, contexts) = (job.precision.dtype(), Contexts::new(progress, job.reading));
        Ok(Self { job, checkpoint, model, dtype, progress, contexts, stream, start, pictures, is_checked })
    }

    fn draw_all(mut self) -> Result<()> {
        let bar = self.progress.batches(self.job.iterations * self.job.lines.n_batches());
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
            self.pictures.send(drawn).context("nobody saves pictures any more")?;
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
        let watched = Watched::new(&*denoiser, self.model.schedule(), false);
        let sampler = plan.sampler(self.model.schedule());
        let bar = self.progress.steps(sampler.steps());
        let mut tick = || {
            bar.tick();
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

/// Fresh noise to start from: (B, h, w, 4).
fn start(noise: &mut dyn Noise, batch: usize, job: &Job, settings: &Settings) -> Result<Tensor> {
    let shape = (batch, settings.latent_height, settings.latent_width, job.config.unet.in_channels);
    Ok(noise.randn_latents(shape, &job.device)?)
}
