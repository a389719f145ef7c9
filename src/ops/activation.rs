//! Activation functions that are not part of another operation.

use super::backend;
use candle_core::{Result, Tensor};

/// The factor of CLIP's approximation of GELU (Hendrycks & Gimpel 2016, arXiv 1606.08415).
pub(super) const QUICK_GELU: f64 = 1.702;

/// x · sigmoid(1.702 · x) of each element, in f32.
///
/// # Errors
/// If the device fails.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    backend::of(x.device())?.quick_gelu(x)
}
