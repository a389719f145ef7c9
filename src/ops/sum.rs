//! Weighted sums of latents: every sampler step is one, and so is guidance.

use super::backend;
use candle_core::{Result, Tensor, bail};

/// The largest number of terms in a sum.
pub const MAX_TERMS: usize = 8;

/// Σ weight · x over tensors of one shape, in f32. The sum is accumulated in f64 and rounded once, so weights of
/// opposite signs lose no precision.
///
/// # Errors
/// If there are no terms or more than 8, if shapes differ, or if the device fails.
pub fn weighted_sum(terms: &[(&Tensor, f64)]) -> Result<Tensor> {
    let [(first, _), more @ ..] = terms else { bail!("a weighted sum needs at least one term") };
    if terms.len() > MAX_TERMS {
        bail!("a weighted sum has at most {MAX_TERMS} terms, not {}", terms.len());
    }
    for (x, _) in more {
        if x.shape() != first.shape() {
            bail!("cannot add tensors of shapes {:?} and {:?}", first.dims(), x.dims());
        }
    }
    backend::of(first.device())?.weighted_sum(terms)
}
