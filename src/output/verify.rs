//! `--verify_watermark`: whether a picture carries the watermark, and how sure that is.

use std::array;
use std::fmt;
use std::path::Path;

use anyhow::Result;

use super::watermark::{TEXT, Votes, bits, text, votes};
use super::{Picture, open};

/// What the watermark of a picture says.
#[derive(Clone, PartialEq, Debug)]
pub struct Mark {
    /// 17 characters; none if there is no watermark.
    pub text: Option<String>,
    /// The probability that this is so, 0.5 to 1.
    ///
    /// Many blocks of the picture hold each bit of the text. A text is read when most blocks agree about each bit; a
    /// block is taken to be wrong as often as blocks differ from most in the whole picture, which gives the probability
    /// that all bits are right. `StableDiffusionV1` is also recognised with bits past reading: blocks lean to 1 where
    /// its bits are 1 by more than chance, which Hoeffding's inequality bounds, and one picture in a thousand is taken
    /// to carry it, which makes a probability by Bayes' rule.
    pub sure: f32,
}

/// How many pictures there are to one with a watermark.
const RARITY: f64 = 1000.;
/// From this probability on, a text that is read is believed.
const CLEAR: f64 = 0.99;

/// Looks for a watermark of 17 characters, the original's or another, in a PNG, JPEG or WebP file.
///
/// JPEG at full colour resolution leaves it readable down to a quality of about 75. At half the colour resolution, which
/// many programs choose, little or nothing of it is left, as after scaling and cropping.
///
/// # Errors
/// When the file is no picture or cannot be read.
pub fn verify(path: &Path) -> Result<Mark> {
    Ok(Mark::of(&open(path)?))
}

impl Mark {
    /// Looks for one in a picture.
    pub fn of(picture: &Picture) -> Self {
        let votes = votes(picture, TEXT.len());
        let (read, ours) = (certainty_of_read(&votes), certainty_of_ours(&votes));
        match readable(text(&votes)) {
            Some(text) if text != TEXT && read >= CLEAR => Self { text: Some(text), sure: read as f32 },
            _ if ours >= 0.5 => Self { text: Some(TEXT.into()), sure: ours as f32 },
            _ => Self { text: None, sure: (1. - ours) as f32 },
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{text} (sure: {:.0}%)", 100. * self.sure),
            None => write!(f, "no watermark"),
        }
    }
}

fn readable(text: Vec<u8>) -> Option<String> {
    let is_plain = text.iter().all(|&byte| byte == b' ' || byte.is_ascii_graphic());
    String::from_utf8(text).ok().filter(|_| is_plain)
}

/// That the votes come from `TEXT`, by Bayes.
fn certainty_of_ours(votes: &[Votes]) -> f64 {
    let fit = fit(votes).max(0.);
    // Hoeffding: a text drawn at random fits as well no more often than this.
    let chance = (-fit * fit / 2.).exp();
    1. / (1. + RARITY * chance)
}

/// How well the votes fit `TEXT`: 0 on average, with a deviation of 1, for texts drawn at random.
fn fit(votes: &[Votes]) -> f64 {
    let leans = leans(votes);
    let sum: f64 = leans.iter().zip(bits(TEXT.as_bytes())).map(|(lean, bit)| if bit { *lean } else { -lean }).sum();
    let squares: f64 = leans.iter().map(|lean| lean * lean).sum();
    // Even votes fit nothing.
    sum / squares.sqrt().max(1e-6)
}

/// How much more often blocks say 1 than for bits at the same place in other bytes: texts have those in common.
fn leans(votes: &[Votes]) -> Vec<f64> {
    let share = |votes: &Votes| if votes.all > 0. { votes.ones / votes.all } else { 0.5 };
    let mean = |place| votes.iter().skip(place).step_by(8).map(share).sum::<f64>() / TEXT.len() as f64;
    let means: [f64; 8] = array::from_fn(mean);
    votes.iter().zip(means.into_iter().cycle()).map(|(votes, mean)| share(votes) - mean).collect()
}

/// That every bit is what most of its blocks say, if blocks are wrong independently.
fn certainty_of_read(votes: &[Votes]) -> f64 {
    let all: f64 = votes.iter().map(|votes| votes.all).sum();
    let wrong: f64 = votes.iter().map(|votes| votes.ones.min(votes.all - votes.ones)).sum();
    // One, should none be.
    let share = wrong.max(1.) / all.max(2.);
    let lead = |votes: &Votes| (2. * votes.ones - votes.all).abs();
    votes.iter().map(|votes| 1. / (1. + (share / (1. - share)).powf(lead(votes)))).product()
}
