//! Detection of the invisible watermark (`--verify_watermark`).

use super::watermark::{TEXT, Votes, bits, text, votes};
use super::{Picture, open};
use anyhow::Result;
use std::array;
use std::fmt;
use std::path::Path;

/// The watermark found in a picture, if any.
#[derive(Clone, PartialEq, Debug)]
pub struct Mark {
    /// The text of 17 characters; `None` if there is no watermark.
    pub text: Option<String>,
    /// The probability that `text` is right, 0.5 to 1.
    ///
    /// Each bit is a majority vote over its blocks. The error rate of a block is estimated from the disagreement in the
    /// whole picture; from it follows the probability that all votes are right. `StableDiffusionV1` is also recognised
    /// if some bits are unreadable: Hoeffding's inequality bounds the probability that the votes of an unmarked picture
    /// match it as well, and with a prior of one marked picture in a thousand, Bayes' rule gives the probability.
    pub probability: f32,
}

/// The prior odds against a picture carrying the watermark.
const RARITY: f64 = 1000.;
/// The least probability at which a text other than `TEXT` is accepted.
const CLEAR: f64 = 0.99;

/// Detects a watermark of 17 characters, the original's or another, in a PNG, JPEG or WebP file.
///
/// A watermark survives JPEG without chroma subsampling down to a quality of about 75. Chroma subsampling, the default
/// of many programs, destroys most or all of it, as do scaling and cropping.
///
/// # Errors
/// If the file cannot be read or is not a picture.
pub fn verify(path: &Path) -> Result<Mark> {
    Ok(Mark::of(&open(path)?))
}

impl Mark {
    /// Detects the watermark of `picture`.
    pub fn of(picture: &Picture) -> Self {
        let votes = votes(picture, TEXT.len());
        let (any, ours) = (probability_of_any(&votes), probability_of_ours(&votes));
        match readable(text(&votes)) {
            Some(text) if text != TEXT && any >= CLEAR => Self { text: Some(text), probability: any as f32 },
            _ if ours >= 0.5 => Self { text: Some(TEXT.into()), probability: ours as f32 },
            _ => Self { text: None, probability: (1. - ours) as f32 },
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{text} ({:.0}% certain)", 100. * self.probability),
            None => write!(f, "no watermark"),
        }
    }
}

fn readable(text: Vec<u8>) -> Option<String> {
    let is_plain = text.iter().all(|&byte| byte == b' ' || byte.is_ascii_graphic());
    String::from_utf8(text).ok().filter(|_| is_plain)
}

/// Returns the probability that the picture carries `TEXT`, by Bayes' rule.
fn probability_of_ours(votes: &[Votes]) -> f64 {
    let fit = fit(votes).max(0.);
    // Hoeffding: a random text fits as well with at most this probability.
    let chance = (-fit * fit / 2.).exp();
    1. / (1. + RARITY * chance)
}

/// Returns the fit of the votes to `TEXT`, which for random texts has mean 0 and standard deviation 1.
fn fit(votes: &[Votes]) -> f64 {
    let leans = leans(votes);
    let sum: f64 = leans.iter().zip(bits(TEXT.as_bytes())).map(|(lean, bit)| if bit { *lean } else { -lean }).sum();
    let squares: f64 = leans.iter().map(|lean| lean * lean).sum();
    // The fit is 0 if no bit leans either way.
    sum / squares.sqrt().max(1e-6)
}

/// Returns the share of ones of each bit, minus the mean share at the same bit position of all bytes, because all texts are
/// similar there.
fn leans(votes: &[Votes]) -> Vec<f64> {
    let share = |votes: &Votes| if votes.all > 0. { votes.ones / votes.all } else { 0.5 };
    let mean = |bit| votes.iter().skip(bit).step_by(8).map(share).sum::<f64>() / TEXT.len() as f64;
    let means: [f64; 8] = array::from_fn(mean);
    votes.iter().zip(means.into_iter().cycle()).map(|(votes, mean)| share(votes) - mean).collect()
}

/// Returns the probability that the majority is right about every bit, if the errors of blocks are independent.
fn probability_of_any(votes: &[Votes]) -> f64 {
    let all: f64 = votes.iter().map(|votes| votes.all).sum();
    let wrong: f64 = votes.iter().map(|votes| votes.ones.min(votes.all - votes.ones)).sum();
    // At least one error, so that the rate is not 0.
    let share = wrong.max(1.) / all.max(2.);
    let lead = |votes: &Votes| (2. * votes.ones - votes.all).abs();
    votes.iter().map(|votes| 1. / (1. + (share / (1. - share)).powf(lead(votes)))).product()
}
