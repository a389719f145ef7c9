//! DeepCache (Ma et al. 2023, arXiv 2312.00858): the deep layers of the UNet change little from one step to the next, so most
//! steps reuse their output.

use anyhow::{Error, Result, bail, ensure};
use candle_core::Tensor;
use std::fmt;
use std::str::FromStr;

/// The evaluations in which the whole UNet runs, and the layers that run in the others.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DeepCache {
    /// The whole UNet runs in one of so many evaluations, from the first on; 1 is always.
    pub every: usize,
    /// The skip connection up to which layers run in the other evaluations. 0 is the outermost: only the first convolution and
    /// the last block run.
    pub branch: usize,
}

/// The largest plausible value of either number.
const MAX: usize = 1000;

impl Default for DeepCache {
    /// The whole UNet in all evaluations.
    fn default() -> Self {
        Self { every: 1, branch: 0 }
    }
}

impl FromStr for DeepCache {
    type Err = Error;

    /// Parses `N` or `N,BRANCH`. An error is a clause.
    fn from_str(text: &str) -> Result<Self> {
        let (every, branch) = text.split_once(',').unwrap_or((text, "0"));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number <= MAX);
        let (Some(every), Some(branch)) = (number(every), number(branch)) else {
            bail!("not one or two whole numbers up to {MAX}, such as 3 or 3,1");
        };
        ensure!(every > 0, "not at least 1, which runs the whole UNet in every step");
        // Without effect if the whole UNet always runs.
        let branch = if every == 1 { 0 } else { branch };
        Ok(Self { every, branch })
    }
}

impl fmt::Display for DeepCache {
    /// Writes the numbers as they are parsed.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.branch {
            0 => write!(f, "{}", self.every),
            branch => write!(f, "{},{branch}", self.every),
        }
    }
}

/// The output of the deep layers for one batch, and the evaluations since it was computed.
#[derive(Default)]
pub struct DeepFeatures {
    features: Option<Tensor>,
    evaluations: usize,
}

impl DeepFeatures {
    /// Takes the features if the next evaluation reuses them, and counts that evaluation.
    pub fn next(&mut self, every: usize) -> Option<Tensor> {
        let is_whole = self.evaluations.is_multiple_of(every);
        self.evaluations += 1;
        if is_whole { None } else { self.features.clone() }
    }

    /// Keeps the features of an evaluation of the whole UNet.
    pub fn keep(&mut self, features: Tensor) {
        self.features = Some(features);
    }
}
