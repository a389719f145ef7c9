//! The main loop: for each batch: encode → sample → decode, and on a thread beside it: mark → save.

mod contexts;
mod desk;

use crate::checkpoint::Checkpoint;
use crate::interrupt::{self, Interrupted};
use crate::job::{Batch, Job, Settings, Wish};
use crate::model::Model;
use crate::output::{Folder, Picture};
use crate::progress::Progress;
use crate::rng::{Each, Generator, Noise};
use crate::{device, timings::Timings};
use anyhow::{Context, Result};
use candle_core::Tensor;
use contexts::Contexts;
use desk::Desk;
use std::io::Write;
use std::panic::resume_unwind;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

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
/// When the model cannot be loaded or a picture cannot be saved; those saved before stay.
pub fn run(job: &Job) -> Result<End> {
    interrupt::listen();
    if let Some(threads) = job.threads {
        device::use_threads(threads)?;
    }
    let progress = Progress::default();
    job.notes.iter().for_each(|note| progress.note(note));
    let mut timings = Timings::start();
    let checkpoint = job.ckpt.open()?;
    let folder = Folder::open(&job.outdir)?;
    let model = load(&checkpoint, job, &progress)?;
    timings.loaded();
    let (drawn, saved) = thread::scope(|scope| {
        let (pictures, waiting) = sync_channel(MOST_WAITING);
        let desk = scope.spawn(|| Desk::new(job, folder, &progress).work(waiting));
        let drawn = Run::new(job, &model, &progress, pictures).and_then(|mut run| run.draw_all());
        (drawn, desk.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    // Where saving failed, drawing only stopped for it.
    let n_saved = saved?;
    let end = match drawn {
        Ok(()) => End::Finished,
        Err(error) if error.is::<Interrupted>() => End::Interrupted,
        Err(error) => return Err(error),
    };
    timings.drawn(n_saved);
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

fn load(checkpoint: &Checkpoint, job: &Job, progress: &Progress) -> Result<Model> {
    let parts =
        ["model.diffusion_model.", "cond_stage_model.", "first_stage_model.decoder.", "first_stage_model.post_quant"];
    let is_read = |name: &&str| parts.iter().any(|part| name.starts_with(part)) && !name.ends_with("position_ids");
    let tensors = checkpoint.names().filter(is_read).count();
    let bar = progress.loading(tensors);
    Model::load(checkpoint, &job.config, &job.device, job.precision.dtype(), &|| bar.tick())
}

/// A picture on its way to its file.
struct Drawn {
    picture: Picture,
}

/// A run under way.
struct Run<'a> {
    job: &'a Job,
    model: &'a Model,
    progress: &'a Progress,
    contexts: Contexts<'a>,
    /// The numbers of all pictures that have none of their own.
    stream: Box<dyn Generator>,
    /// What every batch of these starts from, if all start alike.
    start: Option<Tensor>, // (longest batch, h, w, 4)
    pictures: SyncSender<Drawn>,
}

impl<'a> Run<'a> {
    fn new(job: &'a Job, model: &'a Model, progress: &'a Progress, pictures: SyncSender<Drawn>) -> Result<Self> {
        let mut stream = job.rng.noise(u64::from(job.seed));
        let start = match job.fixed_code {
            Some(batch) => Some(start(&mut *stream, batch, job, &job.lines.lines()[0].settings)?),
            None => None,
        };
        Ok(Self { job, model, progress, contexts: Contexts::new(model, progress), stream, start, pictures })
    }

    fn draw_all(&mut self) -> Result<()> {
        let bar = self.progress.batches(self.job.iterations * self.job.lines.n_batches());
        for batch in self.job.batches() {
            interrupt::check()?;
            self.draw(&batch)?;
            bar.tick();
        }
        Ok(())
    }

    fn draw(&mut self, batch: &Batch) -> Result<()> {
        let latents = self.sample(batch)?; // (B, h, w, 4)
        for index in 0..batch.wishes.len() {
            let picture = self.model.picture(&latents, index)?;
            self.pictures.send(Drawn { picture }).context("nobody saves pictures any more")?;
            interrupt::check()?;
        }
        Ok(())
    }

    /// One batch: (B, h, w, 4).
    fn sample(&mut self, batch: &Batch) -> Result<Tensor> {
        let Settings { scale, plan, .. } = batch.settings;
        let context = self.contexts.of(&batch.wishes)?; // (B, 77, C)
        let denoiser = self.model.denoiser(&context, scale)?;
        let sampler = plan.sampler(self.model.schedule());
        let bar = self.progress.steps(sampler.steps());
        let mut tick = || {
            bar.tick();
            interrupt::check()
        };
        let (x, mut own); // (B, h, w, 4)
        let noise: &mut dyn Noise = match own_noise(self.job, &batch.wishes) {
            Some(each) => {
                own = each;
                x = start(&mut own, batch.wishes.len(), self.job, &batch.settings)?;
                &mut own
            }
            None => {
                x = self.start(batch)?;
                &mut *self.stream
            }
        };
        sampler.sample(&*denoiser, x, noise, &mut tick)
    }

    /// What a batch of the stream's starts from: (B, h, w, 4).
    fn start(&mut self, batch: &Batch) -> Result<Tensor> {
        match &self.start {
            Some(start) => Ok(start.narrow(0, 0, batch.wishes.len())?),
            None => start(&mut *self.stream, batch.wishes.len(), self.job, &batch.settings),
        }
    }
}

/// Fresh noise to start from: (B, h, w, 4).
fn start(noise: &mut dyn Noise, batch: usize, job: &Job, settings: &Settings) -> Result<Tensor> {
    let shape = (batch, settings.latent_height, settings.latent_width, job.config.unet.in_channels);
    Ok(noise.randn_latents(shape, &job.device)?)
}

/// The noise of pictures that have seeds of their own.
fn own_noise(job: &Job, wishes: &[Wish]) -> Option<Each> {
    let noise = |wish: &Wish| Some(job.rng.noise(u64::from(wish.seed?)));
    wishes.iter().map(noise).collect::<Option<_>>().map(Each)
}
