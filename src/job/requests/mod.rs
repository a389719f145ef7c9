//! The requests of a run, one per picture and iteration, and their division into batches.

mod table;

use crate::params::SamplingParams;
use crate::rng::Origin;
use crate::text::Reading;
use crate::text::composition::subprompts;
use anyhow::Result;
use std::borrow::Cow;
use std::ops::Range;
use table::{RequestTable, to_u32};

/// A request for one picture per iteration.
#[derive(Clone, PartialEq, Debug)]
pub struct Request<'a> {
    /// The prompt.
    pub prompt: Cow<'a, str>,
    /// The negative prompt.
    pub negative: Cow<'a, str>,
    /// The seed of its own random numbers; `None` if it draws from the run's stream.
    pub seed: Option<u32>,
    /// The sampling parameters.
    pub params: SamplingParams,
}

/// A request for one picture of the run.
#[derive(Clone, PartialEq, Debug)]
pub struct ImageRequest<'a> {
    /// The number of the picture in the run, from 0.
    pub number: usize,
    /// The prompt.
    pub prompt: Cow<'a, str>,
    /// The negative prompt.
    pub negative: &'a str,
    /// The origin of its own random numbers; `None` if it draws from the run's stream.
    pub origin: Option<Origin>,
}

/// Pictures that are drawn together.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch<'a> {
    /// The sampling parameters, which all its pictures share.
    pub params: SamplingParams,
    /// The pictures.
    pub images: Vec<ImageRequest<'a>>,
}

impl Batch<'_> {
    /// Returns the number of contexts that the UNet evaluates for all images: several for prompts joined by `AND`.
    pub fn n_contexts(&self, reading: Reading) -> usize {
        let n_subprompts = |image: &ImageRequest| match reading.web_ui {
            true => subprompts(&image.prompt).map_or(1, |subprompts| subprompts.len()),
            false => 1,
        };
        self.images.iter().map(|image| self.params.n_contexts(n_subprompts(image))).sum()
    }
}

/// The requests of one iteration, divided into batches.
///
/// Batches are numbered from 0 through all iterations. No number computed here overflows a usize of 64 bits: there are
/// fewer than 2³² requests, and at most a million iterations, fewer than 2²⁰.
///
/// # Panics
/// Methods that take the number of a batch panic if there are no requests.
#[derive(Clone, PartialEq, Debug)]
pub struct Requests {
    table: RequestTable,
    /// The index of the first request of each batch.
    starts: Vec<u32>,
}

impl Requests {
    /// Divides requests into batches of at most `max_batch` consecutive ones that can be drawn together.
    ///
    /// # Errors
    /// If one of `requests` is an error, or their texts take more than 4 GiB.
    pub fn new<'a>(requests: impl IntoIterator<Item = Result<Request<'a>>>, max_batch: usize) -> Result<Self> {
        let table = RequestTable::new(requests)?;
        let (mut starts, mut start) = (vec![], 0);
        for i in 0..table.len() {
            if i == 0 || i - start >= max_batch || !table.fit_together(start, i) {
                start = i;
                starts.push(to_u32(start)?);
            }
        }
        Ok(Self { table, starts })
    }

    /// Iterates over the requests of one iteration.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Request<'_>> {
        (0..self.table.len()).map(|i| self.table.request(i))
    }

    /// Returns the number of requests of one iteration.
    pub fn n_requests(&self) -> usize {
        self.table.len()
    }

    /// Iterates over the prompts of one iteration.
    pub fn prompts(&self) -> impl Iterator<Item = &str> {
        (0..self.table.len()).map(|i| self.table.prompt(i))
    }

    /// Returns the SHA-256 of the first `n` requests of an iteration.
    pub fn sha256(&self, n: usize) -> String {
        self.table.sha256(n)
    }

    /// Returns whether the first `n` requests make the same batches alone, or have seeds of their own, so that they draw the same pictures.
    pub fn can_end_after(&self, n: usize) -> bool {
        n == self.n_requests()
            || u32::try_from(n).is_ok_and(|n| self.starts.binary_search(&n).is_ok())
            || self.table.seed(n - 1).is_some()
    }

    /// Returns the distinct sampling parameters of all requests.
    pub fn params(&self) -> &[SamplingParams] {
        self.table.all_params()
    }

    /// Returns the number of batches of one iteration.
    pub fn n_batches(&self) -> usize {
        self.starts.len()
    }

    /// Returns the size of the longest batch.
    pub fn longest(&self) -> usize {
        (0..self.n_batches()).map(|number| self.len_of(number)).max().unwrap_or(0)
    }

    /// Iterates over the batches of all iterations, building each; to skip some, use [`Self::batch`]. `first`: the first
    /// seed with `--seed_mode per_image`.
    pub fn batches(&self, iterations: usize, first: Option<u32>) -> impl Iterator<Item = Batch<'_>> {
        (0..iterations * self.n_batches()).map(move |number| self.batch(number, first))
    }

    /// Returns batch `number`, in time proportional to its size. `first`: the first seed with `--seed_mode per_image`.
    pub fn batch(&self, number: usize, first: Option<u32>) -> Batch<'_> {
        let iteration = number / self.n_batches();
        let images = self.range(number).map(|i| self.image(iteration, i, first)).collect();
        Batch { params: self.params_of(number).clone(), images }
    }

    /// Returns the sampling parameters of a batch.
    pub fn params_of(&self, number: usize) -> &SamplingParams {
        &self.params()[self.params_index(number)]
    }

    /// Returns the index in [`Self::params`] of a batch's sampling parameters.
    pub fn params_index(&self, number: usize) -> usize {
        self.table.params_index(self.range(number).start)
    }

    /// Returns the numbers of a batch's pictures in the run, from 0.
    pub fn numbers_of(&self, number: usize) -> Range<usize> {
        let (before, range) = (number / self.n_batches() * self.table.len(), self.range(number));
        before + range.start..before + range.end
    }

    /// Returns the number of pictures of a batch.
    pub fn len_of(&self, number: usize) -> usize {
        self.range(number).len()
    }

    /// Whether the requests of a batch have seeds of their own.
    pub fn has_own_seeds(&self, number: usize) -> bool {
        self.table.seed(self.range(number).start).is_some()
    }

    /// Returns the indices of a batch's requests.
    fn range(&self, number: usize) -> Range<usize> {
        let index = number % self.n_batches();
        let end = self.starts.get(index + 1).map_or(self.table.len(), |end| *end as usize);
        self.starts[index] as usize..end
    }

    fn image(&self, iteration: usize, i: usize, first: Option<u32>) -> ImageRequest<'_> {
        let number = iteration * self.table.len() + i;
        // The seed of a request counts up by iteration, that of the run by picture.
        let own = self.table.seed(i).map(|seed| seed.wrapping_add(iteration as u32));
        let seed = own.or(first.map(|first| first.wrapping_add(number as u32)));
        let (prompt, negative) = (self.table.prompt(i).into(), self.table.negative(i));
        ImageRequest { number, prompt, negative, origin: seed.map(Origin::alone) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::samplers::SamplerConfig;

    fn request(prompt: &str, scale: f64, seed: Option<u32>) -> Request<'_> {
        let sampler = SamplerConfig::default();
        let params = SamplingParams { height: 64, width: 64, scale, sampler, ..SamplingParams::default() };
        Request { prompt: prompt.into(), negative: "".into(), seed, params }
    }

    fn requests(requests: Vec<Request>, max_batch: usize) -> Requests {
        Requests::new(requests.into_iter().map(Ok), max_batch).unwrap()
    }

    fn prompts(all: Vec<Request>, max_batch: usize) -> Vec<String> {
        let requests = requests(all, max_batch);
        let prompt = |batch: Batch| batch.images.iter().map(|image| &*image.prompt).collect::<String>();
        requests.batches(1, None).map(prompt).collect()
    }

    #[test]
    fn neighbours_share_a_batch() {
        let equal = || ["a", "b", "c", "d", "e"].map(|prompt| request(prompt, 7.5, None)).to_vec();
        assert_eq!(prompts(equal(), 2), ["ab", "cd", "e"]);
        assert_eq!(prompts(equal(), 9), ["abcde"]);
    }

    #[test]
    fn requests_with_other_parameters_or_seeds_do_not_share_a_batch() {
        let all = [request("a", 7.5, None), request("b", 7.5, None), request("c", 3., None), request("d", 7.5, None)];
        assert_eq!(prompts(all.to_vec(), 9), ["ab", "c", "d"]);
        assert_eq!(prompts(vec![request("a", 7.5, Some(1)), request("b", 7.5, None)], 9), ["a", "b"]);
    }

    #[test]
    fn seeds_count_pictures_and_own_seeds_count_iterations() {
        let requests = requests(vec![request("a", 7.5, None), request("b", 7.5, Some(7)), request("c", 7.5, None)], 1);
        let seed = |batch: Batch| batch.images[0].origin.map(|origin| origin.seed);
        let seeds = |first| requests.batches(2, first).map(seed).collect::<Vec<_>>();
        assert_eq!(seeds(Some(u32::MAX)), [Some(u32::MAX), Some(7), Some(1), Some(2), Some(8), Some(4)]);
        assert_eq!(seeds(None), [None, Some(7), None, None, Some(8), None]);
    }

    #[test]
    fn prompts_joined_by_and_have_a_context_each() {
        let contexts = |prompt: &str, scale: f64, reading: Reading| {
            requests(vec![request(prompt, scale, None), request("a", scale, None)], 2)
                .batch(0, None)
                .n_contexts(reading)
        };
        assert_eq!(contexts("a AND b AND c", 7.5, Reading::WEB_UI), 4 + 2);
        assert_eq!(contexts("a AND b AND c", 7.5, Reading::default()), 2 + 2);
        assert_eq!(contexts("a", 1., Reading::WEB_UI), 1 + 1);
    }

    #[test]
    fn a_batch_is_found_by_its_number() {
        let requests = requests(vec![request("a", 7.5, None), request("b", 7.5, None), request("c", 3., Some(7))], 9);
        let iterated: Vec<_> = requests.batches(1000, Some(1)).collect();
        assert_eq!(iterated.len(), 2000);
        for number in [0, 1, 2, 1000, 1999] {
            let batch = requests.batch(number, Some(1));
            assert_eq!(
                (batch.params.clone(), batch.images.len()),
                (requests.params_of(number).clone(), requests.len_of(number))
            );
            assert_eq!(requests.has_own_seeds(number), number % 2 == 1);
            assert_eq!(batch, iterated[number]);
        }
        assert_eq!(
            (iterated[1999].images[0].number, iterated[1999].images[0].origin),
            (2999, Some(Origin::alone(1006)))
        );
    }

    #[test]
    fn batch_numbers_up_to_2_to_the_53_do_not_overflow() {
        let requests = requests(vec![request("a", 7.5, None), request("b", 7.5, None)], 1);
        assert_eq!(requests.batch((2 << 52) - 1, None).images[0].number, (2 << 52) - 1);
    }
}
