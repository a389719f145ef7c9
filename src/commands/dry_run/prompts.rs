//! The prompts: the choices of wildcards, and words beyond CLIP's limit.

use super::{MAX_ROWS, Row, listed};
use crate::job::Job;
use crate::text::{Tokenizer, Tokens};
use anyhow::Result;
use std::collections::HashSet;

/// The most images whose prompts are read; more take too long.
const MAX_READ: usize = 100_000;

/// The most characters shown of a text.
const MAX_CHARS: usize = 200;

/// The prompts of a run.
pub struct Prompts {
    /// The prompts of the first few images, with their wildcards chosen.
    wordings: Vec<String>,
    /// The words that each longer prompt loses.
    cut: Vec<String>,
    /// The number of images whose prompts were not read.
    unread: usize,
}

impl Prompts {
    /// Tokenizes the prompts of a job.
    ///
    /// # Errors
    /// If the weights of emphasis multiply to infinity.
    pub fn read(job: &Job) -> Result<Self> {
        let tokenizer = Tokenizer::new()?.with_embeddings(&job.model.embeddings)?;
        let mut prompts = Self { wordings: vec![], cut: vec![], unread: 0 };
        let mut seen = HashSet::new();
        // Without wildcards all iterations have the same prompts.
        let all = job.images.requests.lines().len() * if job.images.wildcards { job.images.iterations } else { 1 };
        prompts.unread = all.saturating_sub(MAX_READ);
        let what = if job.images.wildcards { "picture" } else { "prompt" };
        for image in job.images.batches().flat_map(|batch| batch.images).take(all.min(MAX_READ)) {
            let number = image.number + 1;
            if job.images.wildcards && prompts.wordings.len() < MAX_ROWS {
                prompts.wordings.push(format!("{what} {number}: {}", shown(&image.prompt)));
            }
            for (kind, text) in [("", &*image.prompt), (", what to avoid", image.negative)] {
                if seen.insert(text.to_owned()) {
                    let tokens = tokenizer.tokenize(text, job.images.reading)?;
                    prompts.add(&format!("{what} {number}{kind}"), &tokens);
                }
            }
        }
        Ok(prompts)
    }

    fn add(&mut self, which: &str, tokens: &Tokens) {
        if !tokens.cut.is_empty() {
            self.cut.push(format!("{which}: {}", shown(&tokens.cut)));
        }
    }

    /// The lines of the report.
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
    let shown: String = chars.by_ref().take(MAX_CHARS).collect();
    if chars.next().is_some() { shown + "…" } else { shown }
}
