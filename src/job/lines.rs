//! What is to be drawn, picture by picture, and which pictures share a batch.

use crate::diffusion::samplers::Plan;
use crate::rng::Origin;
use std::borrow::Cow;
use std::ops::Range;

/// One picture an iteration.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// What it shows.
    pub prompt: String,
    /// What guidance leads away from.
    pub negative: String,
    /// Where its own random numbers start; without, it takes part in the run's.
    pub seed: Option<u32>,
    /// What it shares with the pictures of its batch.
    pub settings: Settings,
}

/// What pictures must have in common to be drawn together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// Rows of latents.
    pub latent_height: usize,
    /// Columns of latents.
    pub latent_width: usize,
    /// Guidance scale.
    pub scale: f64,
    /// Which sampler, and how it steps.
    pub plan: Plan,
}

/// One picture of the run.
#[derive(Clone, PartialEq, Debug)]
pub struct Wish<'a> {
    /// Which of the run's, from 0.
    pub number: usize,
    /// What it shows.
    pub prompt: Cow<'a, str>,
    /// What guidance leads away from.
    pub negative: &'a str,
    /// Where its own random numbers start; without, it takes part in the run's.
    pub origin: Option<Origin>,
}

/// Pictures drawn together.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch<'a> {
    /// What they have in common.
    pub settings: Settings,
    /// One for each.
    pub wishes: Vec<Wish<'a>>,
}

/// Lines in the batches they are drawn in.
#[derive(Clone, PartialEq, Debug)]
pub struct Lines {
    lines: Vec<Line>,
    batches: Vec<Range<usize>>,
}

impl Lines {
    /// Neighbours that fit together share a batch, up to `most` of them.
    pub fn new(lines: Vec<Line>, most: usize) -> Self {
        let mut batches: Vec<Range<usize>> = vec![];
        for (i, line) in lines.iter().enumerate() {
            match batches.last_mut() {
                Some(batch) if batch.len() < most && lines[batch.start].goes_with(line) => batch.end = i + 1,
                _ => batches.push(i..i + 1),
            }
        }
        Self { lines, batches }
    }

    /// Every line.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// How many batches an iteration has.
    pub fn n_batches(&self) -> usize {
        self.batches.len()
    }

    /// The longest batch has so many pictures.
    pub fn longest(&self) -> usize {
        self.batches.iter().map(Range::len).max().unwrap_or(0)
    }

    /// The batches of one iteration after the other. first: of pictures that have seeds of their own because the run
    /// counts seeds up from it.
    pub fn batches(&self, iterations: usize, first: Option<u32>) -> impl Iterator<Item = Batch<'_>> {
        (0..iterations).flat_map(move |iteration| {
            self.batches.iter().map(move |range| Batch {
                settings: self.lines[range.start].settings,
                wishes: range.clone().map(|i| self.wish(iteration, i, first)).collect(),
            })
        })
    }

    fn wish(&self, iteration: usize, i: usize, first: Option<u32>) -> Wish<'_> {
        let Line { prompt, negative, seed, .. } = &self.lines[i];
        let number = iteration * self.lines.len() + i;
        // A line's own seed counts iterations, the run's counts pictures.
        let own = seed.map(|seed| seed.wrapping_add(iteration as u32));
        let seed = own.or(first.map(|first| first.wrapping_add(number as u32)));
        Wish { number, prompt: prompt.into(), negative, origin: seed.map(Origin::alone) }
    }
}

impl Line {
    /// Whether both may be in one batch: the run's stream of numbers and one's own do not mix.
    fn goes_with(&self, other: &Self) -> bool {
        self.settings == other.settings && self.seed.is_some() == other.seed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::samplers::{Kind, Spacing};

    fn line(prompt: &str, scale: f64, seed: Option<u32>) -> Line {
        let plan = Plan { kind: Kind::Ddim, steps: 50, eta: 0., spacing: Spacing::Discrete };
        let settings = Settings { latent_height: 8, latent_width: 8, scale, plan };
        Line { prompt: prompt.into(), negative: String::new(), seed, settings }
    }

    fn prompts(lines: Vec<Line>, most: usize) -> Vec<String> {
        let lines = Lines::new(lines, most);
        let prompt = |batch: Batch| batch.wishes.iter().map(|wish| &*wish.prompt).collect::<String>();
        lines.batches(1, None).map(prompt).collect()
    }

    #[test]
    fn neighbours_share_a_batch() {
        let alike = || ["a", "b", "c", "d", "e"].map(|prompt| line(prompt, 7.5, None)).to_vec();
        assert_eq!(prompts(alike(), 2), ["ab", "cd", "e"]);
        assert_eq!(prompts(alike(), 9), ["abcde"]);
    }

    #[test]
    fn what_differs_does_not_share_a_batch() {
        let lines = [line("a", 7.5, None), line("b", 7.5, None), line("c", 3., None), line("d", 7.5, None)];
        assert_eq!(prompts(lines.to_vec(), 9), ["ab", "c", "d"]);
        assert_eq!(prompts(vec![line("a", 7.5, Some(1)), line("b", 7.5, None)], 9), ["a", "b"]);
    }

    #[test]
    fn seeds_count_pictures_and_own_seeds_count_iterations() {
        let lines = Lines::new(vec![line("a", 7.5, None), line("b", 7.5, Some(7)), line("c", 7.5, None)], 1);
        let seed = |batch: Batch| batch.wishes[0].origin.map(|origin| origin.seed);
        let seeds = |first| lines.batches(2, first).map(seed).collect::<Vec<_>>();
        assert_eq!(seeds(Some(u32::MAX)), [Some(u32::MAX), Some(7), Some(1), Some(2), Some(8), Some(4)]);
        assert_eq!(seeds(None), [None, Some(7), None, None, Some(8), None]);
    }
}
