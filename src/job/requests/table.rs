//! Requests, laid down so that a million of them take little memory: what several have in common is there once.

use super::Request;
use crate::params::SamplingParams;
use anyhow::{Context, Result};
use std::borrow::Cow;
use std::collections::HashMap;

/// Every line, in order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RequestTable {
    /// All prompts, and what to avoid, one after the other.
    texts: String,
    /// Different ones.
    params: Vec<SamplingParams>,
    lines: Vec<Entry>,
}

/// One line, in 28 bytes.
#[derive(Clone, PartialEq, Debug)]
struct Entry {
    prompt: Span,
    negative: Span,
    seed: Option<u32>,
    /// Which.
    params: u32,
}

/// Where a text is, in bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    const EMPTY: Self = Self { start: 0, end: 0 };
}

impl RequestTable {
    /// # Errors
    /// The first of the lines', and when they take more than 4 GiB.
    pub fn new<'a>(lines: impl IntoIterator<Item = Result<Request<'a>>>) -> Result<Self> {
        let mut keeper = Keeper::default();
        lines.into_iter().try_for_each(|line| keeper.keep(line?))?;
        Ok(keeper.kept)
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn line(&self, i: usize) -> Request<'_> {
        let (prompt, negative) = (self.prompt(i).into(), self.negative(i).into());
        Request { prompt, negative, seed: self.seed(i), params: self.params(i) }
    }

    pub fn prompt(&self, i: usize) -> &str {
        self.text(self.lines[i].prompt)
    }

    pub fn negative(&self, i: usize) -> &str {
        self.text(self.lines[i].negative)
    }

    pub fn seed(&self, i: usize) -> Option<u32> {
        self.lines[i].seed
    }

    pub fn params(&self, i: usize) -> SamplingParams {
        self.params[self.lines[i].params as usize]
    }

    /// Each once.
    pub fn all_params(&self) -> &[SamplingParams] {
        &self.params
    }

    /// Whether both may be in one batch: the run's stream of numbers and one's own do not mix.
    pub fn go_together(&self, i: usize, j: usize) -> bool {
        self.seed(i).is_some() == self.seed(j).is_some() && self.params(i) == self.params(j)
    }

    fn text(&self, place: Span) -> &str {
        &self.texts[place.start as usize..place.end as usize]
    }

    fn add(&mut self, text: &str) -> Result<Span> {
        let (start, end) = (small(self.texts.len())?, small(self.texts.len() + text.len())?);
        self.texts.push_str(text);
        Ok(Span { start, end })
    }
}

/// # Errors
/// On numbers that only lines without end come to.
pub fn small(n: usize) -> Result<u32> {
    u32::try_from(n).context("the prompts take more than 4 GiB together; draw some of them at a time")
}

/// RequestTable lines, and what is known of them while more come.
#[derive(Default)]
struct Keeper<'a> {
    kept: RequestTable,
    negatives: HashMap<Cow<'a, str>, Span>,
    params: HashMap<String, u32>,
}

impl<'a> Keeper<'a> {
    fn keep(&mut self, line: Request<'a>) -> Result<()> {
        let prompt = self.prompt(&line.prompt)?;
        let negative = self.negative(line.negative)?;
        let params = self.params(line.params)?;
        self.kept.lines.push(Entry { prompt, negative, seed: line.seed, params });
        Ok(())
    }

    fn prompt(&mut self, text: &str) -> Result<Span> {
        match self.kept.lines.last() {
            _ if text.is_empty() => Ok(Span::EMPTY),
            Some(last) if self.kept.text(last.prompt) == text => Ok(last.prompt),
            _ => self.kept.add(text),
        }
    }

    fn negative(&mut self, text: Cow<'a, str>) -> Result<Span> {
        if text.is_empty() {
            return Ok(Span::EMPTY);
        }
        if let Some(last) = self.kept.lines.last()
            && self.kept.text(last.negative) == text
        {
            return Ok(last.negative);
        }
        if let Some(&place) = self.negatives.get(&text) {
            return Ok(place);
        }
        let place = self.kept.add(&text)?;
        self.negatives.insert(text, place);
        Ok(place)
    }

    fn params(&mut self, params: SamplingParams) -> Result<u32> {
        if let Some(last) = self.kept.lines.last()
            && self.kept.params[last.params as usize] == params
        {
            return Ok(last.params);
        }
        let next = small(self.kept.params.len())?;
        Ok(*self.params.entry(params.key()).or_insert_with(|| {
            self.kept.params.push(params);
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
    fn lines_come_out_as_they_went_in_and_share_what_they_can() {
        let line = |i: usize| Request {
            prompt: ["a cube", "a cube", "ü"][i % 3].into(),
            negative: ["", "fog"][i % 2].into(),
            seed: (i == 4).then_some(7),
            params: params([3., 7.5][i / 3 % 2]),
        };
        let kept = RequestTable::new((0..12).map(line).map(Ok)).unwrap();
        assert_eq!((0..kept.len()).map(|i| kept.line(i)).collect::<Vec<_>>(), (0..12).map(line).collect::<Vec<_>>());
        assert_eq!(kept.all_params(), [params(3.), params(7.5)]);
        assert_eq!(kept.texts.len(), 4 * "a cubeü".len() + "fog".len());
    }

    #[test]
    fn a_line_takes_few_bytes_beside_its_text() {
        assert!(size_of::<Entry>() <= 28);
    }
}
