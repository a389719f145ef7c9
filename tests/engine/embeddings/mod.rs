//! Textual inversions and clip skip, against transformers.

mod contexts;

use crate::support::fixture;
use serde::Deserialize;

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
