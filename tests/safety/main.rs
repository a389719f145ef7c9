//! The safety checker, against diffusers' own with a small made-up model.

#[path = "../support/mod.rs"]
mod support;

mod preprocessing;
