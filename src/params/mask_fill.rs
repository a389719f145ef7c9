//! The start of sampling in the region that a mask marks.

use crate::by_name::ByName;

/// The value of `--mask_fill`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MaskFill {
    /// From the picture, as elsewhere.
    #[default]
    Original,
    /// From noise alone.
    Noise,
}

impl ByName for MaskFill {
    const ALL: &'static [(&'static str, Self)] = &[("original", MaskFill::Original), ("noise", MaskFill::Noise)];
}
