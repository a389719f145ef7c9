//! The prediction type of a denoiser.

use crate::by_name::ByName;
use std::fmt;

/// The meaning of the UNet's output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prediction {
    /// The noise ε.
    Eps,
    /// The velocity v = √ᾱ·ε − √(1 − ᾱ)·x₀ (Salimans & Ho 2022, arXiv 2202.00512).
    V,
}

impl ByName for Prediction {
    /// LDM's names.
    const ALL: &'static [(&'static str, Self)] = &[("eps", Self::Eps), ("v", Self::V)];
}

impl Prediction {
    /// Returns the prediction type that LDM (`eps`, `v`) or diffusers (`epsilon`, `v_prediction`) calls `name`, if it
    /// is supported.
    pub fn from_any_name(name: &str) -> Option<Self> {
        match name {
            "epsilon" => Some(Self::Eps),
            "v_prediction" => Some(Self::V),
            name => Self::from_name(name),
        }
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}
