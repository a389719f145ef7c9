//! The prompts of a run: the choices of wildcards, and the words beyond CLIP's limit.

use super::{MAX_ROWS, Row, list_rows};
use crate::human::truncated;
use crate::job::Job;
use crate::text::composition::subprompts;
use crate::text::{Phases, Reading, Tokenizer, Tokens};
use anyhow::Result;
use std::collections::HashSet;

/// The most images whose prompts are read: reading more takes too long.
const MAX_READ: usize = 100_000;

/// The most characters of a text that are shown.
const MAX_CHARS: usize = 200;

/// The prompts of a run.
pub struct Prompts {
    /// The prompts of the first few images, with their wildcards replaced.
    wordings: Vec<String>,
    /// The words cut from each prompt that is too long.
    cut: Vec<String>,
    /// The largest number of subprompts joined by `AND`.
    subprompts: usize,
    /// The time that a UNet pass of such a prompt takes, as a multiple of that of one subprompt.
    slowdown: f64,
    /// The number of images whose prompts were not read.
    unread: usize,
}

impl Prompts {
    /// Tokenizes the prompts of a job, as they are at the beginning of sampling.
    ///
    /// # Errors
    /// If the weights of emphasis multiply to infinity.
    pub fn read(job: &Job) -> Result<Self> {
        let tokenizer = Tokenizer::new()?.with_embeddings(&job.model.embeddings)?;
        let mut prompts = Self { wordings: vec![], cut: vec![], subprompts: 1, slowdown: 1., unread: 0 };
        let mut seen = HashSet::new();
        // Without wildcards all iterations have the same prompts.
        let all = job.images.requests.n_requests() * if job.images.wildcards { job.images.iterations } else { 1 };
        prompts.unread = all.saturating_sub(MAX_READ);
        let noun = if job.images.wildcards { "picture" } else { "prompt" };
        for (image, params) in job.images.with_params().take(all.min(MAX_READ)) {
            let number = image.number + 1;
            if job.images.wildcards && prompts.wordings.len() < MAX_ROWS {
                prompts.wordings.push(format!("{noun} {number}: {}", truncated(&image.prompt, MAX_CHARS)));
            }
            if job.images.reading.web_ui {
                let n = subprompts(&image.prompt)?.len();
                prompts.subprompts = prompts.subprompts.max(n);
                prompts.slowdown = prompts.slowdown.max(params.n_contexts(n) as f64 / params.n_contexts(1) as f64);
            }
            let steps = params.sampler.prompt_steps(params.sampler.steps);
            for (kind, text) in first_texts((&image.prompt, image.negative), job.images.reading, steps)? {
                if !seen.contains(&text) {
                    let tokens = tokenizer.tokenize(&text, job.images.reading)?;
                    prompts.add(&format!("{noun} {number}{kind}"), &tokens);
                    seen.insert(text);
                }
            }
        }
        Ok(prompts)
    }

    /// Adds the words that were cut from a prompt. `which`: the name of the prompt.
    fn add(&mut self, which: &str, tokens: &Tokens) {
        if !tokens.cut.is_empty() {
            self.cut.push(format!("{which}: {}", truncated(&tokens.cut, MAX_CHARS)));
        }
    }

    /// Returns the lines of the report.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = list_rows("wording", &self.wordings);
        if self.subprompts > 1 {
            let Self { subprompts, slowdown, .. } = self;
            let row = format_args!("up to {subprompts}; a UNet pass takes {slowdown} times as long");
            rows.push(Row::new("subprompts", row));
        }
        match &self.cut[..] {
            [] => rows.push(Row::new("words cut", "none")),
            cut => rows.extend(list_rows("words cut", cut)),
        }
        if self.unread > 0 {
            rows.push(Row::new("words cut", format_args!("{} more prompts were not checked", self.unread)));
        }
        rows
    }
}

/// Returns the texts of a prompt and a negative prompt at the beginning of sampling, with a description of each.
/// `steps`: the number of steps, as prompts count them.
fn first_texts(
    (prompt, negative): (&str, &str),
    reading: Reading,
    steps: usize,
) -> Result<Vec<(&'static str, String)>> {
    let (prompt, negative) =
        (Phases::of_prompt(prompt, reading, steps)?, Phases::of_negative(negative, reading, steps));
    let first = |phases: Phases| phases.iter().next().map_or(vec![], |phase| phase.subprompts);
    let described = |kind| move |(text, _)| (kind, text);
    let (prompts, negatives) = (first(prompt), first(negative));
    Ok(prompts
        .into_iter()
        .map(described(""))
        .chain(negatives.into_iter().map(described(", negative prompt")))
        .collect())
}
