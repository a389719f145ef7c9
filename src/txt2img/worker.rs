//! The worker of one device, which renders batches: sample → decode → send to the writer.

use super::OpenModel;
use super::costs::Costs;
use super::model_hash;
use crate::device::ComputeDevice;
use crate::engine::{self, BatchNoise, Engine, Latents, Observer, Pass, Preview, Stage};
use crate::interrupt;
use crate::job::tasks::Task;
use crate::job::{self, Batch, Job, RunNoise, name_of};
use crate::output::{Distance, EmbeddingRecord, Picture, Record};
use crate::params::SamplingParams;
use crate::progress::{Bar, Progress};
use crate::rng::Origin;
use anyhow::{Result, anyhow};
use candle_core::Tensor;
use std::fmt;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

/// A rendered image and everything that is saved with it.
pub struct Rendered {
    pub picture: Picture,
    /// The image as the safety checker sees it, if there is one.
    pub seen: Option<Picture>,
    /// The metadata of the image.
    pub record: Record,
    /// The number of the model that drew it.
    pub model: usize,
    /// The number of the image in the run, from 0.
    pub number: usize,
    /// The seconds for sampling its batch, and for decoding it.
    pub seconds: [f64; 2],
    /// The stage that returned NaN or infinity even in f32, if one did; the image is then wrong.
    pub non_finite: Option<Stage>,
    /// The comparison with the image drawn without shortcuts, with `--compare_exact`.
    pub comparison: Option<Comparison>,
    /// The cost of saving it, for the progress bar.
    pub saving_cost: f64,
}

/// The comparison of an image with the one drawn without shortcuts.
pub struct Comparison {
    pub distance: Distance,
    /// The seconds for sampling and decoding without shortcuts, as in [`Rendered::seconds`].
    pub seconds: [f64; 2],
}

/// A message to the writer.
pub enum Message {
    /// An image to save.
    Image(Box<Rendered>),
    /// A preview of image `number` of the run, from 0, after `step` steps.
    Preview { number: usize, step: usize, picture: Picture },
}

/// The error of a worker whose writer failed. The writer's own error is the one to report.
#[derive(Debug)]
pub struct WriterGone;

impl fmt::Display for WriterGone {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("pictures can no longer be saved")
    }
}

impl std::error::Error for WriterGone {}

/// The inputs that all workers share.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    pub job: &'a Job,
    pub models: &'a [OpenModel<'a>],
    pub progress: &'a Progress,
    /// Whether the images are checked for safety.
    pub is_checked: bool,
    pub costs: Costs,
}

/// The worker of one device.
pub struct Worker<'a> {
    inputs: Inputs<'a>,
    pub device: &'a ComputeDevice,
    /// The number of the model in the engine.
    model: usize,
    engine: Engine<'a>,
    noise: RunNoise,
    messages: SyncSender<Message>,
}

impl<'a> Worker<'a> {
    /// Loads model `model` on the device, changed by the LoRAs of `first`, the parameters of the first task.
    ///
    /// # Errors
    /// If the model cannot be loaded.
    pub fn new(
        inputs: Inputs<'a>,
        model: usize,
        first: &SamplingParams,
        device: &'a ComputeDevice,
        messages: SyncSender<Message>,
    ) -> Result<Self> {
        let channels = inputs.job.model.config.unet.out_channels;
        let noise = RunNoise::new(&inputs.job.images, channels, &device.device)?;
        let engine = load(inputs, model, first, device)?;
        Ok(Self { inputs, device, model, engine, noise, messages })
    }

    /// Replaces the model in the engine, unless it is the one of the task.
    fn use_model_of(&mut self, task: &Task) -> Result<()> {
        if self.model != task.model {
            // Before the next one is loaded, so that there are never two.
            self.engine.unload();
            self.engine = load(self.inputs, task.model, &task.batch.params, self.device)?;
            self.model = task.model;
        }
        Ok(())
    }

    /// Renders the wanted images of a batch. Images already sent to the writer are removed from `task.wanted`.
    ///
    /// # Errors
    /// If the device fails, after Ctrl-C, or if the writer is gone.
    pub fn draw(&mut self, task: &mut Task) -> Result<()> {
        interrupt::check()?;
        self.use_model_of(task)?;
        let Inputs { job, models, progress, is_checked, costs } = self.inputs;
        let loras = &models[task.model].loras;
        let start = Instant::now();
        let wanted = task.wanted.clone();
        let prompts = task.batch.images.iter().map(|image| (&*image.prompt, image.negative)).collect();
        let input = job.images.inputs.input(&task.batch.params)?;
        let batch = engine::Batch { prompts, params: task.batch.params.clone(), input: input.as_ref() };
        let mut observer = BatchObserver {
            loading: LoadObserver { job, device: self.device, progress },
            bar: None,
            batch: &task.batch,
            wanted: &wanted,
            messages: &self.messages,
            costs,
            cost: 0.,
            pass: 0.,
        };
        self.engine.use_loras(&loras.of(&task.batch.params), &mut observer)?;
        let mut noise = self.noise.for_task(task);
        let latents = self.engine.sample(&batch, &mut noise, &mut observer)?;
        observer.bar = None;
        let sampled = start.elapsed().as_secs_f64();
        let is_approximate = batch.params.has_shortcuts() || self.engine.has_exact_decoder();
        let compares = job.output.compares_exact && is_approximate;
        let exact = (compares && batch.params.has_shortcuts())
            .then(|| sample_exactly(&mut self.engine, &batch, &mut self.noise.for_task(task), &mut observer))
            .transpose()?;
        while let Some(&index) = task.wanted.first() {
            let start = Instant::now();
            let image = self.engine.decode(&latents, index, &mut observer)?;
            let mut picture = image.picture()?;
            let mut seen = is_checked.then(|| image.rounded()).transpose()?;
            let restored = seen.iter_mut().chain([&mut picture]);
            restored.for_each(|picture| input.iter().for_each(|input| input.restore(picture)));
            let seconds = [sampled, start.elapsed().as_secs_f64()];
            let exact = exact.as_ref().map_or((&latents, sampled), |(latents, seconds)| (latents, *seconds));
            let comparison = compares
                .then(|| compare(&mut self.engine, &picture, &batch, exact, index, &mut observer))
                .transpose()?;
            let rendered = Rendered {
                seen,
                record: self.record(&task.batch, index, task.origins[index], &latents)?,
                model: task.model,
                picture,
                number: task.batch.images[index].number,
                seconds,
                non_finite: image.non_finite,
                comparison,
                saving_cost: costs.saving(&task.batch.params),
            };
            progress.worked(costs.decoding(&task.batch.params));
            send(&self.messages, Message::Image(Box::new(rendered)))?;
            task.wanted.remove(0);
            interrupt::check()?;
        }
        Ok(())
    }

    /// Returns what is written of image `index` of a batch.
    fn record(&self, batch: &Batch, index: usize, origin: Origin, latents: &Latents) -> Result<Record> {
        let image = &batch.images[index];
        let embeddings = self.engine.embeddings_in((&image.prompt, image.negative), &batch.params)?.into_iter();
        let embeddings = embeddings
            .map(|embedding| EmbeddingRecord { name: embedding.name().into(), sha256: embedding.sha256().into() })
            .collect();
        let model = &self.inputs.models[self.model];
        Ok(Record { embeddings, ..record(self.inputs.job, model, batch, index, origin, latents) })
    }
}

/// Loads a model on a device, changed by the LoRAs of `params`, with the other networks that the job needs.
fn load<'a>(
    inputs: Inputs<'a>,
    model: usize,
    params: &SamplingParams,
    device: &'a ComputeDevice,
) -> Result<Engine<'a>> {
    let Inputs { job, models, progress, .. } = inputs;
    let OpenModel { files, checkpoint, with_own_vae, loras } = &models[model];
    let dtype = device.dtype(job.compute.precision);
    let mut loading = LoadObserver { job, device, progress };
    let (config, reading) = (&files.config, job.images.reading);
    let mut engine = Engine::load(checkpoint, config, &loras.of(params), device, dtype, reading, &mut loading)?;
    let own_vae = with_own_vae.as_ref();
    if let Some(checkpoint) = own_vae.filter(|_| job.output.compares_exact) {
        engine.load_exact_decoder(checkpoint)?;
    }
    if job.images.are_encoded() || engine.takes_mask() {
        engine.load_encoder(own_vae.unwrap_or(checkpoint))?;
    }
    Ok(engine)
}

/// Samples a batch without shortcuts. Returns the latents, and the seconds that it took.
fn sample_exactly(
    engine: &mut Engine,
    batch: &engine::Batch,
    noise: &mut dyn BatchNoise,
    observer: &mut BatchObserver,
) -> Result<(Latents, f64)> {
    let start = Instant::now();
    let exact = engine::Batch { params: batch.params.without_shortcuts(), ..batch.clone() };
    // Neither previews nor the progress of the run include it.
    (observer.wanted, observer.costs) = (&[], Costs::NONE);
    let latents = engine.sample(&exact, noise, observer)?;
    observer.bar = None;
    Ok((latents, start.elapsed().as_secs_f64()))
}

/// Compares an image with the one drawn without shortcuts. `sampled`: its latents, and the seconds for sampling them.
fn compare(
    engine: &mut Engine,
    picture: &Picture,
    batch: &engine::Batch,
    sampled: (&Latents, f64),
    index: usize,
    observer: &mut BatchObserver,
) -> Result<Comparison> {
    let (latents, seconds) = sampled;
    let start = Instant::now();
    let mut exact = engine.decode_exactly(latents, index, observer)?.picture()?;
    batch.input.iter().for_each(|input| input.restore(&mut exact));
    let seconds = [seconds, start.elapsed().as_secs_f64()];
    Ok(Comparison { distance: Distance::new(picture, &exact), seconds })
}

/// Shows progress while a model is loaded.
struct LoadObserver<'a> {
    job: &'a Job,
    device: &'a ComputeDevice,
    progress: &'a Progress,
}

impl Observer for LoadObserver<'_> {
    fn on_load(&mut self, tensors: usize) -> Box<dyn Fn() + Sync + '_> {
        let bar = self.progress.loading(device_name(self.job, self.device), tensors);
        Box::new(move || bar.tick())
    }

    fn on_note(&mut self, note: &str) {
        self.progress.note(note);
    }
}

/// Shows the steps of a batch, sends previews, and stops after Ctrl-C.
struct BatchObserver<'a> {
    loading: LoadObserver<'a>,
    /// The progress bar of the current steps.
    bar: Option<Bar<'a>>,
    batch: &'a Batch<'a>,
    wanted: &'a [usize],
    messages: &'a SyncSender<Message>,
    costs: Costs,
    /// The cost of all passes of the batch so far, and that of the current one.
    cost: f64,
    pass: f64,
}

impl Observer for BatchObserver<'_> {
    fn on_load(&mut self, tensors: usize) -> Box<dyn Fn() + Sync + '_> {
        self.loading.on_load(tensors)
    }

    fn on_start(&mut self, pass: &Pass) {
        let Pass { counts, params, .. } = pass;
        let (steps, calls) = (counts.steps.max(1) as f64, counts.model_calls as f64);
        let LoadObserver { job, device, progress } = self.loading;
        let n_contexts = self.batch.n_contexts(job.images.reading);
        let step = self.costs.step(params, n_contexts, calls / steps);
        self.pass = step * steps;
        self.cost += self.pass;
        self.bar = Some(progress.steps(device_name(job, device), pass.first_step > 0, counts.steps, step));
    }

    fn on_step(&mut self, i: usize, _: &Tensor, _: &Tensor, preview: &Preview) -> Result<()> {
        self.bar.iter().for_each(Bar::tick);
        if self.loading.job.output.preview_steps.is_some_and(|every| (i + 1).is_multiple_of(every)) {
            for &index in self.wanted {
                let (picture, number) = (preview(index)?, self.batch.images[index].number);
                send(self.messages, Message::Preview { number, step: i + 1, picture })?;
            }
        }
        interrupt::check()
    }

    fn on_fail(&mut self) {
        self.bar.take().iter().for_each(Bar::give_up);
        // The passes before are repeated, too.
        self.loading.progress.lost(self.cost - self.pass);
        self.cost = 0.;
    }

    fn on_repeat(&mut self) {
        self.loading.progress.lost(self.cost);
        self.cost = 0.;
    }

    fn on_note(&mut self, note: &str) {
        self.loading.on_note(note);
    }
}

/// Returns the metadata of image `index` of a batch, except its embeddings.
fn record(job: &Job, model: &OpenModel, batch: &Batch, index: usize, origin: Origin, latents: &Latents) -> Record {
    let OpenModel { files, loras, .. } = model;
    let image = &batch.images[index];
    Record {
        version: env!("CARGO_PKG_VERSION").into(),
        prompt: image.prompt.to_string(),
        negative_prompt: image.negative.into(),
        origin,
        rng: job.images.rng.to_string(),
        params: loras.recorded(batch.params.with_factor(files.config.vae.side_factor())),
        latent_width: batch.params.latent_width(),
        latent_height: batch.params.latent_height(),
        init_img_sha256: job.images.inputs.sha256(&batch.params).map(Into::into),
        mask_sha256: job.images.inputs.mask_sha256(&batch.params).map(Into::into),
        auto_orient: job.images.inputs.auto_orient() && batch.params.init_img.is_some(),
        emphasis: job.images.reading.emphasis,
        long_prompt: job.images.reading.long,
        webui_prompts: job.images.reading.web_ui,
        model: files.ckpt.name(),
        model_hash: None,
        lora_files: if model_hash::are_needed(job) { loras.records(&batch.params) } else { vec![] },
        prediction: files.config.assumed_prediction.map(|prediction| prediction.to_string()),
        vae: files.vae.as_ref().map(job::Location::name),
        embeddings: vec![],
        config: files.config_path.as_deref().map(name_of),
        products: latents.dtype.as_str().into(),
        watermark: job.output.watermark,
    }
}

/// Returns the name of the device if there are several.
fn device_name<'a>(job: &Job, device: &'a ComputeDevice) -> Option<&'a str> {
    (job.compute.devices.len() > 1).then_some(&*device.name)
}

/// Sends a message to the writer.
fn send(messages: &SyncSender<Message>, message: Message) -> Result<()> {
    messages.send(message).map_err(|_| anyhow!(WriterGone))
}
