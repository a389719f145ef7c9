//! Args → Job: everything that can be decided without weights, decided.

mod batches;
mod model;
mod overview;
mod replay;
mod requests;
mod terms;
mod unused;

use crate::args::{self, Args, Seed, SeedMode};
use crate::config::ModelConfig;
use crate::device::{self, ComputeDevice};
use crate::diffusion::samplers::{Kind, SamplerConfig};
use crate::diffusion::schedule::Schedule;
use crate::outdir::{Overview, RunParams, shard_path};
use crate::output::{Axis, Format, Pattern};
use crate::progress::Watcher;
use crate::prompts::{Position, PromptLine, PromptsFile, wildcards};
use crate::rng::Rng;
use crate::safety::Action;
use crate::shard::Shard;
use crate::text::{Reading, emphasis};
use anyhow::{Context, Result, ensure};
use model::{DEMO, Files};
use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::iter::repeat_n;
use std::path::{Path, PathBuf};

pub use crate::engine::SamplingParams;
pub use model::{Location, ModelSource, name_of};
pub use replay::Replay;
pub use requests::{Batch, ImageRequest, Request, Requests};

/// What to do, with nothing left to decide.
#[derive(Debug)]
pub struct Job {
    /// What is drawn in each iteration.
    pub lines: Requests,
    /// How often to draw all of them.
    pub iterations: usize,
    /// The pictures whose noise every batch starts from, if all start alike.
    pub fixed_code: Option<usize>,
    /// Which random numbers.
    pub rng: Rng,
    /// Where they start.
    pub seed: u32,
    /// How prompts are read.
    pub reading: Reading,
    /// Whether braces in prompts are choices.
    pub wildcards: bool,
    /// Whether pictures continue one stream of them or have seeds of their own.
    pub seed_mode: SeedMode,
    /// The model's shape.
    pub config: ModelConfig,
    /// The yaml file that says so, if one was named.
    pub config_path: Option<PathBuf>,
    /// The model's weights.
    pub ckpt: ModelSource,
    /// Whose autoencoder takes the place of the model's own.
    pub vae: Option<Location>,
    /// Where to compute; several share the work.
    pub units: Vec<ComputeDevice>,
    /// In which precision.
    pub precision: device::Precision,
    /// With how many threads; one a core if none are named, nor cores.
    pub threads: Option<usize>,
    /// Where pictures go.
    pub outdir: PathBuf,
    /// Whether single pictures are written.
    pub saves_samples: bool,
    /// What shows many of them at once.
    pub overview: Option<Overview>,
    /// Whether to go on with what was begun.
    pub resume: bool,
    /// The part that this process draws, if it is not all.
    pub shard: Option<Shard>,
    /// What a run must have in common with one that it goes on with.
    pub terms: RunParams,
    /// Whether pictures carry the invisible watermark.
    pub watermark: bool,
    /// What becomes of pictures that are flagged, if that is said.
    pub safety: Option<Action>,
    /// Where the safety checker is, if that is said.
    pub safety_ckpt: Option<Location>,
    /// The kind of file that pictures go to.
    pub format: Format,
    /// What they are called, if not by number.
    pub fname: Option<Pattern>,
    /// After how many steps there is a preview, each time.
    pub preview_steps: Option<usize>,
    /// Whether they say how they were drawn.
    pub metadata: bool,
    /// What is drawn again.
    pub replay: Option<Replay>,
    /// Who is told of the progress.
    pub watcher: Watcher,
    /// Whether people see neither progress nor notes.
    pub quiet: bool,
    /// What must be added to the same command for it to go on where the run stopped; `None` if it cannot.
    pub flags_to_resume: Option<String>,
    /// Where to say what became of each picture.
    pub report: Option<PathBuf>,
    /// Whether to print how long it took.
    pub timings: bool,
    /// What the lines differ in, if they were asked for to be compared.
    pub sweep: Option<Sweep>,
    /// What the user should know of the decisions, a sentence each.
    pub notes: Vec<String>,
}

/// Pictures to compare: a line for each, row by row.
#[derive(Debug)]
pub struct Sweep {
    /// What they show.
    pub title: String,
    /// What changes from left to right.
    pub columns: Axis,
    /// What changes from top to bottom, if anything does.
    pub rows: Option<Axis>,
}

/// More pictures than a disk holds, and few enough to count without overflow.
const MOST: i64 = 1_000_000;

/// The most random seeds of a prompts file that a note names.
const MAX_SEEDS_NAMED: usize = 20;

/// A side longer than any model draws well, and short enough to hold in memory.
const MOST_PIXELS: i64 = 8192;

/// Of one batch together: as many as 1024 pictures of 512x512 have, and more than most memories hold.
const MOST_BATCH_PIXELS: usize = 1 << 28;

impl Job {
    /// # Errors
    /// On every combination of flags that cannot be drawn, and on files that are not there.
    pub fn from_args(args: &Args) -> Result<Self> {
        ensure!(
            !args.laion400m,
            "--laion400m asks for the LAION-400M model, which is not Stable Diffusion 1.x and not supported; leave it out"
        );
        match &args.replay {
            Some(path) => replay::job(path, args),
            None => Self::of(args),
        }
    }

    fn of(args: &Args) -> Result<Self> {
        let n_samples = count("--n_samples", args.n_samples)?;
        let iterations = count("--n_iter", args.n_iter)?;
        settings(args, &PromptLine::default())?;
        let files = Files::new(args);
        let mut notes = vec![];
        if files.ckpt == ModelSource::Demo && args.ckpt.is_none() {
            notes.extend(DEMO.map(Into::into));
        }
        let config = files.model_config()?;
        check_channels(args, &config)?;
        if let ModelSource::Files(place) = &files.ckpt {
            place.check_checkpoint()?;
        }
        let vae = args.vae.as_deref().map(Location::named);
        vae.iter().try_for_each(Location::check_vae)?;
        let safety_ckpt = args.safety_ckpt.as_deref().map(Location::named);
        if let Some(place) = &safety_ckpt {
            ensure!(
                place.may_exist(),
                "safety checker '{place}' is not there; give its folder with --safety_ckpt FOLDER, or --safety off"
            );
        }
        let threads = args.threads.map(usize::from);
        let units = args.device.units(threads)?;
        let seed = seed(args.seed, &mut notes);
        let mut random_seeds = vec![];
        let lines = match (&args.swept, &args.from_file) {
            (Some(swept), _) => Requests::new(cells(swept, args, seed, &mut notes)?.into_iter().map(Ok), 1)?,
            (None, Some(file)) => file_lines(args, file, n_samples, &mut random_seeds)?,
            (None, None) => Requests::new(repeat_n(line(args, asked(args))?, n_samples).map(Ok), n_samples)?,
        };
        note_random_seeds(args, &random_seeds, &mut notes);
        notes.extend(unused::flags(args, &lines).chain(unused::blank_lines(args, &lines)));
        notes.extend(unused::instruction_set());
        check_batches(args, &lines)?;
        check_fixed_code(args, &lines)?;
        note_steps(&lines, &config, &mut notes);
        let iterations = if args.swept.is_some() { 1 } else { iterations };
        let overview = overview::overview(args, &lines, iterations * lines.lines().len(), &mut notes)?;
        let shard = shard(args, &mut notes)?;
        ensure!(
            shard.is_none() || args.seed != Seed::Random && random_seeds.is_empty(),
            "every shard would pick another random seed; give seeds from 0 to 4294967295, the same to all shards"
        );
        check_names(args, shard.is_some() || units.len() > 1)?;
        let sweep = args.swept.as_ref().map(|args::Sweep { columns, rows, .. }| Sweep {
            title: args.prompt.clone(),
            columns: columns.clone(),
            rows: rows.clone(),
        });
        Ok(Self {
            terms: terms::terms(args, seed, &lines, &config),
            iterations,
            fixed_code: args.fixed_code.then(|| lines.longest()),
            lines,
            rng: args.rng,
            seed,
            reading: Reading { emphasis: args.emphasis, long: args.long_prompt },
            wildcards: args.wildcards,
            seed_mode: args.seed_mode,
            config,
            config_path: files.config.map(PathBuf::from),
            ckpt: files.ckpt,
            vae,
            precision: args.precision,
            // Where each device has its own, few others are needed.
            threads: threads.or_else(|| units.iter().map(ComputeDevice::threads).sum()),
            units,
            outdir: args.outdir.clone(),
            saves_samples: !args.skip_save,
            overview,
            resume: args.resume,
            shard,
            watermark: !args.skip_watermark,
            safety: args.safety,
            safety_ckpt,
            format: args.format,
            fname: args.fname.clone(),
            preview_steps: args.save_intermediates.map(usize::from),
            metadata: !args.no_metadata,
            replay: None,
            watcher: args.progress,
            quiet: args.quiet,
            // Other seeds would be picked for a prompts file without any.
            flags_to_resume: flags_to_resume(args, seed).filter(|_| random_seeds.is_empty()),
            // Nobody sees what all of them draw.
            report: args.report.as_ref().map(|path| shard.map_or(path.clone(), |shard| shard_path(path, shard))),
            timings: args.timings,
            sweep,
            notes,
        })
    }
}

/// Returns the lines of `--from-file`. Random seeds that they take are added to `random`, with their places.
fn file_lines(args: &Args, file: &Path, n_samples: usize, random: &mut Vec<(Position, u32)>) -> Result<Requests> {
    // Once, not for every line.
    if args.emphasis {
        emphasis::parts(&args.negative_prompt)?;
    }
    let asks = PromptsFile::read(file)?;
    let mut number = |at, seed| match seed {
        Seed::Given(seed) => seed,
        Seed::Random => {
            let seed = random_seed();
            random.push((at, seed));
            seed
        }
    };
    let lines = asks.map(|at, ask| {
        let seed = ask.seed.map(|seed| number(at, seed));
        Ok(Request { seed, ..line(args, ask)? })
    });
    Requests::new(lines, n_samples)
}

/// The command line by itself.
fn asked(args: &Args) -> PromptLine<'_> {
    let (prompt, negative) = (&*args.prompt, &*args.negative_prompt);
    PromptLine { prompt: prompt.into(), negative_prompt: Some(negative.into()), ..PromptLine::default() }
}

/// Returns what the command line asks for, with what `ask` asks for instead, but for its seed.
fn line<'a>(args: &'a Args, ask: PromptLine<'a>) -> Result<Request<'a>> {
    let settings = settings(args, &ask)?;
    if args.wildcards {
        wildcards::expand(&ask.prompt, &mut |_| 0)?;
    }
    if args.emphasis {
        emphasis::parts(&ask.prompt)?;
        ask.negative_prompt.iter().try_for_each(|negative| emphasis::parts(negative).map(drop))?;
    }
    let negative = ask.negative_prompt.unwrap_or_else(|| (&*args.negative_prompt).into());
    Ok(Request { prompt: ask.prompt, negative, seed: None, settings })
}

/// What draws each picture of a sweep. own: the run's seed, which those take that take any.
fn cells<'a>(swept: &'a args::Sweep, args: &Args, own: u32, notes: &mut Vec<String>) -> Result<Vec<Request<'a>>> {
    let cell = |(i, cell): (usize, &'a Args)| {
        let is_any = args.seed == Seed::Random && cell.seed == Seed::Random;
        let seed = Some(if is_any { own } else { seed(cell.seed, notes) });
        let line = line(cell, asked(cell)).with_context(|| format!("--sweep {}", swept.label(i)))?;
        Ok(Request { seed, ..line })
    };
    swept.cells.iter().enumerate().map(cell).collect()
}

fn settings(args: &Args, ask: &PromptLine) -> Result<SamplingParams> {
    let plan = plan(args, ask)?;
    let (latent_height, latent_width) = latent_size(args, ask)?;
    Ok(SamplingParams { latent_height, latent_width, scale: ask.scale.unwrap_or(args.scale), sampler: plan })
}

fn count(flag: &str, n: i64) -> Result<usize> {
    ensure!(n > 0, "{flag} {n} draws nothing; give at least 1");
    ensure!(n <= MOST, "{flag} {n} is more than {MOST}");
    Ok(n as usize)
}

fn plan(args: &Args, ask: &PromptLine) -> Result<SamplerConfig> {
    let steps = count("--ddim_steps", ask.steps.unwrap_or(args.ddim_steps))?;
    let kind = ask.sampler.or(args.sampler).unwrap_or(Kind::Ddim);
    let plan = SamplerConfig { kind, steps, eta: args.ddim_eta, spacing: args.schedule };
    plan.check()?;
    Ok(plan)
}

/// (rows, columns) of latents.
fn latent_size(args: &Args, ask: &PromptLine) -> Result<(usize, usize)> {
    let f = args.factor;
    let (height, width) = (ask.height.unwrap_or(args.height), ask.width.unwrap_or(args.width));
    ensure!((1..=64).contains(&f), "--f {f} is not between 1 and 64");
    for (flag, size) in [("--H", height), ("--W", width)] {
        ensure!((f..=MOST_PIXELS).contains(&size), "{flag} {size} is not between {f} and {MOST_PIXELS}");
        let (below, above) = (size / f * f, (size / f + 1) * f);
        ensure!(size % f == 0, "{flag} {size} is not a multiple of {f}; the nearest are {below} and {above}");
    }
    Ok(((height / f) as usize, (width / f) as usize))
}

fn check_channels(args: &Args, config: &ModelConfig) -> Result<()> {
    let (given, wanted) = (args.channels, config.unet.in_channels);
    ensure!(
        usize::try_from(given) == Ok(wanted),
        "--C {given} does not fit the config, whose latents have {wanted} channels; leave out --C"
    );
    Ok(())
}

fn check_batches(args: &Args, lines: &Requests) -> Result<()> {
    for number in 0..lines.n_batches() {
        let SamplingParams { latent_height, latent_width, .. } = lines.settings_of(number);
        let most = MOST_BATCH_PIXELS / (latent_height * latent_width * (args.factor * args.factor) as usize);
        ensure!(
            lines.len_of(number) <= most,
            "--n_samples {} is more than the {most} pictures of this size that a batch can have; raise --n_iter instead",
            args.n_samples
        );
    }
    Ok(())
}

fn is_one_size(lines: &Requests) -> bool {
    let size = |settings: &SamplingParams| (settings.latent_height, settings.latent_width);
    lines.settings().windows(2).all(|two| size(&two[0]) == size(&two[1]))
}

fn check_fixed_code(args: &Args, lines: &Requests) -> Result<()> {
    ensure!(
        !args.fixed_code || args.swept.is_some() || is_one_size(lines),
        "--fixed_code starts every batch from the same noise, which pictures of several sizes cannot share; leave it out"
    );
    Ok(())
}

/// The part to draw: the one that is asked for, or whatever started this process means it to draw.
fn shard(args: &Args, notes: &mut Vec<String>) -> Result<Option<Shard>> {
    if args.shard.is_some() || args.replay.is_some() || args.swept.is_some() {
        return Ok(args.shard.filter(|shard| shard.of > 1));
    }
    let found = Shard::from_environment(&|name| std::env::var(name).ok())?;
    Ok(found.map(|(shard, said)| {
        notes.push(format!("drawing shard {shard}, as {said}; --shard 0/1 draws everything"));
        shard
    }))
}

/// Names that pictures have in common are told apart in the order in which they are saved.
fn check_names(args: &Args, has_no_order: bool) -> Result<()> {
    ensure!(
        !has_no_order || args.fname.as_ref().is_none_or(Pattern::has_index),
        "--fname needs {{index}} with several devices or shards, because the order in which they save is not fixed"
    );
    Ok(())
}

fn seed(seed: Seed, notes: &mut Vec<String>) -> u32 {
    match seed {
        Seed::Given(seed) => seed,
        Seed::Random => {
            let seed = random_seed();
            notes.push(format!("the seed taken is {seed}"));
            seed
        }
    }
}

fn random_seed() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}

/// Names the random seeds of a prompts file, with which the run can be repeated.
fn note_random_seeds(args: &Args, seeds: &[(Position, u32)], notes: &mut Vec<String>) {
    let (Some(file), [_, ..]) = (&args.from_file, seeds) else { return };
    let named: Vec<String> = seeds.iter().take(MAX_SEEDS_NAMED).map(|(at, seed)| format!("{seed} ({at})")).collect();
    let rest = match seeds.len().saturating_sub(MAX_SEEDS_NAMED) {
        0 => String::new(),
        n => format!(" and {n} more, which are in the pictures' metadata and in --report"),
    };
    notes.push(format!("the seeds taken for prompts file '{}' are {}{rest}", file.display(), named.join(", ")));
}

/// Returns what must be added to a command line for the same run to be resumed.
fn flags_to_resume(args: &Args, seed: u32) -> Option<String> {
    let is_random = |cell: &Args| cell.seed == Seed::Random;
    if let Some(args::Sweep { columns, rows, cells }) = &args.swept {
        let sweeps_seeds = columns.name == "seed" || rows.as_ref().is_some_and(|rows| rows.name == "seed");
        // The next run would take others.
        if sweeps_seeds && cells.iter().any(is_random) {
            return None;
        }
    }
    let seed = is_random(args).then(|| format!("--seed {seed}"));
    let resume = (!args.resume).then(|| "--resume".to_owned());
    Some(seed.into_iter().chain(resume).collect::<Vec<_>>().join(" "))
}

/// What is true of several lines is said once.
fn note_steps(lines: &Requests, config: &ModelConfig, notes: &mut Vec<String>) {
    let schedule = Schedule::new(&config.noise);
    let mut seen = HashSet::new();
    for plan in lines.settings().iter().map(|settings| settings.sampler) {
        if seen.insert(plan.key()) {
            let (asked, real) = (plan.steps, plan.counts(&schedule).steps);
            if real != asked {
                notes.push(format!("--ddim_steps {asked} means {real} steps with this sampler"));
            }
        }
    }
}
