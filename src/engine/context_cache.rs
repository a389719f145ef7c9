//! Contexts of prompts, each encoded once.

use super::Model;
use crate::human::truncated;
use crate::text::{Reading, Tokens};
use anyhow::Result;
use candle_core::Tensor;
use std::collections::HashMap;

/// The largest number of contexts kept of each clip skip. Stable Diffusion's take 236 kB for every 75 tokens.
const CAPACITY: usize = 256;

/// The most characters of a prompt that a note quotes.
const MAX_CHARS: usize = 1000;

/// A cache of contexts by prompt and clip skip. Each prompt is encoded by itself, so its context does not depend on its batch.
pub struct ContextCache {
    reading: Reading,
    /// By clip skip, then by prompt.
    contexts: HashMap<usize, HashMap<String, Tensor>>, // (1, M, C) each
}

impl ContextCache {
    /// Returns an empty cache. `reading`: the options for reading prompts.
    pub fn new(reading: Reading) -> Self {
        Self { reading, contexts: HashMap::new() }
    }

    /// Returns the context of `prompt`, (1, M, C). `on_cut` is called with a sentence about words that do not fit.
    pub fn get(
        &mut self,
        prompt: &str,
        clip_skip: usize,
        model: &Model,
        on_cut: &mut dyn FnMut(&str),
    ) -> Result<Tensor> {
        let contexts = self.contexts.entry(clip_skip).or_default();
        if let Some(context) = contexts.get(prompt) {
            return Ok(context.clone());
        }
        let tokens = model.read(prompt, self.reading)?;
        if !tokens.cut.is_empty() {
            let room = tokens.chunks() * Tokens::ROOM;
            let cut = truncated(&tokens.cut, MAX_CHARS);
            on_cut(&format!("a prompt is longer than the {room} tokens that CLIP reads; the rest is ignored: {cut}"));
        }
        let context = model.context_with(&[tokens], clip_skip)?; // (1, M, C)
        if contexts.len() == CAPACITY {
            contexts.clear();
        }
        contexts.insert(prompt.to_owned(), context.clone());
        Ok(context)
    }
}
