//! What prompts mean to the UNet, each encoded once.

use crate::model::Model;
use crate::progress::Progress;
use crate::text::{Reading, Tokens};
use anyhow::Result;
use candle_core::Tensor;
use std::collections::HashMap;

/// How many are kept; Stable Diffusion's have 236 kB for each 75 tokens.
const MOST: usize = 256;

/// Contexts by prompt. Each prompt is encoded by itself: what it means does not depend on its neighbours.
pub struct Contexts<'a> {
    progress: &'a Progress,
    reading: Reading,
    known: HashMap<String, Tensor>, // (1, M, C)
}

impl<'a> Contexts<'a> {
    pub fn new(progress: &'a Progress, reading: Reading) -> Self {
        Self { progress, reading, known: HashMap::new() }
    }

    /// One prompt's: (1, M, C).
    pub fn of(&mut self, prompt: &str, model: &Model) -> Result<Tensor> {
        if let Some(context) = self.known.get(prompt) {
            return Ok(context.clone());
        }
        let tokens = model.read(prompt, self.reading)?;
        self.tell_cut(&tokens);
        let context = model.context(&[tokens])?; // (1, M, C)
        if self.known.len() == MOST {
            self.known.clear();
        }
        self.known.insert(prompt.to_owned(), context.clone());
        Ok(context)
    }

    fn tell_cut(&self, tokens: &Tokens) {
        if !tokens.cut.is_empty() {
            let room = tokens.chunks() * Tokens::ROOM;
            let sentence =
                format!("CLIP reads {room} tokens of a prompt; these words of it are left out: {}", tokens.cut);
            self.progress.note(&sentence);
        }
    }
}
