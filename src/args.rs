//! The command line: the flags of the original's `scripts/txt2img.py`, then ours. No logic beyond reading them.

mod expand;
mod sweep;

use crate::by_name::ByName;
use crate::device::{self, Precision};
use crate::diffusion::samplers::{Kind, Spacing};
use crate::output::{Format, Pattern};
use crate::progress::Watcher;
use crate::rng::Rng;
use crate::safety::Action;
use crate::shard::Shard;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser};
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

pub use sweep::Sweep;

/// The heading of the flags that the original lacks.
const OURS: &str = "Options that the original lacks";

/// Stable Diffusion 1.x: text in, pictures out. A drop-in for the original's scripts/txt2img.py.
#[derive(Parser, Clone, PartialEq, Debug)]
#[command(version, args_override_self = true, next_help_heading = "Options of the original", max_term_width = 110)]
#[allow(rustdoc::broken_intra_doc_links)] // brackets in --help are no links
pub struct Args {
    /// The text to draw
    #[arg(long, value_name = "TEXT", default_value = "a painting of a virus monster playing guitar")]
    pub prompt: String,

    /// Folder for the pictures
    #[arg(long, value_name = "DIR", default_value = "outputs/txt2img-samples")]
    pub outdir: PathBuf,

    /// Write no grid of all pictures
    #[arg(long = "skip_grid")]
    pub skip_grid: bool,

    /// Write no single pictures, only the grid
    #[arg(long = "skip_save")]
    pub skip_save: bool,

    /// Number of sampling steps, for every sampler
    #[arg(long = "ddim_steps", value_name = "N", value_parser = integer, default_value_t = 50)]
    pub ddim_steps: i64,

    /// Sample with PLMS instead of DDIM
    #[arg(long)]
    pub plms: bool,

    /// Sample with DPM-Solver instead of DDIM
    #[arg(long = "dpm_solver")]
    pub dpm_solver: bool,

    /// The LAION-400M model, which is not supported
    #[arg(long)]
    pub laion400m: bool,

    /// Start every batch from the same noise
    #[arg(long = "fixed_code")]
    pub fixed_code: bool,

    /// Share of fresh noise in DDIM's steps; 0 is deterministic
    #[arg(long = "ddim_eta", value_name = "F", default_value_t = 0., value_parser = finite)]
    pub ddim_eta: f64,

    /// How many times to draw every prompt
    #[arg(long = "n_iter", value_name = "N", value_parser = integer, default_value_t = 2)]
    pub n_iter: i64,

    /// Height of a picture in pixels
    #[arg(long = "H", visible_alias = "height", value_name = "N", value_parser = integer, default_value_t = 512)]
    pub height: i64,

    /// Width of a picture in pixels
    #[arg(long = "W", visible_alias = "width", value_name = "N", value_parser = integer, default_value_t = 512)]
    pub width: i64,

    /// Channels of the latents
    #[arg(long = "C", visible_alias = "latent_channels", value_name = "N", value_parser = integer, default_value_t = 4)]
    pub channels: i64,

    /// Pixels to a latent, in each direction
    #[arg(long = "f", visible_alias = "downsampling_factor", value_name = "N", value_parser = integer, default_value_t = 8)]
    pub factor: i64,

    /// Pictures in a batch; with --from-file, prompts in a batch
    #[arg(long = "n_samples", value_name = "N", value_parser = integer, default_value_t = 3)]
    pub n_samples: i64,

    /// Pictures in a row of the grid [default: n_samples]
    #[arg(long = "n_rows", value_name = "N", value_parser = integer, default_value_t = 0, hide_default_value = true)]
    pub n_rows: i64,

    /// Guidance: how hard to follow the prompt; 1 is none
    #[arg(long, value_name = "F", default_value_t = 7.5, value_parser = finite)]
    pub scale: f64,

    /// Draw the lines of this file instead of --prompt; - is standard input
    #[arg(long = "from-file", visible_alias = "from_file", value_name = "FILE")]
    pub from_file: Option<PathBuf>,

    /// The model's yaml file; built in if this one is not there [default:
    /// configs/stable-diffusion/v1-inference.yaml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The model: a .ckpt or .safetensors file, a diffusers folder, OWNER/NAME[@REV][:FILE] on a Hugging Face hub, hub,
    /// which is Stable Diffusion 1.5 there, or demo, which is built in and taken if there is no other [default:
    /// models/ldm/stable-diffusion-v1/model.ckpt]
    #[arg(long, value_name = "FILE")]
    pub ckpt: Option<PathBuf>,

    /// Random seed; a number outside 0 to 4294967295, such as -1, picks one at random
    #[arg(long, value_name = "N", default_value = "42", value_parser = seed)]
    pub seed: Seed,

    /// full: f32 throughout; autocast: half precision on devices that gain by it
    #[arg(long, value_name = "NAME", default_value = "autocast", value_parser = one_of::<Precision>())]
    pub precision: Precision,

    /// What should not be in the picture (negative prompt)
    #[arg(long = "negative_prompt", value_name = "TEXT", help_heading = OURS, default_value = "", hide_default_value = true)]
    pub negative_prompt: String,

    /// Brackets weigh words: (word) 1.1 times, (word:1.3) so many times, [word] less
    #[arg(long, help_heading = OURS)]
    pub emphasis: bool,

    /// Read prompts beyond 75 tokens, in chunks of 75
    #[arg(long = "long_prompt", help_heading = OURS)]
    pub long_prompt: bool,

    /// {red|blue} in a prompt is one of these, another for each picture
    #[arg(long, help_heading = OURS)]
    pub wildcards: bool,

    /// How to sample [default: ddim]
    #[arg(long, value_name = "NAME", help_heading = OURS, value_parser = one_of::<Kind>())]
    pub sampler: Option<Kind>,

    /// How k-diffusion's samplers space their steps
    #[arg(long, value_name = "NAME", help_heading = OURS, default_value = "discrete", value_parser = one_of::<Spacing>())]
    pub schedule: Spacing,

    /// Whose random numbers: cuda, torch's on a GPU; cuda:SMSxTHREADS, on one of another size; cpu, torch's on a CPU
    #[arg(long, value_name = "NAME", help_heading = OURS, default_value = "cuda")]
    pub rng: Rng,

    /// stream: pictures continue one stream of random numbers, as the original's do; per_image: each is what its own
    /// seed draws, counted up from --seed
    #[arg(long = "seed_mode", value_name = "NAME", help_heading = OURS, default_value = "stream", value_parser = one_of::<SeedMode>())]
    pub seed_mode: SeedMode,

    /// Take the autoencoder from here: a file, a folder, or a repository as for --ckpt
    #[arg(long, value_name = "FILE", help_heading = OURS)]
    pub vae: Option<PathBuf>,

    /// Where to compute: auto, cpu, cuda or cuda:N; several share the work, as cuda:0,cuda:1 or, of a processor's cores,
    /// cpu:0-3,cpu:4-7
    #[arg(long, value_name = "NAME[,NAME…]", help_heading = OURS, default_value = "auto")]
    pub device: device::DeviceSpecs,

    /// Threads to compute with [default: one a core]
    #[arg(long, value_name = "N", help_heading = OURS, value_parser = within::<u16>(1..=device::MOST_THREADS.into()))]
    pub threads: Option<u16>,

    /// One picture for every value of a flag, as scale=1,2,5,7.5 or prompt=pink,blue (pink in the prompt becomes each),
    /// on one labelled sheet and an HTML page with sliders; give it twice for two sides
    #[arg(long, value_name = "NAME=V,V,…", help_heading = OURS, action = clap::ArgAction::Append, conflicts_with = "from_file")]
    pub sweep: Vec<String>,

    /// What --sweep comes to
    #[arg(skip)]
    pub swept: Option<Sweep>,

    /// What becomes of pictures that the safety checker flags: replace and black make them black, blur and flag keep
    /// them, off checks nothing [default: replace, if the checker can be had]
    #[arg(long, value_name = "NAME", help_heading = OURS, value_parser = one_of::<Action>())]
    pub safety: Option<Action>,

    /// The safety checker: a folder, or a repository as for --ckpt [default: the model's own, or the original's from the
    /// hub]
    #[arg(long = "safety_ckpt", value_name = "FOLDER", help_heading = OURS)]
    pub safety_ckpt: Option<PathBuf>,

    /// How pictures are written: png, jpg or webp
    #[arg(long, value_name = "NAME", help_heading = OURS, default_value = "png", value_parser = one_of::<Format>())]
    pub format: Format,

    /// Name pictures by a pattern of {seed} {index} {prompt} {sampler} {steps} {scale} {hash} [default: {index}]
    #[arg(long, value_name = "PATTERN", help_heading = OURS, value_parser = pattern)]
    pub fname: Option<Pattern>,

    /// Write a small picture every so many steps, to intermediates in OUTDIR
    #[arg(long = "save_intermediates", value_name = "N", help_heading = OURS, value_parser = within::<u16>(1..=1000))]
    pub save_intermediates: Option<u16>,

    /// Do not embed metadata in the pictures
    #[arg(long = "no_metadata", help_heading = OURS)]
    pub no_metadata: bool,

    /// Redraw a picture of this program from its metadata, which overrides other flags, and compare
    #[arg(long, value_name = "FILE", help_heading = OURS, conflicts_with_all = ["from_file", "sweep"])]
    pub replay: Option<PathBuf>,

    /// A grid for every so many pictures, as soon as they are drawn [default: one of all, if they are not too many]
    #[arg(long = "grid_every", value_name = "N", help_heading = OURS, value_parser = within::<u32>(1..=u32::MAX.into()))]
    pub grid_every: Option<u32>,

    /// Go on with the run that was begun in OUTDIR, of which run.jsonl there tells; begin it if there is none
    #[arg(long, help_heading = OURS, conflicts_with = "replay")]
    pub resume: bool,

    /// Draw one part of N of the run, I of 0 to N-1, while other processes draw the others into the same OUTDIR [default:
    /// as Slurm, Kubernetes or torchrun say, or all]
    #[arg(long, value_name = "I/N", help_heading = OURS, conflicts_with_all = ["replay", "sweep"])]
    pub shard: Option<Shard>,

    /// Draw nothing: verify the latest run in OUTDIR, list missing or altered pictures, and write the grid of a sharded
    /// run
    #[arg(long, help_heading = OURS)]
    pub collect: bool,

    /// Draw nothing: print what would be done, with which model, to which files, and about how much memory it would take
    #[arg(long = "dry_run", help_heading = OURS)]
    pub dry_run: bool,

    /// Draw nothing: say which invisible watermark each of these pictures carries, and how sure that is
    #[arg(long = "verify_watermark", value_name = "FILE", help_heading = OURS, num_args = 1..)]
    pub verify_watermark: Vec<PathBuf>,

    /// How to tell progress on standard error: bar, or json, one event a line
    #[arg(long, value_name = "NAME", help_heading = OURS, default_value = "bar", value_parser = one_of::<Watcher>())]
    pub progress: Watcher,

    /// Print no notes and no progress; errors still, and events with --progress json
    #[arg(long, help_heading = OURS)]
    pub quiet: bool,

    /// Write what became of each picture to this new file, as JSON; each shard has its own, such as report-0-of-8.json
    #[arg(long, value_name = "FILE", help_heading = OURS)]
    pub report: Option<PathBuf>,

    /// Leave out the invisible watermark
    #[arg(long = "skip_watermark", help_heading = OURS)]
    pub skip_watermark: bool,

    /// Print how long loading and each picture took, as a row of a Markdown table
    #[arg(long, help_heading = OURS)]
    pub timings: bool,

    /// The flags on the command line, by their names in full
    #[arg(skip)]
    pub given: Vec<String>,
}

/// The config taken when none is named.
pub const DEFAULT_CONFIG: &str = "configs/stable-diffusion/v1-inference.yaml";

/// The checkpoint taken when none is named.
pub const DEFAULT_CKPT: &str = "models/ldm/stable-diffusion-v1/model.ckpt";

/// `--seed_mode`: where the random numbers of a picture come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeedMode {
    /// From where those of the picture before ended.
    Stream,
    /// From a seed of its own.
    PerImage,
}

impl ByName for SeedMode {
    const ALL: &'static [(&'static str, Self)] = &[("stream", SeedMode::Stream), ("per_image", SeedMode::PerImage)];
}

/// `--seed`: a seed that torch takes, or a request for a random one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seed {
    /// This one.
    Given(u32),
    /// Any.
    Random,
}

impl From<i128> for Seed {
    /// Returns the seed of this number, or `Random` if torch does not take it.
    fn from(number: i128) -> Self {
        number.try_into().map_or(Seed::Random, Seed::Given)
    }
}

/// What the word names.
fn one_of<T: ByName + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let names = T::ALL.iter().map(|(name, _)| *name);
    PossibleValuesParser::new(names).try_map(|word| T::from_name(&word).ok_or("not a choice"))
}

/// Reads any whole number, however long: one that does not fit is as good as any.
fn seed(text: &str) -> Result<Seed, String> {
    check_whole(text)?;
    Ok(text.parse::<i128>().map_or(Seed::Random, Seed::from))
}

/// Reads a whole number.
fn integer(text: &str) -> Result<i64, String> {
    check_whole(text)?;
    text.parse().map_err(|_| "the number has too many digits".into())
}

/// Reads a whole number in `range`.
fn within<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        check_whole(text)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        let outside = || format!("must be {} to {}", range.start(), range.end());
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(outside)
    }
}

fn check_whole(text: &str) -> Result<(), String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_whole { Ok(()) } else { Err("not a whole number".into()) }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| format!("{error:#}"))
}

fn finite(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number")?;
    if number.is_finite() { Ok(number) } else { Err("not a finite number".into()) }
}

impl Args {
    /// Reads the program's arguments; prints help, or what is wrong with them, and ends the program.
    pub fn from_command_line() -> Self {
        Self::try_from_words(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// The same from any words, the first of them the program's name.
    ///
    /// # Errors
    /// On anything that is no flag or no value of it; also on `--help`, which is an error to clap.
    pub fn try_from_words(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let words = expand::expand(&mut command, words.into_iter().collect())?;
        let mut args = Self::read(&mut command, &words)?;
        args.swept = sweep::sweep(&mut command, &words, &args)?;
        Ok(args)
    }

    /// Reads words with all flags in full.
    fn read(command: &mut clap::Command, words: &[OsString]) -> Result<Self, clap::Error> {
        let matches = command.try_get_matches_from_mut(words)?;
        let mut args = Self::from_arg_matches(&matches)?;
        let is_given = |arg: &&clap::Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        args.given =
            command.get_arguments().filter(is_given).filter_map(|arg| arg.get_long().map(Into::into)).collect();
        args.sampler = args.one_sampler().map_err(|reason| command.error(ErrorKind::ArgumentConflict, reason))?;
        Ok(args)
    }

    /// Returns whether this flag is on the command line. name: in full, without dashes.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|given| given == name)
    }

    /// `--sampler` and its old spellings, of which `--dpm_solver` wins.
    fn one_sampler(&self) -> Result<Option<Kind>, &'static str> {
        let old = match (self.dpm_solver, self.plms) {
            (true, _) => Some(Kind::DpmSolver),
            (_, true) => Some(Kind::Plms),
            _ => None,
        };
        match (old, self.sampler) {
            (Some(old), Some(new)) if old != new => Err("--sampler cannot be combined with --plms or --dpm_solver"),
            (old, new) => Ok(new.or(old)),
        }
    }
}
