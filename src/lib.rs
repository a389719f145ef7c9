//! Stable Diffusion 1.x in Rust: the engine behind the command `txt2img`, for other programs to use.
//!
//! The modules of this file stand in the order data flows through them: arguments → job → prompts → tokens → context →
//! latents → picture → file. Maps are channels last, (B, h, w, C), everywhere.
//!
//! ```
//! use candle_core::{DType, Device};
//! use txt2img::checkpoint::Checkpoint;
//! use txt2img::config::ModelConfig;
//! use txt2img::diffusion::samplers::{Kind, SamplerConfig, Sampling, Spacing};
//! use txt2img::model::Model;
//! use txt2img::rng::Rng;
//!
//! # fn main() -> anyhow::Result<()> {
//! let config = ModelConfig::from_yaml("tests/fixtures/nano.yaml".as_ref())?;
//! let checkpoint = Checkpoint::open("tests/fixtures/nano.ckpt".as_ref())?;
//! let model = Model::load(&checkpoint, &config, &Device::Cpu, DType::F32, &|| ())?;
//!
//! let plan = SamplerConfig { kind: Kind::DpmSolver, steps: 10, eta: 0., spacing: Spacing::Discrete };
//! let mut noise = Rng::default().noise(42);
//! let start = noise.randn_latents((1, 8, 8, 4), &Device::Cpu)?;
//!
//! let context = model.context(&[model.tokens("a photo of a pink cube, black background")?])?;
//! let denoiser = model.denoiser(&model.uncond()?, &context, 7.5)?;
//! let mut on_step = |i: usize, _: &_, _: &_| Ok(println!("step {}", i + 1));
//! let mut sampling = Sampling { model: &*denoiser, noise: &mut *noise, on_step: &mut on_step };
//! let latents = plan.sample(model.schedule(), start, &mut sampling)?;
//! let picture = model.picture(&latents, 0)?;
//! assert_eq!((picture.width, picture.height), (64, 64));
//! # Ok(())
//! # }
//! ```

// What the user asks for.
pub mod args;

pub mod job;

pub mod prompts;

// How it is drawn: prompt → tokens → context → latents → picture → file.
pub mod txt2img;

pub mod plan;

pub mod model;

pub mod conventions;

pub mod text;

pub mod diffusion;

pub mod vae;

pub mod safety;

pub mod output;

// Used by the stages above, knowing none of them.
pub mod rng;

pub mod shard;

pub mod by_name;

pub mod hexadecimal;

pub mod json;

pub mod ranges;

pub mod unfinished;

pub mod checkpoint;

pub mod config;

pub mod demo;

pub mod device;

pub mod interrupt;

pub mod progress;

pub mod timings;

pub mod ops;
