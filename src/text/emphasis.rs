//! Brackets that weigh words, in the syntax of AUTOMATIC1111's web UI.
//!
//! `(word)` counts 1.1 times as much, `(word:1.2)` 1.2 times, `[word]` 1.1 times less; brackets within brackets
//! multiply. `\(`, `\)`, `\[`, `\]` and `\\` are the characters themselves; any other backslash is dropped. What is opened
//! and not closed weighs to the end of the prompt, a closing bracket too many is text. What stands where a weight could
//! and is no number, such as `(a:b)`, `(a:inf)` or `[a:1.2]`, is text in ordinary brackets. The two kinds of brackets are
//! counted apart: each closes the last open one of its kind.

use anyhow::{Result, bail};

/// What a pair of round brackets multiplies by; square ones divide.
const STEP: f64 = 1.1;

/// Weights above 2 distort already; these would leave nothing of the other words.
const MOST: f64 = 1000.;

/// What means something: all else is text.
const SPECIAL: [char; 6] = ['(', ')', '[', ']', ':', '\\'];

/// Some text of a prompt, and how much it counts.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    /// Without the brackets.
    pub text: String,
    /// 1 is what text without brackets has.
    pub weight: f64,
}

/// A prompt's parts; neighbours differ in weight, none is empty.
///
/// # Errors
/// When brackets multiply to a weight beyond ±1000.
pub fn parts(prompt: &str) -> Result<Vec<Part>> {
    let mut reader = Reader::default();
    let mut rest = prompt;
    while !rest.is_empty() {
        let (mark, length) = first_mark(rest);
        let (typed, after) = rest.split_at(length);
        reader.take(mark, typed);
        rest = after;
    }
    let parts = reader.finish();
    if let Some(Part { text, weight }) = parts.iter().find(|part| !(-MOST..=MOST).contains(&part.weight)) {
        let start: String = text.chars().take(40).collect();
        bail!("the brackets around '{start}' give it a weight of {weight:.0}; the most is {MOST}");
    }
    Ok(parts)
}

#[derive(Clone, Copy)]
enum Bracket {
    Round,
    Square,
}

enum Mark<'a> {
    Text(&'a str),
    Open(Bracket),
    /// And what it multiplies by.
    Close(Bracket, f64),
}

/// What a text that is not empty begins with, and how many bytes of it that takes.
fn first_mark(text: &str) -> (Mark<'_>, usize) {
    match text.as_bytes() {
        [b'(', ..] => (Mark::Open(Bracket::Round), 1),
        [b'[', ..] => (Mark::Open(Bracket::Square), 1),
        [b')', ..] => (Mark::Close(Bracket::Round, STEP), 1),
        [b']', ..] => (Mark::Close(Bracket::Square, 1. / STEP), 1),
        [b'\\', b'(' | b')' | b'[' | b']' | b'\\', ..] => (Mark::Text(&text[1..2]), 2),
        [b'\\', ..] => (Mark::Text(""), 1),
        _ => match weight(text) {
            Some((weight, length)) => (Mark::Close(Bracket::Round, weight), length),
            None => {
                let end = text.char_indices().skip(1).find(|(_, c)| SPECIAL.contains(c));
                let end = end.map_or(text.len(), |(end, _)| end);
                (Mark::Text(&text[..end]), end)
            }
        },
    }
}

/// `:1.2)` and what follows → 1.2, and the bytes up to the bracket, which it closes. Spaces may surround the number.
fn weight(text: &str) -> Option<(f64, usize)> {
    let after = text.strip_prefix(':')?;
    let length = after.find(|c: char| !(c.is_ascii_digit() || c.is_whitespace() || "+-.".contains(c)))?;
    let (number, closing) = after.split_at(length);
    let weight = number.trim().parse().ok()?;
    closing.starts_with(')').then_some((weight, length + 2))
}

#[derive(Default)]
struct Reader {
    parts: Vec<Part>,
    /// Of each kind of brackets, the part that each open one stands before.
    open: [Vec<usize>; 2],
}

impl Reader {
    fn take(&mut self, mark: Mark, typed: &str) {
        match mark {
            Mark::Text(text) => self.push(text),
            Mark::Open(bracket) => self.open[bracket as usize].push(self.parts.len()),
            Mark::Close(bracket, factor) => match self.open[bracket as usize].pop() {
                Some(first) => self.weigh(first, factor),
                None => self.push(typed),
            },
        }
    }

    fn push(&mut self, text: &str) {
        self.parts.push(Part { text: text.to_owned(), weight: 1. });
    }

    fn weigh(&mut self, first: usize, factor: f64) {
        self.parts[first..].iter_mut().for_each(|part| part.weight *= factor);
    }

    fn finish(mut self) -> Vec<Part> {
        let [round, square] = std::mem::take(&mut self.open);
        round.into_iter().for_each(|first| self.weigh(first, STEP));
        square.into_iter().for_each(|first| self.weigh(first, 1. / STEP));
        self.parts.retain(|part| !part.text.is_empty());
        self.parts.dedup_by(|next, part| {
            let alike = next.weight == part.weight;
            if alike {
                part.text += &next.text;
            }
            alike
        });
        self.parts
    }
}
