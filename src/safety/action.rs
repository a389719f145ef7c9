//! The treatment of flagged images (`--safety`).

use crate::by_name::ByName;
use crate::output::{self, Picture};

/// The treatment of a flagged image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Replaces the image by a black one, as the original's substitute photo is not available.
    Replace,
    /// Replaces the image by a black one.
    Black,
    /// Blurs the image until it is unrecognisable.
    Blur,
    /// Leaves the image unchanged, and only reports it.
    Flag,
    /// Does not check images.
    Off,
}

/// The standard deviation of the blur, as a fraction of the longer side.
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
    /// Describes the effect on an image, for messages.
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Replace | Self::Black => "replaced by a black one",
            Self::Blur => "blurred",
            Self::Flag | Self::Off => "left unchanged",
        }
    }

    /// Applies the action to a flagged image.
    pub fn apply(self, picture: &mut Picture) {
        match self {
            Self::Replace | Self::Black => picture.rgb.fill(0),
            Self::Blur => output::blur(picture, BLUR * picture.width.max(picture.height) as f32),
            Self::Flag | Self::Off => {}
        }
    }
}
