//! Stable Diffusion 1.x in Rust: the engine behind the command `txt2img`, for other programs to use.
//!
//! The modules of this file stand in the order data flows through them: arguments → job → prompts → tokens → context →
//! latents → picture → file. Maps are channels last, (B, h, w, C), everywhere.
//!
//! ```
//! use candle_core::{DType, Tensor};
//! use txt2img::demo;
//! use txt2img::device::DeviceSpecs;
//! use txt2img::diffusion::samplers::{Kind, SamplerConfig, Spacing};
//! use txt2img::engine::{Batch, Engine, Observer, SeedNoise};
//! use txt2img::params::SamplingParams;
//! use txt2img::rng::Rng;
//! use txt2img::text::Reading;
//!
//! /// Prints progress. An engine calls its observer after each step; an error there stops it.
//! struct Steps;
//!
//! impl Observer for Steps {
//!     fn on_step(&mut self, i: usize, _x: &Tensor, _x0: &Tensor) -> anyhow::Result<()> {
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
//! let mut engine = Engine::load(&checkpoint, &config, &device, DType::F32, Reading::default(), &mut Steps)?;
//!
//! // One image of 256×256 pixels, from seed 42.
//! let sampler = SamplerConfig { kind: Kind::DpmSolver, steps: 10, eta: 0., spacing: Spacing::Discrete };
//! let params = SamplingParams { height: 256, width: 256, sampler, ..SamplingParams::default() };
//! let batch = Batch { prompts: vec![("a photo of a pink cube, black background", "")], params };
//! let mut noise = SeedNoise::new(Rng::default(), 42);
//! for image in engine.render(&batch, &mut noise, &mut Steps)? {
//!     let picture = image.picture()?;
//!     let (width, height) = (picture.width as u32, picture.height as u32);
//!     image::save_buffer(&file, &picture.rgb, width, height, image::ColorType::Rgb8)?;
//! }
//! # Ok(())
//! # }
//! ```

// What the user asks for.
pub mod args;

pub mod job;

pub mod prompts;

pub mod params;

// How it is drawn: prompt → tokens → context → latents → picture → file.
pub mod txt2img;

pub mod commands;

pub mod engine;

pub mod conventions;

pub mod text;

pub mod diffusion;

pub mod vae;

pub mod safety;

pub mod output;

pub mod outdir;

// Used by the stages above, knowing none of them.
pub mod rng;

pub mod shard;

pub mod by_name;

pub(crate) mod json;

pub(crate) mod ranges;

pub mod files;

pub mod checkpoint;

pub mod config;

pub mod demo;

pub mod device;

pub mod interrupt;

pub mod progress;

pub(crate) mod timings;

pub mod ops;
