//! Emphasis: brackets that weight parts of a prompt, in the syntax of AUTOMATIC1111's web UI.
//!
//! `(word)` multiplies the weight by 1.1, `(word:1.2)` multiplies it by 1.2, `[word]` divides it by 1.1, and nested
//! brackets combine. `\(`, `\)`, `\[`, `\]` and `\\` stand for the characters themselves; any other backslash is
//! dropped. A bracket that is never closed extends to the end of the prompt, and a closing bracket without an opening
//! one is text. In `(a:b)`, `(a:inf)` and `[a:1.2]` the part after the colon is text, not a weight, and the brackets count as
//! usual. A closing bracket closes the last open bracket of its kind, even if brackets of the two kinds overlap.
//!
//! The word `BREAK` ends a section, if prompts are to be read with sections: the next word begins another chunk of tokens.
//! In brackets that weight, it is a word with the negative weight of its neighbours, as in the web UI.

use super::composition::split_at_words;
use anyhow::{Result, bail};
use std::cmp::Reverse;

/// The factor of a pair of round brackets, by which square brackets divide.
const STEP: f64 = 1.1;

/// The largest weight. Those above 2 already distort the image, and one this large drowns all other words.
const MAX_WEIGHT: f64 = 1000.;

/// The word between sections.
const BREAK: &str = "BREAK";

/// The weight of a `BREAK` that ends a section: the web UI's.
const BREAK_WEIGHT: f64 = -1.;

/// The characters with a meaning. All others are text.
const SPECIAL: [char; 6] = ['(', ')', '[', ']', ':', '\\'];

/// A part of a prompt with its weight.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    /// The text without brackets.
    pub text: String,
    /// The weight: 1 for text without brackets.
    pub weight: f64,
}

/// Splits a prompt into parts of equal weight. No part is empty, and neighbours differ in weight.
///
/// # Errors
/// If a weight is beyond ±1000.
pub fn parts(prompt: &str) -> Result<Vec<Part>> {
    Ok(parse(prompt, false)?.remove(0))
}

/// Splits a prompt into sections at `BREAK`, and each of them into parts as [`parts`] does. There is at least one section,
/// and any may be empty.
///
/// # Errors
/// If a weight is beyond ±1000.
pub fn sections(prompt: &str) -> Result<Vec<Vec<Part>>> {
    parse(prompt, true)
}

fn parse(prompt: &str, has_sections: bool) -> Result<Vec<Vec<Part>>> {
    let mut parser = Parser { has_sections, ..Parser::default() };
    let mut rest = prompt;
    while !rest.is_empty() {
        let (mark, length) = first_mark(rest);
        let (typed, after) = rest.split_at(length);
        parser.take(mark, typed);
        rest = after;
    }
    let sections = parser.finish();
    let is_beyond = |part: &&Part| !(-MAX_WEIGHT..=MAX_WEIGHT).contains(&part.weight);
    if let Some(Part { text, weight }) = sections.iter().flatten().find(is_beyond) {
        let start: String = text.chars().take(40).collect();
        bail!("the brackets around '{start}' give it a weight of {weight:.0}; the largest is {MAX_WEIGHT}");
    }
    Ok(sections)
}

/// A kind of brackets.
#[derive(Clone, Copy)]
enum Bracket {
    Round,
    Square,
}

/// A token of the syntax.
enum Mark<'a> {
    Text(&'a str),
    Open(Bracket),
    /// A closing bracket, and the weight, if it is written.
    Close(Bracket, Option<f64>),
}

/// Returns the token at the start of a text that is not empty, and its length in bytes.
fn first_mark(text: &str) -> (Mark<'_>, usize) {
    match text.as_bytes() {
        [b'(', ..] => (Mark::Open(Bracket::Round), 1),
        [b'[', ..] => (Mark::Open(Bracket::Square), 1),
        [b')', ..] => (Mark::Close(Bracket::Round, None), 1),
        [b']', ..] => (Mark::Close(Bracket::Square, None), 1),
        [b'\\', b'(' | b')' | b'[' | b']' | b'\\', ..] => (Mark::Text(&text[1..2]), 2),
        [b'\\', ..] => (Mark::Text(""), 1),
        _ => match weight(text) {
            Some((weight, length)) => (Mark::Close(Bracket::Round, Some(weight)), length),
            None => {
                let end = text.char_indices().skip(1).find(|(_, c)| SPECIAL.contains(c));
                let end = end.map_or(text.len(), |(end, _)| end);
                (Mark::Text(&text[..end]), end)
            }
        },
    }
}

/// Parses a weight with its closing bracket, such as `:1.2)`, at the start of a text. Returns the weight and the length
/// in bytes. Spaces may surround the number.
fn weight(text: &str) -> Option<(f64, usize)> {
    let after = text.strip_prefix(':')?;
    let length = after.find(|c: char| !(c.is_ascii_digit() || c.is_whitespace() || "+-.".contains(c)))?;
    let (number, closing) = after.split_at(length);
    let weight = number.trim().parse().ok()?;
    closing.starts_with(')').then_some((weight, length + 2))
}

/// The parts of a prompt under construction.
#[derive(Default)]
struct Parser {
    parts: Vec<Part>,
    /// Whether `BREAK` ends a section.
    has_sections: bool,
    /// The indices of the parts that are `BREAK`.
    breaks: Vec<usize>,
    /// The index of the first part after each open bracket, for each kind of bracket.
    open: [Vec<usize>; 2],
    /// The brackets that are closed, for each kind.
    closed: [Vec<Span>; 2],
}

/// The parts in a pair of brackets.
#[derive(Clone, Copy)]
struct Span {
    first: usize,
    end: usize,
    factor: Factor,
}

/// A factor of a weight: `number` · 1.1^`exponent`. So brackets that cancel out do so exactly, however many they are.
#[derive(Clone, Copy)]
struct Factor {
    number: f64,
    exponent: i32,
}

impl Factor {
    const ONE: Self = Self { number: 1., exponent: 0 };

    /// Returns the factor of a pair of brackets, of which `weight` may be written.
    fn new(bracket: Bracket, weight: Option<f64>) -> Self {
        match (bracket, weight) {
            (_, Some(number)) => Self { number, ..Self::ONE },
            (Bracket::Round, None) => Self { exponent: 1, ..Self::ONE },
            (Bracket::Square, None) => Self { exponent: -1, ..Self::ONE },
        }
    }

    fn times(self, other: Self) -> Self {
        Self { number: self.number * other.number, exponent: self.exponent + other.exponent }
    }

    fn value(self) -> f64 {
        self.number * STEP.powi(self.exponent)
    }
}

impl Parser {
    /// Adds a token, which has the text `typed`.
    fn take(&mut self, mark: Mark, typed: &str) {
        match mark {
            Mark::Text(text) => self.push(text),
            Mark::Open(bracket) => self.open[bracket as usize].push(self.parts.len()),
            Mark::Close(bracket, weight) => match self.open[bracket as usize].pop() {
                Some(first) => {
                    let factor = Factor::new(bracket, weight);
                    self.closed[bracket as usize].push(Span { first, end: self.parts.len(), factor });
                }
                None => self.push(typed),
            },
        }
    }

    fn push(&mut self, text: &str) {
        if !self.has_sections {
            return self.parts.push(Part { text: text.to_owned(), weight: 1. });
        }
        let pieces: Vec<&str> = split_at_words(text, BREAK).collect();
        for (i, piece) in pieces.iter().enumerate() {
            let piece = if i > 0 { piece.trim_start() } else { piece };
            if i > 0 {
                self.breaks.push(self.parts.len());
                // With the space around it, if it becomes a word.
                self.parts.push(Part { text: format!(" {BREAK} "), weight: BREAK_WEIGHT });
            }
            let piece = if i + 1 < pieces.len() { piece.trim_end() } else { piece };
            self.parts.push(Part { text: piece.to_owned(), weight: 1. });
        }
    }

    /// Closes open brackets, splits the parts into sections, and merges neighbours of equal weight.
    fn finish(mut self) -> Vec<Vec<Part>> {
        let end = self.parts.len();
        let mut factors = vec![Factor::ONE; end];
        for ((open, mut closed), bracket) in
            self.open.into_iter().zip(self.closed).zip([Bracket::Round, Bracket::Square])
        {
            let factor = Factor::new(bracket, None);
            closed.extend(open.into_iter().map(|first| Span { first, end, factor }));
            multiply(&mut factors, closed);
        }
        for (part, factor) in self.parts.iter_mut().zip(factors) {
            part.weight *= factor.value();
        }
        let (mut sections, mut section) = (vec![], vec![]);
        let mut breaks = self.breaks.into_iter().peekable();
        for (i, part) in self.parts.into_iter().enumerate() {
            if breaks.next_if_eq(&i).is_some() && part.weight == BREAK_WEIGHT {
                sections.push(std::mem::take(&mut section));
            } else {
                add(&mut section, part);
            }
        }
        sections.push(section);
        sections
    }
}

/// Multiplies the factors of parts by those of the spans that they are in, which are nested. Takes linear time, even if
/// all spans contain all parts.
fn multiply(factors: &mut [Factor], mut spans: Vec<Span>) {
    // Outer spans first, the next one last.
    spans.sort_by_key(|span| (Reverse(span.first), span.end));
    // The spans that a part is in, each with the product of its factor and those of the spans around it.
    let mut around: Vec<Span> = vec![];
    for (i, factor) in factors.iter_mut().enumerate() {
        while around.pop_if(|span| span.end <= i).is_some() {}
        while let Some(mut span) = spans.pop_if(|span| span.first <= i) {
            span.factor = around.last().map_or(span.factor, |outer| outer.factor.times(span.factor));
            around.extend((span.end > i).then_some(span));
        }
        *factor = around.last().map_or(*factor, |span| factor.times(span.factor));
    }
}

/// Adds a part to a section, unless it is empty.
fn add(section: &mut Vec<Part>, part: Part) {
    match section.last_mut() {
        _ if part.text.is_empty() => (),
        Some(last) if last.weight == part.weight => last.text += &part.text,
        _ => section.push(part),
    }
}
