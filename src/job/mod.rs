//! Args → Job: everything that can be decided without weights, decided.

mod lines;
mod model;
mod replay;
mod shard;

use crate::args::{self, Args, Seed, SeedMode};
use crate::config::ModelConfig;
use crate::device;
use crate::diffusion::samplers::{Kind, Plan};
use crate::diffusion::schedule::Schedule;
use crate::output::{Axis, Format, Pattern};
use crate::progress::Watcher;
use crate::prompts::{self, Ask, wildcards};
use crate::rng::{self, Rng};
use crate::safety::Action;
use crate::text::{Reading, emphasis};
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use model::{DEMO, Files};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;

pub use lines::{Batch, Line, Lines, Settings, Wish};
pub use model::{Ckpt, Place};
pub use replay::Replay;
pub use shard::Shard;

/// What to do, with nothing left to decide.
#[derive(Debug)]
pub struct Job {
    /// What is drawn in each iteration.
    pub lines: Lines,
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
    pub ckpt: Ckpt,
    /// Whose autoencoder takes the place of the model's own.
    pub vae: Option<Place>,
    /// Where to compute.
    pub device: Device,
    /// In which precision.
    pub precision: device::Precision,
    /// With how many threads; one a core if none are named.
    pub threads: Option<usize>,
    /// Where pictures go.
    pub outdir: PathBuf,
    /// Whether single pictures are written.
    pub saves_samples: bool,
    /// Pictures in a row of the grid; none means no grid.
    pub grid_columns: Option<usize>,
    /// Whether pictures carry the invisible watermark.
    pub watermark: bool,
    /// What becomes of pictures that are flagged, if that is said.
    pub safety: Option<Action>,
    /// Where the safety checker is, if that is said.
    pub safety_ckpt: Option<Place>,
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

/// A side longer than any model draws well, and short enough to hold in memory.
const MOST_PIXELS: i64 = 8192;

/// Of one batch together: as many as 1024 pictures of 512x512 have, and more than most memories hold.
const MOST_BATCH_PIXELS: usize = 1 << 28;

impl Job {
    /// # Errors
    /// On every combination of flags that cannot be drawn, and on files that are not there.
    pub fn from_args(args: &Args) -> Result<Self> {
        match &args.replay {
            Some(path) => replay::job(path, args),
            None => Self::of(args),
        }
    }

    fn of(args: &Args) -> Result<Self> {
        let n_samples = count("--n_samples", args.n_samples)?;
        let iterations = count("--n_iter", args.n_iter)?;
        settings(args)?;
        let files = Files::new(args);
        let mut notes = vec![];
        if files.ckpt == Ckpt::Demo && args.ckpt.is_none() {
            notes.extend(DEMO.map(Into::into));
        }
        let config = files.model_config()?;
        check_channels(args, &config)?;
        if let Ckpt::At(place) = &files.ckpt {
            place.check_model("--ckpt")?;
        }
        let vae = args.vae.as_deref().map(Place::named);
        vae.iter().try_for_each(|vae| vae.check_model("--vae"))?;
        let safety_ckpt = args.safety_ckpt.as_deref().map(Place::named);
        if let Some(place) = &safety_ckpt {
            ensure!(
                place.may_exist(),
                "safety checker '{place}' is not there; give its folder with --safety_ckpt FOLDER, or --safety off"
            );
        }
        let device = args.device.device()?;
        let seed = seed(args.seed, &mut notes);
        let lines = match &args.swept {
            Some(swept) => Lines::new(cells(swept, args, seed, &mut notes)?, 1),
            None => Lines::new(lines(args, n_samples)?, n_samples),
        };
        check_batches(args, &lines)?;
        check_fixed_code(args, &lines)?;
        note_steps(&lines, &config, &mut notes);
        // 0 is the original's spelling of "as many as n_samples".
        let mut grid_columns =
            (!args.skip_grid).then_some(if args.n_rows > 0 { args.n_rows as usize } else { n_samples });
        if args.swept.is_none() && grid_columns.is_some() && !is_one_size(&lines) {
            notes.push("pictures of several sizes make no grid".into());
            grid_columns = None;
        }
        let sweep = args.swept.as_ref().map(|args::Sweep { columns, rows, .. }| Sweep {
            title: args.prompt.clone(),
            columns: columns.clone(),
            rows: rows.clone(),
        });
        Ok(Self {
            iterations: if sweep.is_some() { 1 } else { iterations },
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
            device,
            precision: args.precision,
            threads: args.threads.map(usize::from),
            outdir: files.outdir.to_owned(),
            saves_samples: !args.skip_save,
            grid_columns,
            watermark: !args.skip_watermark,
            safety: args.safety,
            safety_ckpt,
            format: args.format,
            fname: args.fname.clone(),
            preview_steps: args.save_intermediates.map(usize::from),
            metadata: !args.no_metadata,
            replay: None,
            watcher: args.progress,
            report: args.report.clone(),
            timings: args.timings,
            sweep,
            notes,
        })
    }

    /// How many pictures the run draws.
    pub fn n_pictures(&self) -> usize {
        self.iterations * self.lines.lines().len()
    }

    /// In how many batches.
    pub fn n_batches(&self) -> usize {
        self.iterations * self.lines.n_batches()
    }

    /// The batches of the run, in order.
    pub fn batches(&self) -> impl Iterator<Item = Batch<'_>> {
        let batches = self.lines.batches(self.iterations, (self.seed_mode == SeedMode::PerImage).then_some(self.seed));
        batches.map(|mut batch| {
            if let Some(replay) = &self.replay {
                batch.wishes[0].origin = Some(replay.record.origin);
            }
            if self.wildcards {
                batch.wishes.iter_mut().for_each(|wish| self.choose(wish));
            }
            batch
        })
    }

    /// Its wording: by its own seed if it has one, and so the same whatever is drawn beside it.
    fn choose(&self, wish: &mut Wish) {
        let mut choices = match wish.origin {
            Some(origin) => rng::choices(u64::from(origin.seed), 0),
            None => rng::choices(u64::from(self.seed), wish.number as u64),
        };
        // Braces that do not match were refused before.
        if let Ok(prompt) = wildcards::expand(&wish.prompt, &mut choices) {
            wish.prompt = prompt.into();
        }
    }
}

/// What `--prompt` or `--from-file` ask for.
fn lines(args: &Args, n_samples: usize) -> Result<Vec<Line>> {
    let Some(file) = &args.from_file else {
        return Ok(vec![line(args)?; n_samples]);
    };
    let asks = prompts::from_file(file)?;
    let line = |(i, ask): (usize, Ask)| {
        let line = line(&ask.over(args)).with_context(|| format!("prompts file '{}', line {}", file.display(), i + 1));
        Ok(Line { seed: ask.seed, ..line? })
    };
    asks.into_iter().enumerate().map(line).collect()
}

fn line(args: &Args) -> Result<Line> {
    if args.wildcards {
        wildcards::expand(&args.prompt, &mut |_| 0)?;
    }
    if args.emphasis {
        emphasis::parts(&args.prompt)?;
        emphasis::parts(&args.negative_prompt)?;
    }
    let (prompt, negative) = (args.prompt.clone(), args.negative_prompt.clone());
    Ok(Line { prompt, negative, seed: None, settings: settings(args)? })
}

/// What draws each picture of a sweep. own: the run's seed, which those take that take any.
fn cells(swept: &args::Sweep, args: &Args, own: u32, notes: &mut Vec<String>) -> Result<Vec<Line>> {
    let cell = |(i, cell): (usize, &Args)| {
        let is_any = args.seed == Seed::Random && cell.seed == Seed::Random;
        let seed = Some(if is_any { own } else { seed(cell.seed, notes) });
        let line = line(cell).with_context(|| format!("--sweep {}", swept.label(i)))?;
        Ok(Line { seed, ..line })
    };
    swept.cells.iter().enumerate().map(cell).collect()
}

fn settings(args: &Args) -> Result<Settings> {
    let plan = plan(args)?;
    let (latent_height, latent_width) = latent_size(args)?;
    Ok(Settings { latent_height, latent_width, scale: args.scale, plan })
}

fn count(flag: &str, n: i64) -> Result<usize> {
    ensure!(n > 0, "{flag} {n} draws nothing; give at least 1");
    ensure!(n <= MOST, "{flag} {n} is more than {MOST}");
    Ok(n as usize)
}

fn plan(args: &Args) -> Result<Plan> {
    let steps = count("--ddim_steps", args.ddim_steps)?;
    let plan = Plan { kind: args.sampler.unwrap_or(Kind::Ddim), steps, eta: args.ddim_eta, spacing: args.schedule };
    plan.check()?;
    Ok(plan)
}

/// (rows, columns) of latents.
fn latent_size(args: &Args) -> Result<(usize, usize)> {
    let f = args.factor;
    ensure!((1..=64).contains(&f), "--f {f} is not between 1 and 64");
    for (flag, size) in [("--H", args.height), ("--W", args.width)] {
        ensure!((f..=MOST_PIXELS).contains(&size), "{flag} {size} is not between {f} and {MOST_PIXELS}");
        let (below, above) = (size / f * f, (size / f + 1) * f);
        ensure!(size % f == 0, "{flag} {size} is not a multiple of {f}; the nearest are {below} and {above}");
    }
    Ok(((args.height / f) as usize, (args.width / f) as usize))
}

fn check_channels(args: &Args, config: &ModelConfig) -> Result<()> {
    let (given, wanted) = (args.channels, config.unet.in_channels);
    ensure!(
        usize::try_from(given) == Ok(wanted),
        "--C {given} does not fit the config, whose latents have {wanted} channels"
    );
    Ok(())
}

fn check_batches(args: &Args, lines: &Lines) -> Result<()> {
    for Batch { settings, wishes } in lines.batches(1, None) {
        let most =
            MOST_BATCH_PIXELS / (settings.latent_height * settings.latent_width * (args.factor * args.factor) as usize);
        ensure!(
            wishes.len() <= most,
            "--n_samples {} is more than the {most} pictures of this size that make a batch; raise --n_iter instead",
            args.n_samples
        );
    }
    Ok(())
}

fn is_one_size(lines: &Lines) -> bool {
    let size = |line: &Line| (line.settings.latent_height, line.settings.latent_width);
    lines.lines().windows(2).all(|two| size(&two[0]) == size(&two[1]))
}

fn check_fixed_code(args: &Args, lines: &Lines) -> Result<()> {
    ensure!(
        !args.fixed_code || args.swept.is_some() || is_one_size(lines),
        "--fixed_code starts every batch from the same noise, and pictures of several sizes cannot; leave it out"
    );
    Ok(())
}

fn seed(seed: Seed, notes: &mut Vec<String>) -> u32 {
    match seed {
        Seed::Given(seed) => seed,
        Seed::Random => {
            let seed = RandomState::new().build_hasher().finish() as u32;
            notes.push(format!("the seed taken is {seed}"));
            seed
        }
    }
}

/// What is true of several lines is said once.
fn note_steps(lines: &Lines, config: &ModelConfig, notes: &mut Vec<String>) {
    let schedule = Schedule::new(&config.noise);
    let mut seen: Vec<Plan> = vec![];
    for plan in lines.lines().iter().map(|line| line.settings.plan) {
        if !seen.contains(&plan) {
            seen.push(plan);
            let (asked, real) = (plan.steps, plan.sampler(&schedule).steps());
            if real != asked {
                notes.push(format!("--ddim_steps {asked} means {real} steps with this sampler"));
            }
        }
    }
}
