//! Resizing and joining of maps.

use super::backend;
use candle_core::{Result, Tensor, bail};

/// Repeats every pixel in a 2×2 square and crops: (B, h, w, C) → (B, `height`, `width`, C).
///
/// # Errors
/// If `height` is neither 2h nor 2h − 1, `width` neither 2w nor 2w − 1, or the device fails.
pub fn upsample_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (_, h, w, _) = x.dims4()?;
    if height.div_ceil(2) != h || width.div_ceil(2) != w {
        bail!("cannot upsample {:?} to {height}×{width}", x.dims());
    }
    backend::of(x.device())?.upsample_nearest(x, height, width)
}

/// Concatenates channels: `x` (R·B, h, w, C_x) and `skip` (B, h, w, C_skip), repeated R times → (R·B, h, w,
/// C_x + C_skip).
///
/// # Errors
/// If the shapes do not fit, or the device fails.
pub fn concat(x: &Tensor, skip: &Tensor) -> Result<Tensor> {
    let ((b, h, w, _), (b_skip, h_skip, w_skip, _)) = (x.dims4()?, skip.dims4()?);
    if (h, w) != (h_skip, w_skip) || b_skip == 0 || b % b_skip != 0 {
        bail!("cannot concatenate the channels of {:?} and {:?}", x.dims(), skip.dims());
    }
    backend::of(x.device())?.concat(x, skip)
}
