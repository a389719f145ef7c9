//! Stable Diffusion 1.x: the engine of the commands `txt2img` and `img2img`, for other programs to use.
//!
//! The modules below are in the order of the data flow: arguments → job → tasks → engine (text → diffusion → vae) →
//! writer → files. Imports point down this list only. Maps are channels last, (B, h, w, C), everywhere.
//!
//! # Example
//!
//! Draws a picture with the bundled demo model and saves it:
//!
//! ```
//! use candle_core::{DType, Tensor};
//! use txt2img::checkpoint::lora::Loras;
//! use txt2img::demo;
//! use txt2img::device::DeviceSpecs;
//! use txt2img::diffusion::samplers::{Kind, SamplerConfig, Spacing};
//! use txt2img::engine::{Batch, Engine, Observer, Preview, SeedNoise};
//! use txt2img::params::SamplingParams;
//! use txt2img::rng::Rng;
//! use txt2img::text::Reading;
//!
//! /// Prints progress. An engine calls its observer after each step; an error there stops it.
//! struct Steps;
//!
//! impl Observer for Steps {
//!     fn on_step(&mut self, i: usize, _x: &Tensor, _x0: &Tensor, _preview: &Preview) -> anyhow::Result<()> {
//!         eprintln!("step {}", i + 1);
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> anyhow::Result<()> {
//! # let folder = tempfile::tempdir()?;
//! # let file = folder.path().join("cube.png");
//! // The bundled demo model, on the CPU.
//! let (checkpoint, config) = (demo::checkpoint()?, demo::config()?);
//! let device = "cpu".parse::<DeviceSpecs>().map_err(anyhow::Error::msg)?.open(None)?.remove(0);
//! let (loras, reading) = (Loras::default(), Reading::default());
//! let mut engine = Engine::load(&checkpoint, &config, &loras, &device, DType::F32, reading, &mut Steps)?;
//!
//! // One image of 256×256 pixels, from seed 42.
//! let sampler = SamplerConfig { kind: Kind::DpmSolver, steps: 10, ..SamplerConfig::default() };
//! let params = SamplingParams { height: 256, width: 256, sampler, ..SamplingParams::default() };
//! let prompts = vec![("a photo of a pink cube, black background", "")];
//! let batch = Batch { prompts, params, input: None };
//! let mut noise = SeedNoise::new(Rng::default(), 42);
//! for image in engine.render(&batch, &mut noise, &mut Steps)? {
//!     let picture = image.picture()?;
//!     let (width, height) = (picture.width as u32, picture.height as u32);
//!     image::save_buffer(&file, &picture.rgb, width, height, image::ColorType::Rgb8)?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Glossary
//!
//! Terms of this crate, beside those of the field:
//!
//! - **run**: everything that one command line draws, by one or several processes, with or without interruptions.
//! - **request**: a prompt with its parameters; each iteration (`--n_iter`) draws all requests once.
//! - **input**: a picture that images start from (`--init-img`).
//! - **region**: the part of an input that is drawn anew (`--mask`, `--outpaint`). **Mask**: the levels that mark it.
//! - **batch**: images that are sampled together and share the noise of the original's batch.
//! - **pass**: one run of a sampler over a batch. The second pass (`--hires`) starts from the enlarged latents of the first.
//! - **task**: a batch that this process draws, with the position of its noise.
//! - **shard**: the part of a run's batches that one of several processes draws (`--shard`).
//! - **position**: the state of a random number generator, as the distance from the start of its stream. **Origin**: the
//!   seed and the positions that an image's noise comes from.
//! - **record**: the metadata of a picture, sufficient to draw it again.
//! - **journal**: the write-ahead log of a run, `run.jsonl`. **Spool**: the hidden folder of pictures that a grid or a sheet
//!   still needs.
//! - **overview**: a grid, or the sheet and the page of a sweep.
//! - **conventions**: how a model is to be sampled from, apart from its shapes: prediction, noise schedule, scale factor.
//! - **packed**: laid out for the kernels of one device, as weights are when they are loaded.
//! - **plain**: made of candle's own operations only. The plain version of an operation defines it.

// From the command line to a job.
pub mod args;

pub mod job;

pub mod prompts;

pub mod params;

// Commands: the one that draws, and the others.
pub mod txt2img;

pub mod commands;

// From prompts to pixels.
pub mod engine;

pub mod conventions;

pub mod text;

pub mod diffusion;

pub mod vae;

pub mod safety;

// From pixels to files.
pub mod output;

pub mod outdir;

// Used by the modules above, and independent of them.
pub mod rng;

pub mod checkpoint;

pub mod config;

pub mod demo;

pub mod device;

pub mod files;

pub mod interrupt;

pub mod progress;

pub(crate) mod terminal;

pub(crate) mod timings;

pub mod shard;

pub mod usage;

pub mod by_name;

pub(crate) mod as_text;

pub(crate) mod json;

pub(crate) mod ranges;

mod human;

pub mod ops;
