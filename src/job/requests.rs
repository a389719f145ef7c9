//! What is to be drawn, picture by picture, and which pictures share a batch.

mod table;

use crate::params::SamplingParams;
use crate::rng::Origin;
use anyhow::Result;
use std::borrow::Cow;
use std::ops::Range;
use table::{RequestTable, small};

/// One picture an iteration.
#[derive(Clone, PartialEq, Debug)]
pub struct Request<'a> {
    /// What it shows.
    pub prompt: Cow<'a, str>,
    /// What guidance leads away from.
    pub negative: Cow<'a, str>,
    /// Where its own random numbers start; without, it takes part in the run's.
    pub seed: Option<u32>,
    /// What it shares with the pictures of its batch.
    pub params: SamplingParams,
}

/// One picture of the run.
#[derive(Clone, PartialEq, Debug)]
pub struct ImageRequest<'a> {
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
    pub params: SamplingParams,
    /// One for each.
    pub images: Vec<ImageRequest<'a>>,
}

/// Requests in the batches they are drawn in.
///
/// Batches are numbered from 0 over all iterations, one after the other. Every number that is counted here fits a usize
/// of 64 bits: there are less than 2³² lines, and iterations are at most a million, less than 2²⁰.
#[derive(Clone, PartialEq, Debug)]
pub struct Requests {
    kept: RequestTable,
    /// The first line of each batch.
    starts: Vec<u32>,
}

impl Requests {
    /// Neighbours that fit together share a batch, up to `most` of them.
    ///
    /// # Errors
    /// The first of the lines', and when they take more than 4 GiB.
    pub fn new<'a>(lines: impl IntoIterator<Item = Result<Request<'a>>>, most: usize) -> Result<Self> {
        let kept = RequestTable::new(lines)?;
        let (mut starts, mut start) = (vec![], 0);
        for i in 0..kept.len() {
            if i == 0 || i - start >= most || !kept.go_together(start, i) {
                start = i;
                starts.push(small(start)?);
            }
        }
        Ok(Self { kept, starts })
    }

    /// Every line.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = Request<'_>> {
        (0..self.kept.len()).map(|i| self.kept.line(i))
    }

    /// Returns the parameters of all lines, each of them once.
    pub fn params(&self) -> &[SamplingParams] {
        self.kept.all_params()
    }

    /// How many batches an iteration has.
    pub fn n_batches(&self) -> usize {
        self.starts.len()
    }

    /// The longest batch has so many pictures.
    pub fn longest(&self) -> usize {
        (0..self.n_batches()).map(|number| self.len_of(number)).max().unwrap_or(0)
    }

    /// The batches of one iteration after the other. All of them are made: where some are skipped, [`Self::batch`] makes the
    /// others.
    pub fn batches(&self, iterations: usize, first: Option<u32>) -> impl Iterator<Item = Batch<'_>> {
        (0..iterations * self.n_batches()).map(move |number| self.batch(number, first))
    }

    /// The batch of this number, at no more cost than any other. first: of pictures that have seeds of their own because
    /// the run counts seeds up from it.
    ///
    /// # Panics
    /// When there are no lines, as do the questions about a batch that follow.
    pub fn batch(&self, number: usize, first: Option<u32>) -> Batch<'_> {
        let iteration = number / self.n_batches();
        let images = self.range(number).map(|i| self.image(iteration, i, first)).collect();
        Batch { params: self.params_of(number), images }
    }

    /// What the pictures of a batch have in common.
    pub fn params_of(&self, number: usize) -> SamplingParams {
        self.kept.params(self.range(number).start)
    }

    /// Which of the run's pictures a batch has, from 0.
    pub fn numbers_of(&self, number: usize) -> Range<usize> {
        let (before, range) = (number / self.n_batches() * self.kept.len(), self.range(number));
        before + range.start..before + range.end
    }

    /// How many pictures a batch has.
    pub fn len_of(&self, number: usize) -> usize {
        self.range(number).len()
    }

    /// Whether the lines of a batch name seeds of their own.
    pub fn has_own_seeds(&self, number: usize) -> bool {
        self.kept.seed(self.range(number).start).is_some()
    }

    /// The lines of a batch.
    fn range(&self, number: usize) -> Range<usize> {
        let index = number % self.n_batches();
        let end = self.starts.get(index + 1).map_or(self.kept.len(), |end| *end as usize);
        self.starts[index] as usize..end
    }

    fn image(&self, iteration: usize, i: usize, first: Option<u32>) -> ImageRequest<'_> {
        let number = iteration * self.kept.len() + i;
        // A line's own seed counts iterations, the run's counts pictures.
        let own = self.kept.seed(i).map(|seed| seed.wrapping_add(iteration as u32));
        let seed = own.or(first.map(|first| first.wrapping_add(number as u32)));
        let (prompt, negative) = (self.kept.prompt(i).into(), self.kept.negative(i));
        ImageRequest { number, prompt, negative, origin: seed.map(Origin::alone) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::samplers::{Kind, SamplerConfig, Spacing};

    fn line(prompt: &str, scale: f64, seed: Option<u32>) -> Request<'_> {
        let plan = SamplerConfig { kind: Kind::Ddim, steps: 50, eta: 0., spacing: Spacing::Discrete };
        let params = SamplingParams { height: 64, width: 64, scale, sampler: plan, ..SamplingParams::default() };
        Request { prompt: prompt.into(), negative: "".into(), seed, params }
    }

    fn lines(lines: Vec<Request>, most: usize) -> Requests {
        Requests::new(lines.into_iter().map(Ok), most).unwrap()
    }

    fn prompts(several: Vec<Request>, most: usize) -> Vec<String> {
        let lines = lines(several, most);
        let prompt = |batch: Batch| batch.images.iter().map(|image| &*image.prompt).collect::<String>();
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
        let lines = lines(vec![line("a", 7.5, None), line("b", 7.5, Some(7)), line("c", 7.5, None)], 1);
        let seed = |batch: Batch| batch.images[0].origin.map(|origin| origin.seed);
        let seeds = |first| lines.batches(2, first).map(seed).collect::<Vec<_>>();
        assert_eq!(seeds(Some(u32::MAX)), [Some(u32::MAX), Some(7), Some(1), Some(2), Some(8), Some(4)]);
        assert_eq!(seeds(None), [None, Some(7), None, None, Some(8), None]);
    }

    #[test]
    fn a_batch_is_found_by_its_number() {
        let lines = lines(vec![line("a", 7.5, None), line("b", 7.5, None), line("c", 3., Some(7))], 9);
        let walked: Vec<_> = lines.batches(1000, Some(1)).collect();
        assert_eq!(walked.len(), 2000);
        for number in [0, 1, 2, 1000, 1999] {
            let batch = lines.batch(number, Some(1));
            assert_eq!((batch.params, batch.images.len()), (lines.params_of(number), lines.len_of(number)));
            assert_eq!(lines.has_own_seeds(number), number % 2 == 1);
            assert_eq!(batch, walked[number]);
        }
        assert_eq!((walked[1999].images[0].number, walked[1999].images[0].origin), (2999, Some(Origin::alone(1006))));
    }

    #[test]
    fn the_last_of_more_batches_than_anybody_draws_is_found() {
        let lines = lines(vec![line("a", 7.5, None), line("b", 7.5, None)], 1);
        assert_eq!(lines.batch((2 << 52) - 1, None).images[0].number, (2 << 52) - 1);
    }
}
