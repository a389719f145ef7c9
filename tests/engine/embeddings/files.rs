//! Files that are embeddings, and those that are not.

use super::{FILES, WIDTH, embeddings, path, written};
use crate::support::fixture;
use candle_core::{DType, Device, Tensor};
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use txt2img::checkpoint::Embedding;

fn zeros(shape: &[usize], dtype: DType) -> Tensor {
    Tensor::zeros(shape, dtype, &Device::Cpu).unwrap()
}

/// Asserts that a file is refused with one sentence that names it.
#[track_caller]
fn is_refused(path: &Path, reason: &str) {
    let error = Embedding::open(path, "x", WIDTH).unwrap_err().to_string();
    assert!(error.starts_with(&format!("'{}' ", path.display())), "{error}");
    assert!(error.contains(reason), "{error}\ninstead of\n{reason}");
    assert!(!error.contains('\n'), "{error}");
}

#[track_caller]
fn tensors_are_refused(tensors: &[(&str, Tensor)], reason: &str) {
    let (_folder, file) = written(tensors);
    is_refused(&file, reason);
}

#[track_caller]
fn bytes_are_refused(bytes: &[u8], reason: &str) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("x.pt");
    fs::write(&file, bytes).unwrap();
    is_refused(&file, reason);
}

#[test]
fn all_formats_are_read() {
    let counts = embeddings().iter().map(Embedding::count).collect::<Vec<_>>();
    assert_eq!(counts, [4, 2, 1]);
    for embedding in embeddings() {
        assert_eq!(embedding.vectors().len(), embedding.count() * WIDTH);
        assert_eq!(embedding.sha256().len(), 64);
    }
    // diffusers' names are those of tokens.
    for shape in [&[WIDTH][..], &[1, WIDTH]] {
        let (_folder, file) = written(&[("<cat-toy>", zeros(shape, DType::BF16))]);
        assert_eq!(Embedding::open(&file, "x", WIDTH).unwrap().count(), 1);
    }
}

#[test]
fn other_widths_are_refused() {
    for (width, reason) in [
        (768, "has vectors of width 768 (those of Stable Diffusion 1.x), but the tokens of the model have width 32"),
        (1024, "has vectors of width 1024 (those of Stable Diffusion 2.x)"),
        (1280, "has vectors of width 1280 (those of Stable Diffusion XL)"),
        (33, "has vectors of width 33, but"),
    ] {
        tensors_are_refused(&[("emb_params", zeros(&[2, width], DType::F32))], reason);
    }
    let xl = [("clip_l", zeros(&[2, 768], DType::F32)), ("clip_g", zeros(&[2, 1280], DType::F32))];
    tensors_are_refused(&xl, "is an embedding for Stable Diffusion XL");
}

#[test]
fn odd_tensors_are_refused() {
    for (tensor, reason) in [
        (zeros(&[0, WIDTH], DType::F32), "has 0 vectors, but an embedding has 1 to 75"),
        (zeros(&[76, WIDTH], DType::F32), "has 76 vectors, but an embedding has 1 to 75"),
        (zeros(&[1, 1, WIDTH], DType::F32), "holds a tensor of shape [1, 1, 32], not vectors"),
        (zeros(&[], DType::F32), "holds a tensor of shape [], not vectors"),
        (zeros(&[1, WIDTH], DType::I64), "holds its vectors as I64, not as floating point numbers"),
        ((zeros(&[1, WIDTH], DType::F32) + f64::NAN).unwrap(), "contains NaN or infinite values"),
        ((zeros(&[1, WIDTH], DType::F16) + f64::INFINITY).unwrap(), "contains NaN or infinite values"),
    ] {
        tensors_are_refused(&[("emb_params", tensor)], reason);
    }
    tensors_are_refused(
        &[("a", zeros(&[1, WIDTH], DType::F32)), ("b", zeros(&[1, WIDTH], DType::F32))],
        "holds 2 tensors, but an embedding is one",
    );
}

#[test]
fn other_models_are_refused() {
    let lora = zeros(&[4, WIDTH], DType::F32);
    tensors_are_refused(&[("lora_unet_x.lora_down.weight", lora)], "is a LoRA, not an embedding; give a .pt");
    is_refused(&fixture("nano.ckpt"), "is a checkpoint, not an embedding");
    is_refused(&fixture("embeddings"), "is a folder; give a .pt, .bin or .safetensors file");
    is_refused(&fixture("missing.pt"), "does not exist");
    bytes_are_refused(b"", "is empty");
    bytes_are_refused(b"just text", "is a text file, not an embedding");
    bytes_are_refused(b"<!doctype html><html>", "is a web page, not an embedding");
    bytes_are_refused(b"version https://git-lfs.github.com/spec/v1\nsize 7\n", "not the embedding itself");
}

#[test]
fn truncated_files_are_refused() {
    for (file, _) in FILES {
        let bytes = fs::read(path(file)).unwrap();
        for n in 0..bytes.len() {
            bytes_are_refused(&bytes[..n], "");
        }
    }
}

#[test]
fn damaged_files_are_read_or_refused() {
    let folder = TempDir::new().unwrap();
    let damaged = folder.path().join("x.pt");
    let mut state = 7u64;
    let mut below = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    for (file, _) in FILES {
        let whole = fs::read(path(file)).unwrap();
        for _ in 0..2000 {
            let mut bytes = whole.clone();
            for _ in 0..=below(3) {
                bytes[below(whole.len())] = below(256) as u8;
            }
            fs::write(&damaged, &bytes).unwrap();
            if let Ok(embedding) = Embedding::open(&damaged, "x", WIDTH) {
                assert_eq!(embedding.vectors().len(), embedding.count() * WIDTH);
                assert!(embedding.vectors().len() <= bytes.len());
            }
        }
    }
}
