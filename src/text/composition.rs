//! Prompts of several subprompts, in the syntax of AUTOMATIC1111's web UI.
//!
//! The word `AND` separates subprompts, whose effects on the picture are added (Liu et al. 2022, arXiv 2206.01714). A
//! number after a colon at the end of a subprompt, `a cat :0.5`, is its weight, also if it is the only one.

use anyhow::{Result, bail, ensure};

/// The word between subprompts.
const AND: &str = "AND";

/// The largest weight. Those above 2 already distort the image.
const MAX_WEIGHT: f64 = 1000.;

/// The most subprompts, each of which takes an evaluation of the UNet in each step.
const MAX_SUBPROMPTS: usize = 100;

/// A part of a prompt that is encoded by itself.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Subprompt<'a> {
    /// The text without the weight and the space around it.
    pub text: &'a str,
    /// The weight of its effect: 1 if none is given.
    pub weight: f64,
}

/// Splits a prompt into its subprompts, of which there is at least one.
///
/// # Errors
/// If a weight is beyond ±1000, or there are more than 100.
pub fn subprompts(prompt: &str) -> Result<Vec<Subprompt<'_>>> {
    let texts: Vec<&str> = split_at_words(prompt, AND).collect();
    let n = texts.len();
    ensure!(n <= MAX_SUBPROMPTS, "the prompt has {n} subprompts joined by {AND}; the most is {MAX_SUBPROMPTS}");
    texts.into_iter().map(subprompt).collect()
}

/// Splits a text at each place where `word` is a whole word.
pub fn split_at_words<'a>(text: &'a str, word: &'static str) -> impl Iterator<Item = &'a str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let is_whole = move |&(at, _): &(usize, &str)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    };
    let mut places = text.match_indices(word).filter(is_whole).map(|(at, _)| at);
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let from = start?;
        let end = places.next();
        start = end.map(|end| end + word.len());
        Some(&text[from..end.unwrap_or(text.len())])
    })
}

/// Separates a subprompt from its weight.
fn subprompt(typed: &str) -> Result<Subprompt<'_>> {
    let text = typed.trim();
    let weighted = text.rsplit_once(':').and_then(|(text, number)| Some((text.trim_end(), weight(number)?)));
    let (text, weight) = weighted.unwrap_or((text, 1.));
    if !(-MAX_WEIGHT..=MAX_WEIGHT).contains(&weight) {
        let start: String = text.chars().take(40).collect();
        bail!("the subprompt '{start}' has a weight of {weight}; the largest is {MAX_WEIGHT}");
    }
    Ok(Subprompt { text, weight })
}

/// Parses a weight: digits with an optional sign and point.
fn weight(number: &str) -> Option<f64> {
    let number = number.trim();
    // Neither exponents nor `inf`, which `parse` takes.
    number.chars().all(|c| c.is_ascii_digit() || "+-.".contains(c)).then(|| number.parse().ok())?
}
