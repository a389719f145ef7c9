//! Textual inversions and clip skip, against transformers.

mod contexts;
mod files;
mod prompts;

use crate::support::fixture;
use candle_core::Tensor;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::PathBuf;
use tempfile::TempDir;
use txt2img::checkpoint::Embedding;

/// The width of the small model's tokens.
const WIDTH: usize = 32;

/// The fixtures, with the names that they have in prompts.
const FILES: [(&str, &str); 3] =
    [("EasyNeg.safetensors", "EasyNeg"), ("bad-hands-5.pt", "bad-hands-5"), ("charturner.bin", "charturner")];

/// A prompt with its ids.
#[derive(Deserialize)]
struct Case {
    prompt: String,
    clip_skip: usize,
    ids: Vec<u32>,
}

fn cases() -> Vec<Case> {
    #[derive(Deserialize)]
    struct Cases {
        cases: Vec<Case>,
    }
    let json = std::fs::read(fixture("embeddings/cases.json")).unwrap();
    serde_json::from_slice::<Cases>(&json).unwrap().cases
}

fn path(file: &str) -> PathBuf {
    fixture(&format!("embeddings/{file}"))
}

/// Opens the fixtures.
fn embeddings() -> Vec<Embedding> {
    FILES.iter().map(|(file, name)| Embedding::open(&path(file), name, WIDTH).unwrap()).collect()
}

/// Writes tensors to a `.safetensors` file.
fn written(tensors: &[(&str, Tensor)]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("word.safetensors");
    let tensors: HashMap<_, _> = tensors.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    candle_core::safetensors::save(&tensors, &file).unwrap();
    (folder, file)
}

/// Returns an embedding of `count` vectors.
fn made(name: &str, count: usize) -> Embedding {
    let vectors = Tensor::ones((count, WIDTH), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    let (_folder, file) = written(&[("emb_params", vectors)]);
    Embedding::open(&file, name, WIDTH).unwrap()
}
