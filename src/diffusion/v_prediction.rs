//! Models that predict the velocity v instead of the noise (Salimans & Ho 2022, arXiv 2202.00512).

use super::EpsModel;
use crate::ops::weighted_sum;
use candle_core::{Result, Tensor};

/// A model whose output is v = √ᾱ·ε − √(1 − ᾱ)·x₀, converted to the noise ε = √ᾱ·v + √(1 − ᾱ)·x.
///
/// Guidance may be inside: it is linear in the output, so guiding v for one `x` is guiding ε.
pub struct VPrediction<'a>(pub Box<dyn EpsModel + 'a>);

impl EpsModel for VPrediction<'_> {
    fn eps(&self, x: &Tensor, t: f64, a: f64) -> Result<Tensor> {
        let v = self.0.eps(x, t, a)?; // (B, h, w, C)
        weighted_sum(&[(&v, a.sqrt()), (x, (1. - a).sqrt())])
    }
}
