//! The main loop: for each iteration, for each batch: encode → sample → decode → save.

use crate::checkpoint::Checkpoint;
use crate::diffusion::samplers::Sampler;
use crate::interrupt::{self, Interrupted};
use crate::job::Job;
use crate::model::Model;
use crate::output::{self, Folder, Picture};
use crate::progress::Progress;
use crate::rng::Noise;
use crate::text::Tokens;
use crate::{device, timings::Timings};
use anyhow::{Context, Result};
use candle_core::Tensor;
use std::collections::HashSet;
use std::io::Write;

/// How a run that did not fail ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Everything was drawn.
    Finished,
    /// Ctrl-C was pressed: what was done by then is saved.
    Interrupted,
}

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
    let checkpoint = Checkpoint::open(&job.ckpt)?;
    let folder = Folder::open(&job.outdir)?;
    let model = load(&checkpoint, job, &progress)?;
    timings.loaded();
    let mut run = Run::new(job, &model, folder, &progress)?;
    let end = match run.draw_all() {
        Ok(()) => End::Finished,
        Err(error) if error.is::<Interrupted>() => End::Interrupted,
        Err(error) => return Err(error),
    };
    timings.drawn(run.drawn);
    run.save_grid()?;
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

/// A run under way.
struct Run<'a> {
    job: &'a Job,
    model: &'a Model,
    progress: &'a Progress,
    sampler: Box<dyn Sampler>,
    noise: Box<dyn Noise + Send>,
    /// What every batch starts from, if all start alike.
    start: Option<Tensor>, // (longest batch, h, w, 4)
    folder: Folder,
    /// What the grid will show.
    pictures: Vec<Picture>,
    drawn: usize,
    /// Sentences that need no repetition.
    told: HashSet<String>,
}

impl<'a> Run<'a> {
    fn new(job: &'a Job, model: &'a Model, folder: Folder, progress: &'a Progress) -> Result<Self> {
        let mut run = Self {
            job,
            model,
            progress,
            sampler: job.plan.sampler(model.schedule()),
            noise: job.rng.noise(u64::from(job.seed)),
            start: None,
            folder,
            pictures: vec![],
            drawn: 0,
            told: HashSet::new(),
        };
        if job.fixed_code {
            let longest = job.batches.iter().map(Vec::len).max().unwrap_or(0);
            run.start = Some(run.start_code(longest)?);
        }
        Ok(run)
    }

    fn draw_all(&mut self) -> Result<()> {
        let bar = self.progress.batches(self.job.iterations * self.job.batches.len());
        for _ in 0..self.job.iterations {
            for batch in &self.job.batches {
                self.draw(batch)?;
                bar.tick();
            }
        }
        Ok(())
    }

    fn draw(&mut self, prompts: &[String]) -> Result<()> {
        interrupt::check()?;
        let latents = self.sample(prompts)?;
        for index in 0..prompts.len() {
            let picture = self.model.picture(&latents, index)?;
            self.save(picture)?;
            interrupt::check()?;
        }
        Ok(())
    }

    /// One batch: (B, h, w, 4).
    fn sample(&mut self, prompts: &[String]) -> Result<Tensor> {
        let tokens = prompts.iter().map(|prompt| self.model.tokens(prompt)).collect::<Result<Vec<_>>>()?;
        for Tokens { cut, .. } in tokens.iter().filter(|tokens| !tokens.cut.is_empty()) {
            self.tell(format!("CLIP reads 75 tokens of a prompt; these words of it are left out: {cut}"));
        }
        let context = self.model.context(&tokens)?; // (B, 77, C)
        let denoiser = self.model.denoiser(&context, self.job.scale)?;
        let start = match &self.start {
            Some(start) => start.narrow(0, 0, prompts.len())?,
            None => self.start_code(prompts.len())?,
        };
        let bar = self.progress.steps(self.sampler.steps());
        let mut tick = || {
            bar.tick();
            interrupt::check()
        };
        self.sampler.sample(&*denoiser, start, &mut *self.noise, &mut tick)
    }

    /// The noise a batch starts from: (B, h, w, 4).
    fn start_code(&mut self, batch: usize) -> Result<Tensor> {
        let Job { latent_height, latent_width, config, device, .. } = self.job;
        let shape = (batch, *latent_height, *latent_width, config.unet.in_channels);
        Ok(self.noise.randn_latents(shape, device)?)
    }

    fn tell(&mut self, sentence: String) {
        if !self.told.contains(&sentence) {
            self.progress.note(&sentence);
            self.told.insert(sentence);
        }
    }

    fn save(&mut self, picture: Picture) -> Result<()> {
        self.drawn += 1;
        if self.job.saves_samples {
            let mut marked = picture.clone();
            self.mark(&mut marked);
            self.folder.save_sample(&marked)?;
        }
        if self.job.grid_columns.is_some() {
            self.pictures.push(picture);
        }
        Ok(())
    }

    /// The watermark, if it is wanted and there is room for it.
    fn mark(&mut self, picture: &mut Picture) {
        if self.job.watermark && !output::mark(picture) {
            self.tell("pictures of less than 256·256 pixels have no room for the invisible watermark".into());
        }
    }

    fn save_grid(&mut self) -> Result<()> {
        if let (Some(columns), false) = (self.job.grid_columns, self.pictures.is_empty()) {
            // Made of unmarked pictures, then marked as a whole.
            let mut grid = output::grid(&self.pictures, columns)?;
            self.mark(&mut grid);
            self.folder.save_grid(&grid)?;
        }
        Ok(())
    }
}
