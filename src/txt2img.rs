//! The main loop: for each iteration, for each batch: encode → sample → decode → save.

use crate::checkpoint::Checkpoint;
use crate::diffusion::samplers::Sampler;
use crate::interrupt::{self, Interrupted};
use crate::job::{Job, Sweep};
use crate::model::Model;
use crate::output::{self, Folder, Picture};
use crate::progress::Progress;
use crate::rng::Noise;
use crate::text::Tokens;
use crate::{device, timings::Timings};
use anyhow::{Context, Result};
use candle_core::Tensor;
use std::collections::{HashMap, HashSet};
use std::io::{BufWriter, Write};

/// Contexts kept for the rest of a sweep; Stable Diffusion's have 236 kB each.
const MOST_CONTEXTS: usize = 256;

/// Of all pictures of a sweep together, kept for its sheet and its page: 0.9 GB.
const MOST_PIXELS: f64 = 3e8;

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
    let checkpoint = job.ckpt.open()?;
    let folder = Folder::open(&job.outdir)?;
    let model = load(&checkpoint, job, &progress)?;
    timings.loaded();
    let mut run = Run::new(job, &model, folder, &progress);
    let drawn = match &job.sweep {
        Some(sweep) => run.sweep(sweep),
        None => run.draw_all(),
    };
    let end = match drawn {
        Ok(()) => End::Finished,
        Err(error) if error.is::<Interrupted>() => End::Interrupted,
        Err(error) => return Err(error),
    };
    timings.drawn(run.drawn);
    run.save_overview()?;
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
    folder: Folder,
    /// What the grid, or the sweep's sheet, will show.
    pictures: Vec<Picture>,
    drawn: usize,
    /// What the prompts of a sweep mean to the UNet: many of its pictures share one.
    contexts: HashMap<Vec<String>, Tensor>,
    /// Sentences that need no repetition.
    told: HashSet<String>,
}

/// A job's random numbers, and what is made of them.
struct Stream<'a> {
    job: &'a Job,
    sampler: Box<dyn Sampler>,
    noise: Box<dyn Noise + Send>,
    /// What every batch starts from, if all start alike.
    start: Option<Tensor>, // (longest batch, h, w, 4)
}

impl<'a> Stream<'a> {
    fn new(job: &'a Job, model: &Model) -> Result<Self> {
        let (sampler, noise) = (job.plan.sampler(model.schedule()), job.rng.noise(u64::from(job.seed)));
        let mut stream = Self { job, sampler, noise, start: None };
        if job.fixed_code {
            let longest = job.batches.iter().map(Vec::len).max().unwrap_or(0);
            stream.start = Some(stream.start_code(longest)?);
        }
        Ok(stream)
    }

    /// The noise a batch starts from: (B, h, w, 4).
    fn start(&mut self, batch: usize) -> Result<Tensor> {
        match &self.start {
            Some(start) => Ok(start.narrow(0, 0, batch)?),
            None => self.start_code(batch),
        }
    }

    fn start_code(&mut self, batch: usize) -> Result<Tensor> {
        let Job { latent_height, latent_width, config, device, .. } = self.job;
        let shape = (batch, *latent_height, *latent_width, config.unet.in_channels);
        Ok(self.noise.randn_latents(shape, device)?)
    }
}

impl<'a> Run<'a> {
    fn new(job: &'a Job, model: &'a Model, folder: Folder, progress: &'a Progress) -> Self {
        let (contexts, told) = (HashMap::new(), HashSet::new());
        Self { job, model, progress, folder, pictures: vec![], drawn: 0, contexts, told }
    }

    fn draw_all(&mut self) -> Result<()> {
        let job = self.job;
        let mut stream = Stream::new(job, self.model)?;
        let bar = self.progress.batches(job.iterations * job.batches.len());
        for _ in 0..job.iterations {
            for batch in &job.batches {
                self.draw(&mut stream, batch)?;
                bar.tick();
            }
        }
        Ok(())
    }

    /// Draws what each cell draws by itself.
    fn sweep(&mut self, sweep: &'a Sweep) -> Result<()> {
        let bar = self.progress.batches(sweep.cells.len());
        for cell in &sweep.cells {
            let mut stream = Stream::new(cell, self.model)?;
            for batch in &cell.batches {
                self.draw(&mut stream, batch)?;
            }
            bar.tick();
        }
        Ok(())
    }

    fn draw(&mut self, stream: &mut Stream, prompts: &[String]) -> Result<()> {
        interrupt::check()?;
        let latents = self.sample(stream, prompts)?;
        for index in 0..prompts.len() {
            let picture = self.model.picture(&latents, index)?;
            self.save(picture)?;
            interrupt::check()?;
        }
        Ok(())
    }

    /// One batch: (B, h, w, 4).
    fn sample(&mut self, stream: &mut Stream, prompts: &[String]) -> Result<Tensor> {
        let context = self.context(prompts)?; // (B, 77, C)
        let denoiser = self.model.denoiser(&self.model.uncond()?, &context, stream.job.scale)?;
        let start = stream.start(prompts.len())?;
        let bar = self.progress.steps(stream.sampler.steps());
        let mut tick = || {
            bar.tick();
            interrupt::check()
        };
        stream.sampler.sample(&*denoiser, start, &mut *stream.noise, &mut tick)
    }

    /// Prompts as the UNet reads them: (B, 77, C).
    fn context(&mut self, prompts: &[String]) -> Result<Tensor> {
        if let Some(context) = self.contexts.get(prompts) {
            return Ok(context.clone());
        }
        let tokens = prompts.iter().map(|prompt| self.model.tokens(prompt)).collect::<Result<Vec<_>>>()?;
        for Tokens { cut, .. } in tokens.iter().filter(|tokens| !tokens.cut.is_empty()) {
            self.tell(format!("CLIP reads 75 tokens of a prompt; these words of it are left out: {cut}"));
        }
        let context = self.model.context(&tokens)?; // (B, 77, C)
        if self.job.sweep.is_some() && self.contexts.len() < MOST_CONTEXTS {
            self.contexts.insert(prompts.to_vec(), context.clone());
        }
        Ok(context)
    }

    fn tell(&mut self, sentence: String) {
        if !self.told.contains(&sentence) {
            self.progress.note(&sentence);
            self.told.insert(sentence);
        }
    }

    fn save(&mut self, picture: Picture) -> Result<()> {
        self.drawn += 1;
        let mut marked = picture.clone();
        if self.job.saves_samples || self.job.sweep.is_some() {
            self.mark(&mut marked);
        }
        if self.job.saves_samples {
            self.folder.save_sample(&marked)?;
        }
        match (&self.job.sweep, self.job.grid_columns) {
            // A sheet shows pictures as they are saved; a grid is made of unmarked ones, then marked as a whole.
            (Some(sweep), Some(_)) => self.pictures.push(output::shrunk(&marked, shrinking(sweep)).into_owned()),
            (None, Some(_)) => self.pictures.push(picture),
            (_, None) => {}
        }
        Ok(())
    }

    /// The watermark, if it is wanted and there is room for it.
    fn mark(&mut self, picture: &mut Picture) {
        if self.job.watermark && !output::mark(picture) {
            self.tell("pictures of less than 256·256 pixels have no room for the invisible watermark".into());
        }
    }

    /// All pictures on one: the grid, or the sheet of a sweep and its page.
    fn save_overview(&mut self) -> Result<()> {
        let (Some(columns), false) = (self.job.grid_columns, self.pictures.is_empty()) else { return Ok(()) };
        let Some(Sweep { title, columns, rows, cells }) = &self.job.sweep else {
            let mut grid = output::grid(&self.pictures, columns)?;
            self.mark(&mut grid);
            self.folder.save_grid(&grid)?;
            return Ok(());
        };
        // What an interrupted sweep has not drawn is grey.
        self.pictures.resize(cells.len(), Picture { width: 1, height: 1, rgb: vec![128; 3] });
        let (rows, pictures) = (rows.as_ref(), &self.pictures);
        self.folder.save_page(|file| output::page(&mut BufWriter::new(file), title, columns, rows, pictures))?;
        match output::sheet(title, columns, rows, pictures) {
            Ok(sheet) => {
                self.folder.save_sheet(&sheet)?;
            }
            Err(too_large) => self.progress.note(&format!("there is a page of this sweep, but no sheet: {too_large}")),
        }
        Ok(())
    }
}

/// How much smaller, in each direction, pictures must be for those of a sweep to fit in memory together.
fn shrinking(sweep: &Sweep) -> usize {
    let largest = sweep.cells.iter().map(|job| job.latent_height * job.latent_width * 64).max().unwrap_or(0);
    ((largest * sweep.cells.len()) as f64 / MOST_PIXELS).sqrt().ceil() as usize
}
