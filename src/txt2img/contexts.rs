//! What prompts mean to the UNet, each encoded once.

use crate::job::Wish;
use crate::model::Model;
use crate::progress::Progress;
use anyhow::Result;
use candle_core::Tensor;
use std::collections::HashMap;

/// How many are kept; Stable Diffusion's have 236 kB each.
const MOST: usize = 256;

/// Contexts by prompt. Each prompt is encoded by itself: what it means does not depend on its neighbours.
pub struct Contexts<'a> {
    progress: &'a Progress,
    known: HashMap<String, Tensor>, // (1, 77, C)
}

impl<'a> Contexts<'a> {
    pub fn new(progress: &'a Progress) -> Self {
        Self { progress, known: HashMap::new() }
    }

    /// The prompts of a batch: (B, 77, C).
    pub fn of(&mut self, wishes: &[Wish], model: &Model) -> Result<Tensor> {
        let each = wishes.iter().map(|wish| self.context(wish.prompt, model)).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&each, 0)?)
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// One prompt: (1, 77, C).
    fn context(&mut self, prompt: &str, model: &Model) -> Result<Tensor> {
        if let Some(context) = self.known.get(prompt) {
            return Ok(context.clone());
        }
        let tokens = model.tokens(prompt)?;
        if !tokens.cut.is_empty() {
            let cut = &tokens.cut;
            self.progress.note(&format!("CLIP reads 75 tokens of a prompt; these words of it are left out: {cut}"));
        }
        let context = model.context(&[tokens])?; // (1, 77, C)
        if self.known.len() == MOST {
            self.known.clear();
        }
        self.known.insert(prompt.to_owned(), context.clone());
        Ok(context)
    }
}
