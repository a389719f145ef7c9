//! A prompt's tokens, in the chunks CLIP reads.

use std::iter::{once, repeat, repeat_n};

const START: u32 = 49406;
const END: u32 = 49407;

/// `,` at the end of a word.
const COMMA: u32 = 267;

/// So many tokens at the end of a full chunk are searched for a comma: the web UI's default.
const NEAR_THE_END: usize = 20;

/// How prompts are read, beyond what the original does.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Reading {
    /// Brackets weigh words, as [`emphasis`](super::emphasis) says; else they are text.
    pub emphasis: bool,
    /// Words that find no room in CLIP's 75 tokens are read in further chunks; else they are cut.
    pub long: bool,
}

/// A prompt as CLIP reads it.
#[derive(Clone, PartialEq, Debug)]
pub struct Tokens {
    /// Start, at most 75 tokens, end, and the end again up to 77; of a long prompt, one chunk like this after the other.
    pub ids: Vec<u32>,
    /// How much each of them counts: 1 unless emphasis says otherwise.
    pub weights: Vec<f32>,
    /// The words that found no room, as the tokenizer cleaned them; empty if all did.
    pub cut: String,
}

impl Tokens {
    /// How many ids CLIP reads at once.
    pub const LENGTH: usize = 77;

    /// How many of them are the prompt's.
    pub const ROOM: usize = Self::LENGTH - 2;

    /// Of a long prompt: more than anybody writes, and few enough to hold what a UNet makes of them.
    pub const MOST_CHUNKS: usize = 20;

    /// How many times CLIP reads.
    pub fn chunks(&self) -> usize {
        self.ids.len() / Self::LENGTH
    }

    /// At most 75 tokens of a weight each.
    fn push(&mut self, ids: &[u32], weights: &[f32]) {
        self.ids.extend(once(START).chain(ids.iter().copied()).chain(repeat(END)).take(Self::LENGTH));
        self.weights.push(1.);
        self.weights.extend(weights);
        self.weights.extend(repeat_n(1., Self::LENGTH - 1 - weights.len()));
    }
}

/// A prompt's tokens, however many.
#[derive(Default)]
pub struct Words {
    /// Cleaned, without the brackets of emphasis.
    pub text: String,
    pub ids: Vec<u32>,
    pub weights: Vec<f32>,
    /// Where in the text each token begins, in bytes.
    pub starts: Vec<usize>,
}

impl Words {
    /// One at most between two words.
    pub fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(' ') {
            self.text.push(' ');
        }
    }

    /// In one chunk, or in as many as a long prompt needs.
    pub fn tokens(&self, long: bool) -> Tokens {
        let mut tokens = Tokens { ids: vec![], weights: vec![], cut: String::new() };
        let most = if long { Tokens::MOST_CHUNKS } else { 1 };
        let mut end = 0;
        while tokens.chunks() == 0 || tokens.chunks() < most && end < self.ids.len() {
            let start = end;
            let rest = &self.ids[start..];
            end += if long { chunk(rest) } else { rest.len().min(Tokens::ROOM) };
            tokens.push(&self.ids[start..end], &self.weights[start..end]);
        }
        let cut = self.starts.get(end).map_or("", |&start| words_from(&self.text, start));
        tokens.cut = cut.trim_end().to_owned();
        tokens
    }
}

/// How many of these tokens make the next chunk: all that fit, or, if not all do, those up to a comma near the end.
fn chunk(ids: &[u32]) -> usize {
    let Some(&next) = ids.get(Tokens::ROOM) else { return ids.len() };
    let last = &ids[Tokens::ROOM - NEAR_THE_END..Tokens::ROOM];
    let after_comma = last.iter().rev().position(|&id| id == COMMA);
    // A comma that would begin the next chunk divides well enough.
    if next == COMMA { Tokens::ROOM } else { Tokens::ROOM - after_comma.unwrap_or(0) }
}

/// The text from the start of the word that byte `at` is in.
fn words_from(text: &str, at: usize) -> &str {
    let start = text.as_bytes()[..at].iter().rposition(|&byte| byte == b' ').map_or(0, |space| space + 1);
    &text[start..]
}
