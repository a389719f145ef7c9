//! From a prompt to pixels: configs, text, samplers, networks, kernels, and the original's own runs.

mod config;
mod conventions;
mod cuda_emulation;
mod demo;
mod models;
mod non_finite;
mod ops;
mod params;
mod prompts;
mod reference_cases;
mod rng;
mod safety;
mod samplers;
#[path = "../support/mod.rs"]
mod support;
mod text;
