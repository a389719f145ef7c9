//! The safety checker against that of diffusers, with a tiny random model.

mod actions;
mod broken;
mod preprocessing;
mod program;
mod verdicts;

use crate::support::{fixture, read_png};
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use txt2img::output::Picture;

/// The part of the fixture that is not tensors: `vision_config`, `flags`, `special_flags`.
fn safety_json() -> Value {
    serde_json::from_slice(&fs::read(fixture("safety/safety.json")).unwrap()).unwrap()
}

fn picture(index: usize) -> Picture {
    read_png(&fixture(&format!("safety/image{index}.png")))
}

/// Writes a safety checker's folder as Hugging Face does.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    write_config(folder.path(), &safety_json());
    fs::copy(fixture("safety/model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    folder
}

fn write_config(folder: &Path, config: &Value) {
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

/// An image of one grey level.
fn even(width: usize, height: usize, level: u8) -> Picture {
    Picture { width, height, rgb: vec![level; 3 * width * height] }
}
