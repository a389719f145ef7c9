//! The texts of a prompt in the course of sampling.

use super::composition::{Subprompt, subprompts};
use super::timeline::{PassSteps, Timeline};
use super::{Reading, emphasis};
use anyhow::Result;
use std::collections::BTreeSet;

/// A prompt in the course of sampling: one or more subprompts, whose words may change.
pub struct Phases<'a> {
    /// The subprompts with their weights and the last step of each text.
    subprompts: Vec<(Timeline<'a>, BTreeSet<usize>, f64)>,
}

/// A part of sampling during which a prompt does not change.
#[derive(Clone, PartialEq, Debug)]
pub struct Phase {
    /// The first evaluation of the model with these texts, from 0.
    pub first: usize,
    /// The text of each subprompt with its weight.
    pub subprompts: Vec<(String, f64)>,
}

impl<'a> Phases<'a> {
    /// Parses a prompt for the steps of a pass.
    ///
    /// # Errors
    /// If the weight of a subprompt is beyond ±1000.
    pub fn of_prompt(prompt: &'a str, reading: Reading, steps: impl Into<PassSteps>) -> Result<Self> {
        let whole = Subprompt { text: prompt, weight: 1. };
        Ok(Self::new(if reading.web_ui { subprompts(prompt)? } else { vec![whole] }, reading, steps.into()))
    }

    /// Parses a negative prompt for the steps of a pass. It has no subprompts, so `AND` is a word in it.
    pub fn of_negative(prompt: &'a str, reading: Reading, steps: impl Into<PassSteps>) -> Self {
        Self::new(vec![Subprompt { text: prompt, weight: 1. }], reading, steps.into())
    }

    fn new(subprompts: Vec<Subprompt<'a>>, reading: Reading, steps: PassSteps) -> Self {
        let timeline = |Subprompt { text, weight }| {
            let timeline =
                if reading.web_ui { Timeline::new(text, steps) } else { Timeline::unchanging(text, steps.steps) };
            let ends = timeline.ends();
            (timeline, ends, weight)
        };
        Self { subprompts: subprompts.into_iter().map(timeline).collect() }
    }

    /// Returns the phases in order. A text whose last step is n lasts up to evaluation n counted from 0, so the first one
    /// lasts for one evaluation more than the others, as in the web UI.
    pub fn iter(&self) -> impl Iterator<Item = Phase> {
        let mut firsts = BTreeSet::from([0]);
        for (_, ends, _) in &self.subprompts {
            // Nothing follows the last one.
            firsts.extend(ends.iter().rev().skip(1).map(|end| end + 1));
        }
        firsts.into_iter().map(|first| Phase { first, subprompts: self.texts_at(first) })
    }

    /// Returns the subprompts in evaluation `number`, from 0.
    fn texts_at(&self, number: usize) -> Vec<(String, f64)> {
        let text = |(timeline, ends, weight): &(Timeline, BTreeSet<usize>, f64)| {
            let end = ends.range(number..).next().or(ends.last()).copied().unwrap_or(number);
            (timeline.text_at(end), *weight)
        };
        self.subprompts.iter().map(text).collect()
    }
}

/// Returns all texts of a prompt and a negative prompt, each once. `passes`: the steps of each pass.
///
/// # Errors
/// If the weight of a subprompt is beyond ±1000.
pub fn texts((prompt, negative): (&str, &str), reading: Reading, passes: &[PassSteps]) -> Result<BTreeSet<String>> {
    let mut texts = BTreeSet::new();
    for steps in passes {
        let (prompt, negative) =
            (Phases::of_prompt(prompt, reading, *steps)?, Phases::of_negative(negative, reading, *steps));
        let subprompts = prompt.iter().chain(negative.iter()).flat_map(|phase| phase.subprompts);
        texts.extend(subprompts.map(|(text, _)| text));
    }
    Ok(texts)
}

/// Checks the weights in a prompt and a negative prompt. `passes`: the steps of each pass.
///
/// # Errors
/// If a weight is beyond ±1000.
pub fn check_weights(prompts: (&str, &str), reading: Reading, passes: &[PassSteps]) -> Result<()> {
    let check = |text: &str| emphasis::parts(text).map(drop);
    match reading {
        Reading { web_ui: true, .. } => texts(prompts, reading, passes)?.iter().try_for_each(|text| check(text)),
        Reading { emphasis: true, .. } => [prompts.0, prompts.1].into_iter().try_for_each(check),
        _ => Ok(()),
    }
}
