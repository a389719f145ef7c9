//! One device at work on the batches of a run: sample → decode → send to be saved.

use super::tasks::Task;
use super::work::Units;
use crate::by_name::ByName;
use crate::checkpoint::Checkpoint;
use crate::device::ComputeDevice;
use crate::diffusion::samplers::Counts;
use crate::engine::{self, BatchNoise, Engine, Latents, Observer, SamplingParams, Stage};
use crate::interrupt;
use crate::job::{self, Batch, Job, name_of};
use crate::output::{self, Picture, Record};
use crate::progress::{Bar, Progress};
use crate::rng::{Generator, Noise, Origin, PerImage, StreamPos};
use anyhow::{Result, anyhow};
use candle_core::{Device, IndexOp, Tensor};
use std::fmt;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

/// A rendered image and everything that is saved with it.
pub struct Rendered {
    pub picture: Picture,
    /// The image as the safety checker sees it, if there is one.
    pub seen: Option<Picture>,
    /// How it was drawn.
    pub record: Record,
    /// Its number in the run, from 0.
    pub number: usize,
    /// The parameters of its batch.
    pub params: SamplingParams,
    /// Seconds that sampling its batch took, and decoding it.
    pub seconds: [f64; 2],
    /// The stage that returned NaN or infinity in f32, if one did: it is not the image asked for.
    pub non_finite: Option<Stage>,
}

/// A message to the writer.
pub enum Message {
    /// An image to save.
    Image(Box<Rendered>),
    /// A preview of image `number` of the run, from 0, after `step` steps.
    Preview { number: usize, step: usize, picture: Picture },
}

/// The error of a worker whose writer has ended, which has an error of its own.
#[derive(Debug)]
pub struct WriterGone;

impl fmt::Display for WriterGone {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("pictures can no longer be saved")
    }
}

impl std::error::Error for WriterGone {}

/// The worker of one device.
pub struct Worker<'a> {
    job: &'a Job,
    pub device: &'a ComputeDevice,
    engine: Engine<'a>,
    progress: &'a Progress,
    /// The run's stream of random numbers, for images without a seed of their own.
    stream: Box<dyn Generator>,
    /// With `--fixed_code`, the noise that every batch starts from.
    start: Option<Tensor>, // (longest batch, h, w, 4)
    messages: SyncSender<Message>,
    /// Whether a safety checker looks at the images.
    is_checked: bool,
    units: Units,
}

impl<'a> Worker<'a> {
    /// Loads the model on the device.
    pub fn new(
        job: &'a Job,
        checkpoint: &'a Checkpoint,
        device: &'a ComputeDevice,
        progress: &'a Progress,
        messages: SyncSender<Message>,
        is_checked: bool,
        units: Units,
    ) -> Result<Self> {
        let mut stream = job.rng.noise(u64::from(job.seed));
        let start = job.fixed_code.map(|batch| {
            let SamplingParams { latent_height, latent_width, .. } = job.lines.settings_of(0);
            let shape = (batch, latent_height, latent_width, job.config.unet.in_channels);
            stream.randn_latents(shape, &device.device)
        });
        let start = start.transpose()?;
        let dtype = device.dtype(job.precision);
        let mut loading = Loading { job, device, progress };
        let engine = Engine::load(checkpoint, &job.config, device, dtype, job.reading, &mut loading)?;
        Ok(Self { job, device, engine, progress, stream, start, messages, is_checked, units })
    }

    /// Renders the wanted images of a batch. Images already sent to the writer are removed from `task.wanted`.
    pub fn draw(&mut self, task: &mut Task) -> Result<()> {
        interrupt::check()?;
        let begun = Instant::now();
        let wanted = task.wanted.clone();
        let origins = origins(self.job, task);
        let prompts = task.batch.images.iter().map(|image| (&*image.prompt, image.negative)).collect();
        let batch = engine::Batch { prompts, params: task.batch.settings };
        let mut watching = Watching {
            loading: Loading { job: self.job, device: self.device, progress: self.progress },
            bar: None,
            batch: &task.batch,
            wanted: &wanted,
            messages: &self.messages,
            units: self.units,
            work: 0.,
        };
        let mut noise = TaskNoise {
            stream: &mut *self.stream,
            position: task.position,
            start: self.start.as_ref(),
            own: None,
            job: self.job,
            origins: &origins,
            is_own: task.batch.images[0].origin.is_some(),
        };
        let latents = self.engine.sample(&batch, &mut noise, &mut watching)?;
        watching.bar = None;
        let sampled = begun.elapsed().as_secs_f64();
        while let Some(&index) = task.wanted.first() {
            let begun = Instant::now();
            let image = self.engine.decode(&latents, index, &mut watching)?;
            let picture = image.picture()?;
            let rendered = Rendered {
                seen: self.is_checked.then(|| image.rounded()).transpose()?,
                record: record(self.job, &task.batch, index, origins[index], &latents, &picture),
                picture,
                number: task.batch.images[index].number,
                params: task.batch.settings,
                seconds: [sampled, begun.elapsed().as_secs_f64()],
                non_finite: image.non_finite,
            };
            self.progress.worked(self.units.decoding(&task.batch.settings));
            send(&self.messages, Message::Image(Box::new(rendered)))?;
            task.wanted.remove(0);
            interrupt::check()?;
        }
        Ok(())
    }
}

/// Shows the loading of a model.
struct Loading<'a> {
    job: &'a Job,
    device: &'a ComputeDevice,
    progress: &'a Progress,
}

impl Observer for Loading<'_> {
    fn on_load(&mut self, tensors: usize) -> Box<dyn Fn() + Sync + '_> {
        let bar = self.progress.loading(device_name(self.job, self.device), tensors);
        Box::new(move || bar.tick())
    }

    fn on_note(&mut self, note: &str) {
        self.progress.note(note);
    }
}

/// Shows the steps of a batch, sends previews, and stops after Ctrl-C.
struct Watching<'a> {
    loading: Loading<'a>,
    /// The bar of the steps under way.
    bar: Option<Bar<'a>>,
    batch: &'a Batch<'a>,
    wanted: &'a [usize],
    messages: &'a SyncSender<Message>,
    units: Units,
    /// The work of the batch's steps.
    work: f64,
}

impl Observer for Watching<'_> {
    fn on_load(&mut self, tensors: usize) -> Box<dyn Fn() + Sync + '_> {
        self.loading.on_load(tensors)
    }

    fn on_start(&mut self, counts: Counts) {
        let (steps, calls) = (counts.steps.max(1) as f64, counts.model_calls as f64);
        let step = self.units.step(&self.batch.settings, self.batch.images.len(), calls / steps);
        self.work = step * steps;
        let Loading { job, device, progress } = self.loading;
        self.bar = Some(progress.steps(device_name(job, device), counts.steps, step));
    }

    fn on_step(&mut self, i: usize, _: &Tensor, x0: &Tensor) -> Result<()> {
        self.bar.iter().for_each(Bar::tick);
        if self.loading.job.preview_steps.is_some_and(|every| (i + 1).is_multiple_of(every)) {
            for &index in self.wanted {
                let picture = output::preview(&x0.i(index..=index)?)?;
                let number = self.batch.images[index].number;
                send(self.messages, Message::Preview { number, step: i + 1, picture })?;
            }
        }
        interrupt::check()
    }

    fn on_fail(&mut self) {
        self.bar.take().iter().for_each(Bar::give_up);
    }

    fn on_repeat(&mut self) {
        self.loading.progress.lost(self.work);
    }

    fn on_note(&mut self, note: &str) {
        self.loading.on_note(note);
    }
}

/// The random numbers of a task: of the run's stream, or of generators of the images' own.
struct TaskNoise<'a> {
    stream: &'a mut dyn Generator,
    /// The stream's position before the batch.
    position: u64,
    start: Option<&'a Tensor>,
    own: Option<PerImage>,
    job: &'a Job,
    origins: &'a [Origin],
    is_own: bool,
}

impl BatchNoise for TaskNoise<'_> {
    fn start(&mut self, shape: (usize, usize, usize, usize), device: &Device) -> Result<Tensor> {
        if self.is_own {
            let own = self.own.insert(PerImage::new(self.job.rng, self.origins));
            let x = own.randn_latents(shape, device)?;
            own.go_to_steps(self.origins);
            return Ok(x);
        }
        self.stream.seek(self.position);
        match self.start {
            Some(start) => Ok(start.narrow(0, 0, shape.0)?),
            None => Ok(self.stream.randn_latents(shape, device)?),
        }
    }

    fn steps(&mut self) -> &mut dyn Noise {
        match &mut self.own {
            Some(own) => own,
            None => &mut *self.stream,
        }
    }
}

/// Returns what is written of image `index` of a batch.
fn record(job: &Job, batch: &Batch, index: usize, origin: Origin, latents: &Latents, picture: &Picture) -> Record {
    let SamplingParams { latent_height, latent_width, scale, sampler } = batch.settings;
    let image = &batch.images[index];
    Record {
        version: env!("CARGO_PKG_VERSION").into(),
        prompt: image.prompt.to_string(),
        negative_prompt: image.negative.into(),
        origin,
        rng: job.rng.to_string(),
        sampler: sampler.kind.name().into(),
        schedule: sampler.spacing.name().into(),
        steps: sampler.steps,
        eta: sampler.eta,
        scale,
        latent_width,
        latent_height,
        width: picture.width,
        height: picture.height,
        emphasis: job.reading.emphasis,
        long_prompt: job.reading.long,
        model: job.ckpt.name(),
        model_hash: None,
        vae: job.vae.as_ref().map(job::Location::name),
        config: job.config_path.as_deref().map(name_of),
        products: latents.dtype.as_str().into(),
        watermark: job.watermark,
    }
}

/// The device's name, if there are several.
fn device_name<'a>(job: &Job, device: &'a ComputeDevice) -> Option<&'a str> {
    (job.units.len() > 1).then_some(&*device.name)
}

/// Returns the origin of each image's noise.
fn origins(job: &Job, task: &Task) -> Vec<Origin> {
    let here = StreamPos { position: task.position, of: task.batch.images.len() };
    let (start, steps) = match job.fixed_code {
        Some(of) => (StreamPos { position: 0, of }, Some(here)),
        None => (here, None),
    };
    let of_stream = |index| Origin { seed: job.seed, start, steps, index };
    let images = task.batch.images.iter().enumerate();
    images.map(|(index, image)| image.origin.unwrap_or_else(|| of_stream(index))).collect()
}

fn send(messages: &SyncSender<Message>, message: Message) -> Result<()> {
    messages.send(message).map_err(|_| anyhow!(WriterGone))
}
