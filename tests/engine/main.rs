//! The stages from prompt to picture: configs, text, samplers, networks, kernels, and whole runs of the original.

mod config;
mod conventions;
mod cuda_emulation;
mod demo;
mod embeddings;
mod fast;
mod hires;
mod inpainting;
mod lora;
mod models;
mod non_finite;
mod ops;
mod params;
mod prompts;
mod reference_cases;
mod rng;
mod safety;
mod samplers;
mod shortcuts;
#[path = "../support/mod.rs"]
mod support;
mod text;
