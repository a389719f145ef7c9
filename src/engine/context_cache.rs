//! Contexts of prompts, each encoded once.

use super::Model;
use crate::text::{Reading, Tokens};
use anyhow::Result;
use candle_core::Tensor;
use std::collections::HashMap;

/// The largest number of contexts kept. Stable Diffusion's take 236 kB for every 75 tokens.
const CAPACITY: usize = 256;

/// A cache of contexts by prompt. Each prompt is encoded by itself, so its context does not depend on its batch.
pub struct ContextCache {
    reading: Reading,
    contexts: HashMap<String, Tensor>, // (1, M, C)
}

impl ContextCache {
    /// Returns an empty cache. `reading`: the options for reading prompts.
    pub fn new(reading: Reading) -> Self {
        Self { reading, contexts: HashMap::new() }
    }

    /// Returns the context of `prompt`, (1, M, C). `on_cut` is called with a sentence about words that do not fit.
    pub fn get(&mut self, prompt: &str, model: &Model, on_cut: &mut dyn FnMut(&str)) -> Result<Tensor> {
        if let Some(context) = self.contexts.get(prompt) {
            return Ok(context.clone());
        }
        let tokens = model.read(prompt, self.reading)?;
        if !tokens.cut.is_empty() {
            let room = tokens.chunks() * Tokens::ROOM;
            on_cut(&format!("CLIP reads {room} tokens of a prompt; these words of it are left out: {}", tokens.cut));
        }
        let context = model.context(&[tokens])?; // (1, M, C)
        if self.contexts.len() == CAPACITY {
            self.contexts.clear();
        }
        self.contexts.insert(prompt.to_owned(), context.clone());
        Ok(context)
    }
}
