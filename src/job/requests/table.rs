//! A compact table of requests: texts and parameters that several share are stored once, so that a million requests take
//! little memory.

use super::Request;
use crate::files::sha256::Sha256;
use crate::params::SamplingParams;
use anyhow::{Context, Result};
use std::borrow::Cow;
use std::collections::HashMap;

/// The requests of one iteration, in order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RequestTable {
    /// All prompts and negative prompts, concatenated.
    texts: String,
    /// The distinct parameters.
    params: Vec<SamplingParams>,
    entries: Vec<Entry>,
}

/// A request, in 28 bytes.
#[derive(Clone, PartialEq, Debug)]
struct Entry {
    prompt: Span,
    negative: Span,
    seed: Option<u32>,
    /// The index of its parameters.
    params: u32,
}

/// The byte range of a text.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    const EMPTY: Self = Self { start: 0, end: 0 };
}

impl RequestTable {
    /// Builds the table of `requests`.
    ///
    /// # Errors
    /// If one of `requests` is an error, or their texts take more than 4 GiB.
    pub fn new<'a>(requests: impl IntoIterator<Item = Result<Request<'a>>>) -> Result<Self> {
        let mut builder = Builder::default();
        requests.into_iter().try_for_each(|request| builder.push(request?))?;
        Ok(builder.table)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn request(&self, i: usize) -> Request<'_> {
        let (prompt, negative) = (self.prompt(i).into(), self.negative(i).into());
        Request { prompt, negative, seed: self.seed(i), params: self.params[self.params_index(i)].clone() }
    }

    pub fn prompt(&self, i: usize) -> &str {
        self.text(self.entries[i].prompt)
    }

    pub fn negative(&self, i: usize) -> &str {
        self.text(self.entries[i].negative)
    }

    pub fn seed(&self, i: usize) -> Option<u32> {
        self.entries[i].seed
    }

    /// Returns the index of the parameters of request `i` in [`Self::all_params`].
    pub fn params_index(&self, i: usize) -> usize {
        self.entries[i].params as usize
    }

    /// Returns the distinct parameters.
    pub fn all_params(&self) -> &[SamplingParams] {
        &self.params
    }

    /// Returns the SHA-256 of the first `n` requests. Parameters are hashed once and then named by their index, since there may be
    /// a million requests.
    pub fn sha256(&self, n: usize) -> String {
        let mut hash = Sha256::new();
        // Those of the first requests come first.
        let n_params = (0..n).map(|i| self.params_index(i) + 1).max().unwrap_or(0);
        self.params[..n_params].iter().for_each(|params| hash.update(params.key()));
        for i in 0..n {
            for text in [self.prompt(i), self.negative(i)] {
                hash.update(text.len().to_le_bytes());
                hash.update(text);
            }
            hash.update(self.seed(i).map_or(u64::MAX, u64::from).to_le_bytes());
            hash.update(self.params_index(i).to_le_bytes());
        }
        hash.finish()
    }

    /// Whether two requests can be in one batch: their parameters are equal, and both or neither have a seed.
    pub fn fit_together(&self, i: usize, j: usize) -> bool {
        self.seed(i).is_some() == self.seed(j).is_some() && self.params_index(i) == self.params_index(j)
    }

    fn text(&self, span: Span) -> &str {
        &self.texts[span.start as usize..span.end as usize]
    }

    /// Appends a text.
    fn append(&mut self, text: &str) -> Result<Span> {
        let (start, end) = (to_u32(self.texts.len())?, to_u32(self.texts.len() + text.len())?);
        self.texts.push_str(text);
        Ok(Span { start, end })
    }
}

/// Converts an index or a length.
///
/// # Errors
/// If it does not fit 32 bits.
pub fn to_u32(n: usize) -> Result<u32> {
    u32::try_from(n).context("the prompts take more than 4 GiB together; draw some of them at a time")
}

/// Builds a [`RequestTable`].
#[derive(Default)]
struct Builder<'a> {
    table: RequestTable,
    /// The negative prompts in the table.
    negatives: HashMap<Cow<'a, str>, Span>,
    /// The indices of parameters in the table, by [`SamplingParams::key`].
    params: HashMap<Vec<u8>, u32>,
}

impl<'a> Builder<'a> {
    fn push(&mut self, request: Request<'a>) -> Result<()> {
        let prompt = self.prompt(&request.prompt)?;
        let negative = self.negative(request.negative)?;
        let params = self.params(request.params)?;
        self.table.entries.push(Entry { prompt, negative, seed: request.seed, params });
        Ok(())
    }

    /// Stores a prompt, unless it equals the one before.
    fn prompt(&mut self, text: &str) -> Result<Span> {
        match self.table.entries.last() {
            _ if text.is_empty() => Ok(Span::EMPTY),
            Some(last) if self.table.text(last.prompt) == text => Ok(last.prompt),
            _ => self.table.append(text),
        }
    }

    /// Stores a negative prompt, unless the table contains it.
    fn negative(&mut self, text: Cow<'a, str>) -> Result<Span> {
        if text.is_empty() {
            return Ok(Span::EMPTY);
        }
        if let Some(last) = self.table.entries.last()
            && self.table.text(last.negative) == text
        {
            return Ok(last.negative);
        }
        if let Some(&span) = self.negatives.get(&text) {
            return Ok(span);
        }
        let span = self.table.append(&text)?;
        self.negatives.insert(text, span);
        Ok(span)
    }

    /// Stores parameters, unless the table contains them, and returns their index.
    fn params(&mut self, params: SamplingParams) -> Result<u32> {
        if let Some(last) = self.table.entries.last()
            && self.table.params[last.params as usize] == params
        {
            return Ok(last.params);
        }
        let next = to_u32(self.table.params.len())?;
        Ok(*self.params.entry(params.key()).or_insert_with(|| {
            self.table.params.push(params);
            next
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(scale: f64) -> SamplingParams {
        SamplingParams { scale, ..SamplingParams::default() }
    }

    #[test]
    fn requests_round_trip_and_share_texts_and_parameters() {
        let request = |i: usize| Request {
            prompt: ["a cube", "a cube", "ü"][i % 3].into(),
            negative: ["", "fog"][i % 2].into(),
            seed: (i == 4).then_some(7),
            params: params([3., 7.5][i / 3 % 2]),
        };
        let table = RequestTable::new((0..12).map(request).map(Ok)).unwrap();
        assert_eq!(
            (0..table.len()).map(|i| table.request(i)).collect::<Vec<_>>(),
            (0..12).map(request).collect::<Vec<_>>()
        );
        assert_eq!(table.all_params(), [params(3.), params(7.5)]);
        assert_eq!(table.texts.len(), 4 * "a cubeü".len() + "fog".len());
    }

    #[test]
    fn the_hash_depends_on_every_part_of_every_request() {
        let one = || Request { prompt: "ab".into(), negative: "c".into(), seed: None, params: params(3.) };
        let hash =
            |requests: &[Request]| RequestTable::new(requests.iter().cloned().map(Ok)).unwrap().sha256(requests.len());
        let others = [
            Request { prompt: "a".into(), negative: "bc".into(), ..one() },
            Request { negative: "d".into(), ..one() },
            Request { seed: Some(0), ..one() },
            Request { params: params(7.5), ..one() },
        ];
        for other in others {
            assert_ne!(hash(&[one(), one()]), hash(&[one(), other.clone()]));
            assert_ne!(hash(&[one(), other.clone()]), hash(&[other, one()]));
        }
        assert_eq!(hash(&[one(), one()]), hash(&[one(), one()]));
    }

    #[test]
    fn the_hash_of_the_first_requests_does_not_depend_on_the_others() {
        let request =
            |scale: f64| Request { prompt: "a".into(), negative: "".into(), seed: None, params: params(scale) };
        let table = RequestTable::new([3., 7.5, 3., 5.].map(request).map(Ok)).unwrap();
        let first = RequestTable::new([3., 7.5, 3.].map(request).map(Ok)).unwrap();
        assert_eq!(table.sha256(3), first.sha256(3));
        assert_ne!(table.sha256(4), first.sha256(3));
    }

    #[test]
    fn a_request_takes_few_bytes_besides_its_text() {
        assert!(size_of::<Entry>() <= 28);
    }
}
