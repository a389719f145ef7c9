//! Args → Job: everything that can be decided without weights, decided.

use crate::args::{self, Args, DEFAULT_CKPT, DEFAULT_CONFIG, Seed};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::demo;
use crate::device;
use crate::diffusion::samplers::{Kind, Plan};
use crate::diffusion::schedule::Schedule;
use crate::output::Axis;
use crate::prompts::{self, Batches};
use crate::rng::Rng;
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

/// What to do, with nothing left to decide.
#[derive(Debug)]
pub struct Job {
    /// Prompts in the order they are drawn.
    pub batches: Batches,
    /// How often to draw all of them.
    pub iterations: usize,
    /// Rows of latents.
    pub latent_height: usize,
    /// Columns of latents.
    pub latent_width: usize,
    /// Whether every batch starts from the same noise.
    pub fixed_code: bool,
    /// Guidance scale.
    pub scale: f64,
    /// Which sampler, and how it steps.
    pub plan: Plan,
    /// Which random numbers.
    pub rng: Rng,
    /// Where they start.
    pub seed: u32,
    /// The model's shape.
    pub config: ModelConfig,
    /// The model's weights.
    pub ckpt: Ckpt,
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
    /// Whether to print how long it took.
    pub timings: bool,
    /// Instead of all that, one picture for every value of something.
    pub sweep: Option<Sweep>,
    /// What the user should know of the decisions, a sentence each.
    pub notes: Vec<String>,
}

/// Pictures to compare.
#[derive(Debug)]
pub struct Sweep {
    /// What they show.
    pub title: String,
    /// What changes from left to right.
    pub columns: Axis,
    /// What changes from top to bottom, if anything does.
    pub rows: Option<Axis>,
    /// What draws each, row by row.
    pub cells: Vec<Job>,
}

/// Where weights come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ckpt {
    /// A file, or a diffusers folder.
    Path(PathBuf),
    /// The program itself.
    Demo,
}

/// A well-known fork of the original keeps its checkpoint here.
const FORK_CKPT: &str = "stable-diffusion-v1-5-emaonly/v1-5-pruned-emaonly.ckpt";

/// More pictures than a disk holds, and few enough to count without overflow.
const MOST: i64 = 1_000_000;

/// A side longer than any model draws well, and short enough to hold in memory.
const MOST_PIXELS: i64 = 8192;

/// Of one batch together: as many as 1024 pictures of 512x512 have, and more than most memories hold.
const MOST_BATCH_PIXELS: usize = 1 << 28;

const LAION_CONFIG: &str = "configs/latent-diffusion/txt2img-1p4B-eval.yaml";
const LAION_CKPT: &str = "models/ldm/text2img-large/model.ckpt";
const LAION_OUTDIR: &str = "outputs/txt2img-samples-laion400m";

impl Job {
    /// # Errors
    /// On every combination of flags that cannot be drawn, and on files that are not there.
    pub fn from_args(args: &Args) -> Result<Self> {
        let mut job = Self::without_sweep(args)?;
        if let Some(swept) = &args.swept {
            let (sweep, notes) = sweep(swept, args, job.seed)?;
            job.notes.extend(notes);
            job.sweep = Some(sweep);
        }
        // What is true of several pictures need be said but once.
        let mut said = HashSet::new();
        job.notes.retain(|note| said.insert(note.clone()));
        Ok(job)
    }

    fn without_sweep(args: &Args) -> Result<Self> {
        let mut notes = vec![];
        let n_samples = count("--n_samples", args.n_samples)?;
        let plan = plan(args)?;
        let (latent_height, latent_width) = latent_size(args)?;
        let iterations = count("--n_iter", args.n_iter)?;
        let Files { config, ckpt, outdir } = files(args);
        if ckpt == Ckpt::Demo && args.ckpt.is_none() {
            notes.extend(DEMO.map(Into::into));
        }
        let config = match config {
            Some(path) => model_config(path)?,
            None => demo::config()?,
        };
        check_channels(args, &config)?;
        ckpt.check_exists()?;
        let device = args.device.device()?;
        let seed = seed(args.seed, &mut notes);
        note_steps(&plan, &config, &mut notes);
        let batches = match &args.from_file {
            Some(file) => prompts::from_file(file, n_samples)?,
            None => prompts::copies(&args.prompt, n_samples),
        };
        check_batches(args, &batches)?;
        Ok(Self {
            batches,
            iterations,
            latent_height,
            latent_width,
            fixed_code: args.fixed_code,
            scale: args.scale,
            plan,
            rng: args.rng,
            seed,
            config,
            ckpt,
            device,
            precision: args.precision,
            threads: args.threads.map(usize::from),
            outdir: outdir.to_owned(),
            saves_samples: !args.skip_save,
            // 0 is the original's spelling of "as many as n_samples".
            grid_columns: (!args.skip_grid).then_some(if args.n_rows > 0 { args.n_rows as usize } else { n_samples }),
            watermark: !args.skip_watermark,
            timings: args.timings,
            sweep: None,
            notes,
        })
    }
}

/// The jobs of a sweep, and what there is to say of them. seed: what those take that take any.
fn sweep(swept: &args::Sweep, args: &Args, seed: u32) -> Result<(Sweep, Vec<String>)> {
    let args::Sweep { columns, rows, cells } = swept.clone();
    let mut jobs = vec![];
    for (i, mut cell) in cells.into_iter().enumerate() {
        if args.seed == Seed::Random && cell.seed == Seed::Random {
            cell.seed = Seed::Given(seed);
        }
        let column = format!("{}={}", columns.name, columns.values[i % columns.values.len()]);
        let row = rows.iter().map(|rows| format!(" {}={}", rows.name, rows.values[i / columns.values.len()]));
        let job = Job::without_sweep(&cell);
        jobs.push(job.with_context(|| format!("--sweep {column}{}", row.collect::<String>()))?);
    }
    let notes = jobs.iter_mut().flat_map(|job| std::mem::take(&mut job.notes)).collect();
    Ok((Sweep { title: args.prompt.clone(), columns, rows, cells: jobs }, notes))
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

/// What is said when nothing says which model to take.
const DEMO: [&str; 2] = [
    "no model is named and none is at models/ldm/stable-diffusion-v1/model.ckpt, so the built-in demo model draws: cubes, \
     balls, pyramids, cones, cylinders and rings, in twelve colours",
    "for Stable Diffusion 1.5, download v1-5-pruned-emaonly.safetensors and name it with --ckpt FILE",
];

struct Files<'a> {
    /// None is the demo model's.
    config: Option<&'a Path>,
    ckpt: Ckpt,
    outdir: &'a Path,
}

fn files(args: &Args) -> Files<'_> {
    if args.laion400m {
        let ckpt = Ckpt::Path(LAION_CKPT.into());
        return Files { config: Some(LAION_CONFIG.as_ref()), ckpt, outdir: LAION_OUTDIR.as_ref() };
    }
    let ckpt = match &args.ckpt {
        Some(name) if name == Path::new(demo::NAME) => Ckpt::Demo,
        Some(path) => Ckpt::Path(path.clone()),
        None => default_ckpt(args.config.is_some()),
    };
    let default = (ckpt != Ckpt::Demo).then_some(DEFAULT_CONFIG.as_ref());
    Files { config: args.config.as_deref().or(default), ckpt, outdir: &args.outdir }
}

fn default_ckpt(has_config: bool) -> Ckpt {
    let there = [DEFAULT_CKPT, FORK_CKPT].into_iter().find(|path| Path::new(path).exists());
    match there {
        Some(path) => Ckpt::Path(path.into()),
        // A config is for a model of its own: that it is missing should be said.
        None if has_config => Ckpt::Path(DEFAULT_CKPT.into()),
        None => Ckpt::Demo,
    }
}

impl Ckpt {
    /// Opens it.
    ///
    /// # Errors
    /// When there is no such checkpoint, or it is not one of Stable Diffusion 1.x.
    pub fn open(&self) -> Result<Checkpoint> {
        match self {
            Ckpt::Path(path) => Checkpoint::open(path),
            Ckpt::Demo => demo::checkpoint(),
        }
    }

    fn check_exists(&self) -> Result<()> {
        let Ckpt::Path(path) = self else { return Ok(()) };
        let name = path.display();
        ensure!(
            // Whatever else is wrong with it is said when it is opened.
            !matches!(path.try_exists(), Ok(false)),
            "checkpoint '{name}' is not there; give a Stable Diffusion 1.x model with --ckpt FILE (a .ckpt or \
             .safetensors file or a diffusers folder), or put one at this path"
        );
        Ok(())
    }
}

fn model_config(path: &Path) -> Result<ModelConfig> {
    if path == Path::new(DEFAULT_CONFIG) && !path.exists() {
        return Ok(ModelConfig::v1());
    }
    ModelConfig::from_yaml(path)
}

fn check_channels(args: &Args, config: &ModelConfig) -> Result<()> {
    let (given, wanted) = (args.channels, config.unet.in_channels);
    ensure!(
        usize::try_from(given) == Ok(wanted),
        "--C {given} does not fit the config, whose latents have {wanted} channels"
    );
    Ok(())
}

fn check_batches(args: &Args, batches: &Batches) -> Result<()> {
    let most = MOST_BATCH_PIXELS / (args.height * args.width) as usize;
    ensure!(
        batches.iter().all(|batch| batch.len() <= most),
        "--n_samples {} is more than the {most} pictures of this size that make a batch; raise --n_iter instead",
        args.n_samples
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

fn note_steps(plan: &Plan, config: &ModelConfig, notes: &mut Vec<String>) {
    let steps = plan.sampler(&Schedule::new(&config.noise)).steps();
    if steps != plan.steps {
        notes.push(format!("--ddim_steps {} means {steps} steps with this sampler", plan.steps));
    }
}
