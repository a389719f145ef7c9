//! Joining of maps.

use super::backend;
use candle_core::{Result, Tensor, bail};

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
