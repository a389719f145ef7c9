//! Turns the command line into a [`Job`]: makes every decision that can be made before weights are read.

mod checks;
mod compute;
mod demo;
mod fast;
mod files_below;
mod images;
mod inputs;
pub(crate) mod loras;
mod model;
mod noise;
mod overview;
mod replay;
mod requests;
mod run_params;
mod seeds;
pub(crate) mod tasks;
mod unused;

use crate::args::Args;
use crate::outdir::{Overview, RunParams, shard_path};
use crate::output::{Format, Pattern};
use crate::params::{LoraChoice, SamplingParams};
use crate::progress::ProgressFormat;
use crate::safety::Action;
use crate::shard::Shard;
use crate::usage::OrUsage;
use crate::vae::TILE_SIDE;
use anyhow::{Result, ensure};
use seeds::Seeds;
use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::path::PathBuf;

pub use compute::ComputeOptions;
pub use images::{Images, Sweep};
pub use inputs::Inputs;
pub use loras::LoraFiles;
pub use model::{Location, ModelFiles, ModelSource, name_of};
pub use noise::{RunNoise, TaskNoise};
pub use replay::Replay;
pub use requests::{Batch, ImageRequest, Request, Requests};

/// A run with nothing left to decide, in one part for each group of functions that reads it.
#[derive(Debug)]
pub struct Job {
    /// The images to draw.
    pub images: Images,
    /// The model that draws them, or the first one of a sweep over models.
    pub model: ModelFiles,
    /// The other models of a sweep.
    pub other_models: Vec<ModelFiles>,
    /// The devices that it runs on.
    pub compute: ComputeOptions,
    /// The files to write.
    pub output: OutputOptions,
    /// The options of this process.
    pub run: RunOptions,
}

/// The files that a run writes.
#[derive(Debug)]
pub struct OutputOptions {
    /// The output directory.
    pub outdir: PathBuf,
    /// Whether single pictures are written.
    pub saves_samples: bool,
    /// Whether the pictures of grids have captions.
    pub caption: bool,
    /// Whether a page that lists all pictures is written.
    pub index: bool,
    /// Whether the grid, or else the first picture, is shown in the terminal at the end.
    pub show: bool,
    /// Whether the page or the grid, or else the first picture, is opened at the end.
    pub open: bool,
    /// The grids, or the sheet and page of a sweep.
    pub overview: Option<Overview>,
    /// Whether pictures get the invisible watermark.
    pub watermark: bool,
    /// The treatment of pictures that the safety checker flags; `None` is the default.
    pub safety: Option<Action>,
    /// The safety checker; `None` is the default one.
    pub safety_ckpt: Option<Location>,
    /// The file format of pictures.
    pub format: Format,
    /// The pattern of file names; `None` is numbers.
    pub fname: Option<Pattern>,
    /// The number of steps between two previews of a picture.
    pub preview_steps: Option<usize>,
    /// Whether pictures contain metadata.
    pub metadata: bool,
    /// The JSON report to write, each shard its own.
    pub report: Option<PathBuf>,
    /// Whether to print a table of timings.
    pub timings: bool,
    /// Whether each picture is compared with the one drawn without shortcuts.
    pub compares_exact: bool,
}

/// The part of a run that a process draws, and the format of what it prints.
#[derive(Debug)]
pub struct RunOptions {
    /// Whether to resume the run in the output directory.
    pub resume: bool,
    /// The part that this process draws; `None` is everything.
    pub shard: Option<Shard>,
    /// The parameters that a run and its resumption must share, as far as they are known without the model.
    pub params: RunParams,
    /// The format of progress on standard error.
    pub progress: ProgressFormat,
    /// Whether notes and progress bars are left out.
    pub quiet: bool,
    /// Whether the plan is printed before drawing.
    pub verbose: bool,
    /// The flags to add to the command line to resume the run; `None` if it cannot be resumed.
    pub flags_to_resume: Option<String>,
    /// The notes for the user on these decisions, a sentence each.
    pub notes: Vec<String>,
}

/// The largest value of a flag that counts pictures: more than fit on a disk, and few enough to multiply without
/// overflow.
const MAX_COUNT: i64 = 1_000_000;

impl Job {
    /// Returns the job of a command line.
    ///
    /// # Errors
    /// If flags do not fit together or are out of range, or a file is missing or unreadable.
    pub fn from_args(args: &Args) -> Result<Self> {
        checks::supported(args).or_usage()?;
        match &args.replay {
            Some(path) => replay::job(path, args),
            None => {
                let args = &demo::with_its_size(args);
                let (params, note) = fast::params(args)?;
                Self::new(args, params, note.into_iter().collect())
            }
        }
    }

    /// Returns the job of a command line. `params`: the sampling parameters that apply unless a prompts file or a sweep
    /// sets them. `notes`: those on the parameters.
    fn new(args: &Args, params: SamplingParams, mut notes: Vec<String>) -> Result<Self> {
        let n_samples = count("--n_samples", args.n_samples).or_usage()?;
        let iterations = count("--n_iter", args.n_iter).or_usage()?;
        let (mut models, models_of_cells) = model::models(args, &mut notes)?;
        let model = &models[0];
        let safety_ckpt = safety_checker(args)?;
        let mut seeds = Seeds::new(args, &mut notes);
        let mut inputs = Inputs::new(args.auto_orient, args.fit);
        let requests = images::requests(args, &params, n_samples, &mut seeds, &mut inputs, &mut notes)?;
        seeds.note(args, &mut notes);
        notes.extend(unused::flags(args, &requests).chain(unused::blank_prompts(args, &requests)));
        notes.extend(unused::lora_tags(args, &requests));
        notes.extend(unused::weightless_loras(&requests));
        notes.extend(demo::note_unknown_words(args, &model.ckpt, &requests));
        notes.extend(fast::guidance_note(args, requests.params()));
        notes.extend(unused::instruction_set());
        notes.extend(args.low_memory.then(|| tiles_note(&requests)).flatten());
        // A prompts file also has parameters; a mistake in it is none in the command line.
        let are_flags = args.from_file.is_none();
        checks::batch_sizes(args, &requests).or_usage()?;
        checks::branches(&requests, &model.config).or_usage_if(are_flags)?;
        checks::input_factor(&requests, &model.config).or_usage_if(are_flags)?;
        checks::fixed_code(args, &requests).or_usage()?;
        checks::steps(&requests, &model.config, &mut notes).or_usage_if(are_flags)?;
        let run_params = run_params::run_params(args, &params, seeds.run, &requests, &inputs, &model.config);
        let loras = find_loras(args, &requests)?;
        let images = Images::new(args, requests, inputs, iterations, seeds.run, models_of_cells);
        notes.extend(model::embeddings::note(&model.embeddings, &images)?);
        let overview = overview::overview(args, &images.requests, images.n_pictures(), &mut notes).or_usage()?;
        let shard = shard(args, &mut notes)?;
        checks::threads(args).or_usage()?;
        let compute = ComputeOptions::new(args, &images, &model.config.unet, shard)?;
        checks::seeds_of_shards(args, shard, &seeds).or_usage()?;
        checks::names(args, shard.is_some() || compute.devices.len() > 1).or_usage()?;
        let output = OutputOptions::new(args, overview, safety_ckpt, shard);
        let flags_to_resume = seeds.flags_to_resume(args);
        let (resume, progress, quiet, verbose) = (args.resume, args.progress, args.quiet, args.verbose);
        let run = RunOptions { resume, shard, params: run_params, progress, quiet, verbose, flags_to_resume, notes };
        models.iter_mut().for_each(|model| model.loras.clone_from(&loras));
        let model = models.remove(0);
        Ok(Self { images, model, other_models: models, compute, output, run })
    }

    /// Iterates over the models, by the numbers that [`Images::model_of`] returns.
    pub fn models(&self) -> impl Iterator<Item = &ModelFiles> {
        iter::once(&self.model).chain(&self.other_models)
    }
}

impl OutputOptions {
    fn new(args: &Args, overview: Option<Overview>, safety_ckpt: Option<Location>, shard: Option<Shard>) -> Self {
        let hides_comparisons = args.progress.hides_notes(args.quiet) && args.report.is_none();
        Self {
            outdir: args.outdir.clone(),
            saves_samples: !args.skip_save,
            caption: args.caption && args.swept.is_none(),
            index: args.index,
            show: args.show,
            open: args.open,
            overview,
            watermark: !args.skip_watermark,
            safety: args.safety,
            safety_ckpt,
            format: args.format,
            fname: args.fname.clone().or_else(|| inputs::pattern(args)),
            preview_steps: args.save_intermediates.map(usize::from),
            metadata: !args.no_metadata,
            report: args.report.as_ref().map(|path| shard.map_or(path.clone(), |shard| shard_path(path, shard))),
            timings: args.timings,
            compares_exact: args.compare_exact && !hides_comparisons,
        }
    }
}

/// Returns a note if a picture is decoded in several tiles.
fn tiles_note(requests: &Requests) -> Option<String> {
    let is_large = |params: &SamplingParams| {
        let (height, width) = params.final_latent_size();
        height.max(width) > TILE_SIDE
    };
    let is_needed = requests.params().iter().any(is_large);
    is_needed.then(|| "--low_memory decodes pictures larger than 512×512 in tiles, which changes them slightly".into())
}

/// Returns the value of a flag that counts pictures.
fn count(flag: &str, n: i64) -> Result<usize> {
    ensure!(n > 0, "{flag} {n} draws nothing; give at least 1");
    ensure!(n <= MAX_COUNT, "{flag} {n} is more than {MAX_COUNT}");
    Ok(n as usize)
}

/// Finds the LoRAs of all requests.
fn find_loras(args: &Args, requests: &Requests) -> Result<BTreeMap<String, Location>> {
    let cells = args.swept.iter().flat_map(|swept| &swept.cells);
    let values = iter::once(args).chain(cells).flat_map(|args| &args.sampling.lora);
    let names = values.map(|value| Ok(value.parse::<LoraChoice>()?.name)).collect::<Result<BTreeSet<_>>>()?;
    loras::find_all(requests, args.lora_dir.as_deref(), &names)
}

fn safety_checker(args: &Args) -> Result<Option<Location>> {
    let location = args.safety_ckpt.as_deref().map(Location::new);
    if let Some(location) = &location {
        ensure!(
            location.may_exist(),
            "safety checker '{location}' does not exist; give its folder with --safety_ckpt FOLDER, or --safety off"
        );
    }
    Ok(location)
}

/// Returns the part to draw: that of `--shard`, or that of the environment of a cluster's task.
fn shard(args: &Args, notes: &mut Vec<String>) -> Result<Option<Shard>> {
    if args.shard.is_some() || args.replay.is_some() || args.swept.is_some() {
        return Ok(args.shard.filter(|shard| shard.of > 1));
    }
    let found = Shard::from_environment(&|name| std::env::var(name).ok())?;
    Ok(found.map(|(shard, source)| {
        notes.push(format!("drawing shard {shard}, as {source}; --shard 0/1 draws everything"));
        shard
    }))
}
