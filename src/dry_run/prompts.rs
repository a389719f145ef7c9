//! What becomes of the prompts: how wildcards fall out, and which words find no room.

use super::{MOST_ROWS, Row, listed};
use crate::job::Job;
use crate::text::{Tokenizer, Tokens};
use anyhow::Result;
use std::collections::HashSet;

/// Pictures whose prompts are looked at; more take too long.
const MOST_READ: usize = 100_000;

/// Characters of the words that are shown.
const MOST_CHARS: usize = 200;

/// All prompts of the run, read.
pub struct Prompts {
    /// How wildcards fall out for the first few pictures.
    wordings: Vec<String>,
    /// The words left out of each prompt that has such.
    cut: Vec<String>,
    /// Pictures that were not looked at.
    unread: usize,
    /// Different prompts, negative ones included.
    pub different: usize,
    /// Times CLIP reads the longest.
    pub chunks: usize,
}

impl Prompts {
    /// # Errors
    /// When emphasis weighs beyond all measure.
    pub fn read(job: &Job) -> Result<Self> {
        let tokenizer = Tokenizer::new()?;
        let mut prompts = Self { wordings: vec![], cut: vec![], unread: 0, different: 0, chunks: 1 };
        let mut seen = HashSet::new();
        // Only wildcards tell one iteration from the next.
        let all = job.images.requests.lines().len() * if job.images.wildcards { job.images.iterations } else { 1 };
        prompts.unread = all.saturating_sub(MOST_READ);
        let what = if job.images.wildcards { "picture" } else { "prompt" };
        for image in job.images.batches().flat_map(|batch| batch.images).take(all.min(MOST_READ)) {
            let number = image.number + 1;
            if job.images.wildcards && prompts.wordings.len() < MOST_ROWS {
                prompts.wordings.push(format!("{what} {number}: {}", shown(&image.prompt)));
            }
            for (kind, text) in [("", &*image.prompt), (", what to avoid", image.negative)] {
                if seen.insert(text.to_owned()) {
                    let tokens = tokenizer.tokenize(text, job.images.reading)?;
                    prompts.add(&format!("{what} {number}{kind}"), &tokens);
                }
            }
        }
        prompts.different = seen.len();
        Ok(prompts)
    }

    fn add(&mut self, which: &str, tokens: &Tokens) {
        self.chunks = self.chunks.max(tokens.chunks());
        if !tokens.cut.is_empty() {
            self.cut.push(format!("{which}: {}", shown(&tokens.cut)));
        }
    }

    /// Wordings, then what is cut.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = listed("wording", &self.wordings);
        match &self.cut[..] {
            [] => rows.push(Row::new("words cut", "none")),
            cut => rows.extend(listed("words cut", cut)),
        }
        if self.unread > 0 {
            rows.push(Row::new("words cut", format_args!("{} more prompts are not looked at", self.unread)));
        }
        rows
    }
}

fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let shown: String = chars.by_ref().take(MOST_CHARS).collect();
    if chars.next().is_some() { shown + "…" } else { shown }
}
