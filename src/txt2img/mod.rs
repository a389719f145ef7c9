//! The main loop: for each batch: encode → sample → decode, and on a thread beside it: mark → save.

mod contexts;
mod desk;
mod watch;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::hub::Download;
use crate::device::{self, Precision};
use crate::interrupt::{self, Interrupted};
use crate::job::{Batch, Job, Settings};
use crate::model::{self, Model};
use crate::output::{Folder, Picture};
use crate::progress::Progress;
use crate::rng::{Each, Generator, Noise, Origin, Place};
use crate::timings::Timings;
use anyhow::{Context, Result};
use candle_core::{DType, IndexOp, Tensor};
use contexts::Contexts;
use desk::Desk;
use std::fmt;
use std::io::Write;
use std::panic::resume_unwind;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use watch::{Watched, is_finite};

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
    let folder = Folder::open(&job.outdir)?;
    let model = load(&checkpoint, job, job.precision.dtype(), &progress)?;
    timings.loaded();
    let (drawn, saved) = thread::scope(|scope| {
        let (pictures, waiting) = sync_channel(MOST_WAITING);
        let desk = scope.spawn(|| Desk::new(job, folder, &progress).work(waiting));
        let drawn = Run::new(job, &checkpoint, model, &progress, pictures).and_then(Run::draw_all);
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
    /// What gave values that are not numbers, in f32: it is not the picture that was asked for.
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
}

impl<'a> Run<'a> {
    fn new(
        job: &'a Job,
        checkpoint: &'a Checkpoint,
        model: Model,
        progress: &'a Progress,
        pictures: SyncSender<Drawn>,
    ) -> Result<Self> {
        let mut stream = job.rng.noise(u64::from(job.seed));
        let start = match job.fixed_code {
            Some(batch) => Some(start(&mut *stream, batch, job, &job.lines.lines()[0].settings)?),
            None => None,
        };
        let (dtype, contexts) = (job.precision.dtype(), Contexts::new(progress, job.reading));
        Ok(Self { job, checkpoint, model, dtype, progress, contexts, stream, start, pictures })
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
        let (mut latents, mut broken) = self.sample(batch)?; // (B, h, w, 4)
        if let Some(stage) = broken
            && self.turns_to_f32(stage)?
        {
            self.stream.seek(before);
            (latents, broken) = self.sample(batch)?;
        }
        for index in 0..batch.wishes.len() {
            let drawn = self.decode(&latents.i(index..=index)?, broken)?;
            self.pictures.send(drawn).context("nobody saves pictures any more")?;
            interrupt::check()?;
        }
        Ok(())
    }

    /// One batch: (B, h, w, 4).
    fn sample(&mut self, batch: &Batch) -> Result<(Tensor, Option<Stage>)> {
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
        Ok((latents, broken))
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

    /// latents: (1, h, w, 4). broken: what was before.
    fn decode(&mut self, latents: &Tensor, mut broken: Option<Stage>) -> Result<Drawn> {
        let mut pixels = self.model.pixels(latents)?; // (1, 8h, 8w, 3)
        if broken.is_none() && !is_finite(&pixels)? {
            if self.turns_to_f32(Stage::Decode)? {
                pixels = self.model.pixels(latents)?;
            }
            broken = (!is_finite(&pixels)?).then_some(Stage::Decode);
        }
        if let Some(stage) = broken {
            self.progress.note(&format!(
                "{stage} gave values that are not numbers, and the picture is not the one asked for:                  the checkpoint may be damaged, or --scale out of all reason"
            ));
        }
        Ok(Drawn { picture: model::picture(&pixels)?, broken })
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
