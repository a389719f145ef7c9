//! Stable Diffusion 1.x: the engine of the commands `txt2img` and `img2img`, for other programs to use.
//!
//! The modules below are in the order of the data flow: arguments → job → tasks → engine (text → diffusion → vae) →
//! writer → files. Imports point down this list only. Maps are channels last, (B, h, w, C), everywhere.
//!
//! # Example
//!
//! Draws a picture with the built-in demo model and saves it:
//!
//! ```
//! # fn main() -> anyhow::Result<()> {
//! # std::env::set_current_dir(tempfile::tempdir()?.keep())?;
//! txt2img::Model::demo()?.draw("a photo of a red ball, black background")?.save("ball.png")?;
//! # Ok(())
//! # }
//! ```
//!
//! Draws several with other parameters. The weights are loaded once:
//!
//! ```
//! use txt2img::Model;
//! use txt2img::diffusion::samplers::{Kind, SamplerConfig};
//!
//! # fn main() -> anyhow::Result<()> {
//! # std::env::set_current_dir(tempfile::tempdir()?.keep())?;
//! let model = Model::demo()?; // or Model::open("v1-5-pruned-emaonly.safetensors")?
//! let mut model = model.load()?;
//! let mut drawing = model.drawing("a photo of a blue cone, black background");
//! drawing.params.sampler = SamplerConfig { kind: Kind::DpmSolver, steps: 10, ..SamplerConfig::default() };
//! for seed in 1..=2 {
//!     drawing.seed = seed;
//!     model.draw(&drawing)?.save(format!("cone-{seed}.png"))?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`engine`] has everything else: batches, LoRAs, input pictures, progress.
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

// For other programs. What else they need is documented; the rest is public for the tests and benchmarks alone.
mod model;

pub use model::{Drawing, LoadedModel, Model};
pub use output::Picture;

// From the command line to a job.
#[doc(hidden)]
pub mod args;

#[doc(hidden)]
pub mod job;

#[doc(hidden)]
pub mod prompts;

pub mod params;

// Commands: the one that draws, and the others.
#[doc(hidden)]
pub mod txt2img;

#[doc(hidden)]
pub mod commands;

// From prompts to pixels.
pub mod engine;

#[doc(hidden)]
pub mod conventions;

pub mod text;

pub mod diffusion;

#[doc(hidden)]
pub mod vae;

#[doc(hidden)]
pub mod safety;

// From pixels to files.
pub mod output;

#[doc(hidden)]
pub mod outdir;

// Used by the modules above, and independent of them.
pub mod rng;

pub mod checkpoint;

pub mod config;

pub mod demo;

pub mod device;

#[doc(hidden)]
pub mod files;

#[doc(hidden)]
pub mod interrupt;

#[doc(hidden)]
pub mod progress;

pub(crate) mod terminal;

pub(crate) mod timings;

#[doc(hidden)]
pub mod shard;

#[doc(hidden)]
pub mod usage;

#[doc(hidden)]
pub mod by_name;

pub(crate) mod as_text;

pub(crate) mod json;

pub(crate) mod ranges;

mod human;

#[doc(hidden)]
pub mod ops;
