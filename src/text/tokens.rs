//! The tokens of a prompt, in chunks of CLIP's input length.

use super::TextConfig;
use std::iter::{once, repeat, repeat_n};

/// The start token.
const START: u32 = 49406;
/// The end token.
const END: u32 = 49407;

/// The token of a comma at the end of a word.
const COMMA: u32 = 267;

/// The number of tokens at the end of a full chunk among which to search for a comma: the web UI's default.
const COMMA_WINDOW: usize = 20;

/// The extensions of the original's syntax of prompts.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Reading {
    /// Whether brackets weight words, as described in [`emphasis`](super::emphasis). Otherwise they are text.
    pub emphasis: bool,
    /// Whether words beyond CLIP's 75 tokens are encoded in further chunks. Otherwise they are cut off.
    pub long: bool,
    /// Whether words change during sampling, `AND` separates subprompts, and `BREAK` begins a chunk, as described in
    /// [`timeline`](super::timeline), [`composition`](super::composition) and [`emphasis`](super::emphasis). Otherwise
    /// these are text.
    pub web_ui: bool,
}

impl Reading {
    /// The syntax of AUTOMATIC1111's web UI.
    pub const WEB_UI: Self = Self { emphasis: true, long: true, web_ui: true };
}

/// The tokens of a prompt, as input of CLIP.
#[derive(Clone, PartialEq, Debug)]
pub struct Tokens {
    /// The ids of one or more chunks of 77 tokens: the start token, at most 75 tokens of the prompt, and end tokens. Those
    /// beyond CLIP's vocabulary are vectors of embeddings.
    pub ids: Vec<u32>,
    /// The weight of each token: 1 without emphasis.
    pub weights: Vec<f32>,
    /// The words that were cut off, after cleaning; empty if there are none.
    pub cut: String,
}

impl Tokens {
    /// The number of tokens of a chunk.
    pub const LENGTH: usize = 77;

    /// The number of tokens of the prompt in a chunk.
    pub const ROOM: usize = Self::LENGTH - 2;

    /// The maximum number of chunks of a long prompt, which limits the memory of the UNet's attention.
    pub const MAX_CHUNKS: usize = 20;

    /// The number of chunks.
    pub fn chunks(&self) -> usize {
        self.ids.len() / Self::LENGTH
    }

    /// Appends a chunk of at most 75 tokens with their weights.
    fn push(&mut self, ids: &[u32], weights: &[f32]) {
        self.ids.extend(once(START).chain(ids.iter().copied()).chain(repeat(END)).take(Self::LENGTH));
        self.weights.push(1.);
        self.weights.extend(weights);
        self.weights.extend(repeat_n(1., Self::LENGTH - 1 - weights.len()));
    }
}

/// The tokens of a prompt before they are divided into chunks.
#[derive(Default)]
pub struct Words {
    /// The cleaned text, without the brackets of emphasis.
    pub text: String,
    pub ids: Vec<u32>,
    pub weights: Vec<f32>,
    /// The byte offset of each token in the text. The vectors of an embedding have that of its name.
    pub starts: Vec<usize>,
    /// The index of the first token of each section but the first. A section begins a chunk.
    pub breaks: Vec<usize>,
}

impl Words {
    /// Appends a space to the text, unless it is empty or ends with one.
    pub fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(' ') {
            self.text.push(' ');
        }
    }

    /// Ends a section.
    pub fn end_section(&mut self) {
        self.space();
        self.breaks.push(self.ids.len());
    }

    /// Divides the tokens into chunks: one, or with `long` as many as needed, up to `MAX_CHUNKS`. An empty section is a
    /// chunk without words, except the last.
    pub fn chunked(&self, long: bool) -> Tokens {
        let mut tokens = Tokens { ids: vec![], weights: vec![], cut: String::new() };
        let max_chunks = if long { Tokens::MAX_CHUNKS } else { 1 };
        let mut breaks = self.breaks.iter().copied();
        let (mut end, mut section) = (0, breaks.next());
        while tokens.chunks() == 0 || tokens.chunks() < max_chunks && (end < self.ids.len() || section.is_some()) {
            let start = end;
            let section_end = section.unwrap_or(self.ids.len());
            let length = self.length_within(start, section_end);
            // Where an embedding does not fit, the chunk ends before it, and not at a comma.
            let is_full = length == Tokens::ROOM;
            end += if long && is_full { chunk_length(&self.ids[start..section_end]) } else { length };
            tokens.push(&self.ids[start..end], &self.weights[start..end]);
            if section == Some(end) {
                section = breaks.next();
            }
        }
        let cut = self.starts.get(end).map_or("", |&start| words_from(&self.text, start));
        tokens.cut = cut.trim_end().to_owned();
        tokens
    }

    /// Returns the number of tokens from `start` to `end` that fit in a chunk, without splitting an embedding.
    fn length_within(&self, start: usize, end: usize) -> usize {
        if end - start <= Tokens::ROOM {
            return end - start;
        }
        let end = start + Tokens::ROOM;
        let is_vector = |i: usize| self.ids[i] as usize >= TextConfig::VOCABULARY;
        let is_continued = |i: usize| is_vector(i) && is_vector(i - 1) && self.starts[i] == self.starts[i - 1];
        // An embedding fits in a chunk, so it begins after `start`.
        (start + 1..=end).rev().find(|&i| !is_continued(i)).map_or(Tokens::ROOM, |end| end - start)
    }
}

/// Returns the number of tokens in the next chunk: all if they fit, else those up to a comma near the end.
fn chunk_length(ids: &[u32]) -> usize {
    let Some(&next) = ids.get(Tokens::ROOM) else { return ids.len() };
    let last = &ids[Tokens::ROOM - COMMA_WINDOW..Tokens::ROOM];
    let after_comma = last.iter().rev().position(|&id| id == COMMA);
    // If the next chunk begins with a comma, the chunk is full.
    if next == COMMA { Tokens::ROOM } else { Tokens::ROOM - after_comma.unwrap_or(0) }
}

/// Returns the text from the start of the word that contains byte `at`.
fn words_from(text: &str, at: usize) -> &str {
    let start = text.as_bytes()[..at].iter().rposition(|&byte| byte == b' ').map_or(0, |space| space + 1);
    &text[start..]
}
