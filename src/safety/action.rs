//! `--safety`: what becomes of a picture that is flagged.

use crate::by_name::ByName;
use crate::output::{self, Picture};

/// What becomes of a picture that is flagged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Another takes its place: a black one, for want of the original's.
    Replace,
    /// It is all black.
    Black,
    /// It is blurred until nothing can be made out.
    Blur,
    /// Nothing: that it is flagged is said elsewhere.
    Flag,
    /// Nothing: there is no checker.
    Off,
}

/// The blur's standard deviation is this share of the longer side.
const BLUR: f32 = 1. / 16.;

impl ByName for Action {
    const ALL: &'static [(&'static str, Self)] = &[
        ("replace", Action::Replace),
        ("black", Action::Black),
        ("blur", Action::Blur),
        ("flag", Action::Flag),
        ("off", Action::Off),
    ];
}

impl Action {
    /// What it did to a picture, in words.
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Replace | Self::Black => "it is black",
            Self::Blur => "it is blurred",
            Self::Flag | Self::Off => "it is left as it is",
        }
    }

    /// Does to the picture what is to be done to one that is flagged.
    pub fn apply(self, picture: &mut Picture) {
        match self {
            Self::Replace | Self::Black => picture.rgb.fill(0),
            Self::Blur => output::blur(picture, BLUR * picture.width.max(picture.height) as f32),
            Self::Flag | Self::Off => {}
        }
    }
}
