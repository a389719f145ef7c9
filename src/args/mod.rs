//! The command line: the flags of the original's `scripts/txt2img.py` and `scripts/img2img.py`, and the additional ones.

mod expand;
mod help;
mod misuse;
mod program;
mod range;
mod sampling;
mod sweep;

use crate::by_name::ByName;
use crate::config::Prediction;
use crate::device::{self, Precision};
use crate::output::{Format, Pattern};
use crate::params::SamplingParams;
use crate::progress::ProgressFormat;
use crate::rng::Rng;
use crate::safety::Action;
use crate::shard::Shard;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser};
use clap_complete::Shell;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

pub use help::{TABLES, examples};
pub use program::Program;
pub use sampling::{Fast, SamplingFlags};
pub use sweep::Sweep;

/// Generates pictures from text with Stable Diffusion 1.x. A drop-in for the original's scripts/txt2img.py.
#[derive(Parser, Clone, PartialEq, Debug)]
#[command(version, args_override_self = true, max_term_width = 100)]
#[allow(rustdoc::broken_intra_doc_links)] // the brackets in help texts are not links
pub struct Args {
    /// Text to draw
    #[arg(short, long, value_name = "TEXT", default_value = "a painting of a virus monster playing guitar")]
    pub prompt: String,

    /// Output folder
    #[arg(short, long, value_name = "DIR", default_value = "outputs/txt2img-samples")]
    pub outdir: PathBuf,

    /// Do not write a grid of all pictures
    #[arg(long = "skip_grid")]
    pub skip_grid: bool,

    /// Do not write individual pictures, only the grid
    #[arg(long = "skip_save")]
    pub skip_save: bool,

    /// Write the number and the prompt below each picture of a grid
    #[arg(long)]
    pub caption: bool,

    /// Also write an HTML page of all pictures, which can be searched and shows their prompts and settings; with --collect, for the
    /// latest run
    #[arg(long)]
    pub index: bool,

    /// Show the grid, or else the first picture, in the terminal at the end
    #[arg(long)]
    pub show: bool,

    /// Open the HTML page, the grid or else the first picture at the end, with the program that the desktop has for it
    #[arg(long)]
    pub open: bool,

    /// The sampling parameters
    #[command(flatten)]
    pub sampling: SamplingFlags,

    /// Select the LAION-400M model (not supported)
    #[arg(long)]
    pub laion400m: bool,

    /// Start every batch from the same noise
    #[arg(long = "fixed_code")]
    pub fixed_code: bool,

    /// Number of rounds: draw every prompt this many times
    #[arg(long = "n_iter", value_name = "N", value_parser = integer, default_value_t = 2)]
    pub n_iter: i64,

    /// Number of latent channels
    #[arg(long = "C", visible_alias = "latent_channels", value_name = "N", value_parser = integer, default_value_t = 4)]
    pub channels: i64,

    /// Batch size: pictures per prompt, or with --from-file prompts per batch
    #[arg(short, long = "n_samples", visible_alias = "batch_size", value_name = "N", value_parser = integer, default_value_t = 3)]
    pub n_samples: i64,

    /// Pictures per row of the grid [default: n_samples]
    #[arg(long = "n_rows", value_name = "N", value_parser = integer, default_value_t = 0, hide_default_value = true)]
    pub n_rows: i64,

    /// Draw every line of this file instead of --prompt; - reads standard input
    #[arg(long = "from-file", visible_alias = "from_file", value_name = "FILE")]
    pub from_file: Option<PathBuf>,

    /// Config file (YAML) of the model; built in if the default is missing [default:
    /// configs/stable-diffusion/v1-inference.yaml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Model: a .ckpt or .safetensors file, a diffusers folder, OWNER/NAME[@REVISION][:FILE] on the Hugging Face hub,
    /// hub (downloads Stable Diffusion 1.5), or demo (built in; used if nothing else is found) [default:
    /// models/ldm/stable-diffusion-v1/model.ckpt]
    #[arg(long, value_name = "FILE")]
    pub ckpt: Option<PathBuf>,

    /// Random seed; any value outside 0 to 4294967295, such as -1, picks one
    #[arg(short = 'S', long, value_name = "N", default_value = "42", value_parser = seed)]
    pub seed: Seed,

    /// full: f32 throughout; autocast: half precision where it is faster or takes less memory
    #[arg(long, value_name = "NAME", default_value = "autocast", value_parser = one_of::<Precision>())]
    pub precision: Precision,

    /// Use about a third less memory, but more time: load the text encoder and the decoder for each batch, transform the
    /// weights of convolutions in each step, and decode in tiles of 512×512 pixels, which changes larger pictures slightly
    #[arg(long = "low_memory")]
    pub low_memory: bool,

    /// What should not be in the picture (negative prompt)
    #[arg(long = "negative_prompt", value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub negative_prompt: String,

    /// Weight words with brackets: (word) ×1.1, (word:1.3) ×1.3, [word] ÷1.1
    #[arg(long)]
    pub emphasis: bool,

    /// Read prompts beyond 75 tokens, in chunks of 75
    #[arg(long = "long_prompt")]
    pub long_prompt: bool,

    /// Read prompts as AUTOMATIC1111's web UI does: --emphasis and --long_prompt, prompt editing [from:to:when], alternating
    /// words [a|b], AND between prompts with optional weights, and BREAK to start a new chunk
    #[arg(long = "webui_prompts")]
    pub webui_prompts: bool,

    /// Rotate the picture of --init-img according to its EXIF orientation, which the original ignores
    #[arg(long = "auto_orient")]
    pub auto_orient: bool,

    /// Keep the aspect ratio of --init-img, rounding sizes to multiples of 8: the new picture fits within --H and --W (one of them
    /// is enough); without them it keeps its size
    #[arg(long)]
    pub fit: bool,

    /// Replace {red|blue} in a prompt by one of the alternatives, picked at random for each picture
    #[arg(long)]
    pub wildcards: bool,

    /// PyTorch generator to reproduce: cuda (GPU), cuda:SMSxTHREADS (a GPU of another size), cpu
    #[arg(long, value_name = "NAME", default_value = "cuda")]
    pub rng: Rng,

    /// stream: all pictures share one stream of random numbers, as in the original; per_image: each has its own seed,
    /// counting up from --seed
    #[arg(long = "seed_mode", value_name = "NAME", default_value = "stream", value_parser = one_of::<SeedMode>())]
    pub seed_mode: SeedMode,

    /// Load a different autoencoder (VAE), or the small, fast TAESD: a file, a folder, or a repository as for --ckpt
    #[arg(long, value_name = "FILE")]
    pub vae: Option<PathBuf>,

    /// Output of the model's UNet, if neither the config nor the checkpoint states it: eps (noise) or v (velocity)
    #[arg(long, value_name = "NAME", value_parser = one_of::<Prediction>())]
    pub prediction: Option<Prediction>,

    /// Add a textual inversion (embedding) from a .pt, .bin or .safetensors file; prompts refer to it by the file's
    /// name or by NAME; can be given several times
    #[arg(long, value_name = "FILE[=NAME]", action = clap::ArgAction::Append)]
    pub embedding: Vec<PathBuf>,

    /// Add all textual inversions (embeddings) in a folder and its subfolders
    #[arg(long = "embedding_dir", value_name = "DIR")]
    pub embedding_dir: Option<PathBuf>,

    /// Folder of LoRA files; --lora and <lora:NAME:WEIGHT> tags in prompts refer to them by name, without folder and extension
    #[arg(long = "lora_dir", value_name = "DIR")]
    pub lora_dir: Option<PathBuf>,

    /// Where to compute: auto (a GPU, or else the CPU, or both halves of it if a small model draws several pictures), cpu, cuda or
    /// cuda:N; several share the work: cuda:0,cuda:1, or by CPU core, cpu:0-3,cpu:4-7
    #[arg(long, value_name = "NAME[,NAME…]", default_value = "auto")]
    pub device: device::DeviceSpecs,

    /// Number of threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = within::<u16>(1..=device::MAX_THREADS.into()))]
    pub threads: Option<u16>,

    /// Draw one picture for every value of a flag, on one labelled sheet and an HTML page with sliders; give it twice for columns
    /// and rows. NAME is a sampling parameter, seed, prompt (the first value must occur in the prompt; the others replace it),
    /// negative_prompt, ckpt or vae, such as scale=1,2,5,7.5, seed=1-5 or strength=0.2..1:0.2 (first, last and step)
    #[arg(long, value_name = "NAME=V,V,…", action = clap::ArgAction::Append, conflicts_with = "from_file")]
    pub sweep: Vec<String>,

    /// The parsed value of `--sweep`.
    #[arg(skip)]
    pub swept: Option<Sweep>,

    /// What to do with pictures that the safety checker flags: make them black (replace, black), blur them, only report
    /// them (flag), or do not check (off) [default: replace, if the checker is available]
    #[arg(long, value_name = "NAME", value_parser = one_of::<Action>())]
    pub safety: Option<Action>,

    /// Safety checker: a folder, or a repository as for --ckpt [default: the model's own, or the original's from the
    /// hub]
    #[arg(long = "safety_ckpt", value_name = "FOLDER")]
    pub safety_ckpt: Option<PathBuf>,

    /// File format of the pictures
    #[arg(long, value_name = "NAME", default_value = "png", value_parser = one_of::<Format>())]
    pub format: Format,

    /// File names: a pattern of {index} {seed} {prompt} {hash} {sampler} {schedule} {steps} {scale} {guidance_rescale}
    /// {guidance_interval} {deepcache} {clip_skip} {init_img} {strength} {mask} {mask_blur} {mask_fill} {outpaint} {hires} {hires_strength}
    /// {hires_steps} {hires_sampler} {hires_upscaler} {loras} {lora_weight} {eta} {width} {height}
    /// [default: {index}]
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub fname: Option<Pattern>,

    /// Write a small preview every N steps to OUTDIR/intermediates
    #[arg(long = "save_intermediates", value_name = "N", value_parser = within::<u16>(1..=1000))]
    pub save_intermediates: Option<u16>,

    /// Do not embed metadata in the pictures
    #[arg(long = "no_metadata")]
    pub no_metadata: bool,

    /// Redraw a picture from its metadata and compare (settings stored in the picture override flags)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from_file", "sweep"])]
    pub replay: Option<PathBuf>,

    /// Write a grid after every N pictures [default: one grid of all, if it does not become too large]
    #[arg(long = "grid_every", value_name = "N", value_parser = within::<u32>(1..=u32::MAX.into()))]
    pub grid_every: Option<u32>,

    /// Resume the run recorded in OUTDIR/run.jsonl; start one if there is none
    #[arg(long, conflicts_with = "replay")]
    pub resume: bool,

    /// Draw part I (0 to N-1) of N while other processes draw the rest into the same OUTDIR [default: from Slurm,
    /// Kubernetes or torchrun, else everything]
    #[arg(long, value_name = "I/N", conflicts_with_all = ["replay", "sweep"])]
    pub shard: Option<Shard>,

    /// Verify the latest run in OUTDIR: list missing or altered pictures, and write the grid of a sharded run. Draws
    /// nothing
    #[arg(long)]
    pub collect: bool,

    /// Print the plan: model, steps, files, memory and disk space. Draws nothing
    #[arg(long = "dry_run")]
    pub dry_run: bool,

    /// Report which invisible watermark each picture carries, and how certain that is. Draws nothing
    #[arg(long = "verify_watermark", value_name = "FILE", num_args = 1..)]
    pub verify_watermark: Vec<PathBuf>,

    /// Progress on standard error: bar, or json (one event per line)
    #[arg(long, value_name = "NAME", default_value = "bar", value_parser = one_of::<ProgressFormat>())]
    pub progress: ProgressFormat,

    /// Print only errors and the final line, no notes or progress; --progress json still prints its events
    #[arg(short, long)]
    pub quiet: bool,

    /// Also print what was chosen and why: the model and its properties, the instruction set, the devices and the memory needed
    #[arg(long, conflicts_with = "quiet")]
    pub verbose: bool,

    /// Colour errors and notes: auto (on terminals, unless NO_COLOR is set), always or never
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,

    /// Print a script that completes flags in this shell
    #[arg(long, value_name = "SHELL")]
    pub completions: Option<Shell>,

    /// Print the manual page, in roff
    #[arg(long)]
    pub man: bool,

    /// Write the path, settings, timings and safety result of each picture to this new JSON file; each shard has its
    /// own, such as report-0-of-8.json
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Draw each picture a second time without --deepcache, --guidance_interval and TAESD, and print how similar the two
    /// are (PSNR and SSIM)
    #[arg(long = "compare_exact")]
    pub compare_exact: bool,

    /// Add the invisible watermark (the default)
    #[arg(long, overrides_with = "skip_watermark")]
    pub watermark: bool,

    /// Do not add the invisible watermark
    #[arg(long = "skip_watermark")]
    pub skip_watermark: bool,

    /// Print the loading time, the time per picture and the total as a Markdown table
    #[arg(long)]
    pub timings: bool,

    /// The program that the arguments are for.
    #[arg(skip)]
    pub program: Program,

    /// The flags given on the command line, by their full names without dashes.
    #[arg(skip)]
    pub given: Vec<String>,
}

/// The default of `--config`.
pub const DEFAULT_CONFIG: &str = "configs/stable-diffusion/v1-inference.yaml";

/// The default of `--ckpt`.
pub const DEFAULT_CKPT: &str = "models/ldm/stable-diffusion-v1/model.ckpt";

/// The value of `--seed_mode`: the source of each picture's random numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeedMode {
    /// One stream for all pictures: each continues where the previous one ended.
    Stream,
    /// A seed per picture, counting up from `--seed`.
    PerImage,
}

impl ByName for SeedMode {
    const ALL: &'static [(&'static str, Self)] = &[("stream", SeedMode::Stream), ("per_image", SeedMode::PerImage)];
}

/// The value of `--seed`: a seed that torch accepts, or a request for a random one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seed {
    /// A fixed seed.
    Given(u32),
    /// A random seed.
    Random,
}

impl From<i128> for Seed {
    /// Returns `Given(number)`, or `Random` if `number` does not fit 32 bits.
    fn from(number: i128) -> Self {
        number.try_into().map_or(Seed::Random, Seed::Given)
    }
}

/// Returns the command of a program, with the texts of `-h` if `is_short`, else of `--help`.
pub fn command(program: Program, is_short: bool) -> clap::Command {
    help::add(program.adapt(Args::command()), program, is_short)
}

/// Returns the value of `--color` in `words`, which are not parsed yet, for the errors in them.
fn color(words: &[OsString]) -> ColorChoice {
    let mut values = words.iter().enumerate().filter_map(|(i, word)| match word.to_str()?.strip_prefix("--color")? {
        "" => words.get(i + 1)?.to_str(),
        value => value.strip_prefix('='),
    });
    values.next_back().and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// Returns a parser of the names of `T`.
fn one_of<T: ByName + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let names = T::ALL.iter().map(|(name, _)| *name);
    PossibleValuesParser::new(names).try_map(|word| T::from_name(&word).ok_or("not a choice"))
}

/// Parses a whole number of any length; one that is not a valid seed requests a random one.
fn seed(text: &str) -> Result<Seed, String> {
    check_whole(text)?;
    Ok(text.parse::<i128>().map_or(Seed::Random, Seed::from))
}

/// Parses a whole number.
fn integer(text: &str) -> Result<i64, String> {
    check_whole(text)?;
    text.parse().map_err(|_| "the number has too many digits".into())
}

/// Returns a parser of whole numbers in `range`.
fn within<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        check_whole(text)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        let outside = || format!("must be {} to {}", range.start(), range.end());
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(outside)
    }
}

/// Checks that a text is a whole number.
fn check_whole(text: &str) -> Result<(), String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_whole { Ok(()) } else { Err("not a whole number".into()) }
}

/// Parses a pattern of file names.
fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| format!("{error:#}"))
}

/// Parses a finite number.
fn finite(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number")?;
    if number.is_finite() { Ok(number) } else { Err("not a finite number".into()) }
}

impl Args {
    /// Parses the program's arguments. On `--help`, `--version` or an error, prints the text and exits.
    pub fn from_command_line(program: Program) -> Self {
        Self::of_program(program, std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Parses `words` as arguments of `txt2img`. The first is the program's name.
    ///
    /// # Errors
    /// The errors of [`Self::of_program`].
    pub fn try_from_words(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::of_program(Program::Txt2Img, words)
    }

    /// Parses `words`, of which the first is the program's name.
    ///
    /// # Errors
    /// If a flag is unknown or ambiguous, or its value is invalid; also on `--help`, which clap reports as an error.
    pub fn of_program(program: Program, words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().collect();
        let mut command = command(program, words.iter().any(|word| word == "-h"));
        let words = expand::expand(&command, words)?;
        command = command.color(color(&words));
        let args = Self::parse_expanded(&mut command, &words).and_then(|args| {
            let swept = sweep::sweep(&mut command, &words, &args)?;
            Ok(Self { swept, ..args })
        });
        args.map_err(|error| misuse::explain(error, &command))
    }

    /// Parses `words`, in which [`expand::expand`] has completed all flags.
    fn parse_expanded(command: &mut clap::Command, words: &[OsString]) -> Result<Self, clap::Error> {
        let matches = command.try_get_matches_from_mut(words)?;
        let mut args = Self::from_arg_matches(&matches)?;
        let is_given = |arg: &&clap::Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        args.given =
            command.get_arguments().filter(is_given).filter_map(|arg| arg.get_long().map(Into::into)).collect();
        args.sampling.sampler = args
            .sampling
            .merged_sampler()
            .map_err(|reason| misuse::error(command, ErrorKind::ArgumentConflict, reason))?;
        args.program = Program::of(command);
        args.take_variables(&|name| std::env::var_os(name).filter(|value| !value.is_empty()));
        if args.program == Program::Img2Img {
            args.skip_watermark = !args.watermark;
            args.safety.get_or_insert(Action::Off);
            // The original has these flags and does not use them.
            args.fixed_code = false;
            args.sampling.factor = SamplingParams::default().factor as i64;
        }
        Ok(args)
    }

    /// Returns the value of `--color` for messages.
    pub fn color_choice(&self) -> anstream::ColorChoice {
        match self.color {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        }
    }

    /// Takes the model and the output folder from environment variables, if the flags do not name them. A picture to redraw names its
    /// model.
    fn take_variables(&mut self, variable: &dyn Fn(&str) -> Option<OsString>) {
        if self.ckpt.is_none() && self.replay.is_none() {
            self.ckpt = variable("TXT2IMG_CKPT").map(PathBuf::from);
        }
        if !self.is_given("outdir") {
            self.outdir = variable("TXT2IMG_OUTDIR").map_or_else(|| self.outdir.clone(), PathBuf::from);
        }
    }

    /// Whether flag `name` (in full, without dashes) is on the command line.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|given| given == name)
    }
}
