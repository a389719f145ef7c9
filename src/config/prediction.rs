//! The prediction type of a denoiser.

use std::fmt;

/// The meaning of the UNet's output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prediction {
    /// The noise ε.
    Eps,
    /// The velocity v = √ᾱ·ε − √(1 − ᾱ)·x₀ (Salimans & Ho 2022, arXiv 2202.00512).
    V,
}

impl Prediction {
    /// Returns the prediction type that LDM (`eps`, `v`) or diffusers (`epsilon`, `v_prediction`) calls `name`, if it
    /// is supported.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "eps" | "epsilon" => Some(Self::Eps),
            "v" | "v_prediction" => Some(Self::V),
            _ => None,
        }
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Eps => "eps",
            Self::V => "v",
        })
    }
}
