//! A denoiser that is looked at while it works, for what the picture will be.

use crate::diffusion::EpsModel;
use crate::ops::weighted_sum;
use candle_core::{Result, Tensor};
use std::cell::RefCell;

/// Passes everything on, and remembers.
pub struct Watched<'a> {
    model: &'a dyn EpsModel,
    x0: RefCell<Option<Tensor>>, // (B, h, w, C)
}

impl<'a> Watched<'a> {
    /// Wraps `model`.
    pub fn new(model: &'a dyn EpsModel) -> Self {
        Self { model, x0: RefCell::new(None) }
    }

    /// Returns the clean latents that the model last saw in its input: (B, h, w, C).
    pub fn x0(&self) -> Option<Tensor> {
        self.x0.borrow().clone()
    }
}

impl EpsModel for Watched<'_> {
    fn eps(&self, x: &Tensor, t: f64, a: f64) -> Result<Tensor> {
        let eps = self.model.eps(x, t, a)?;
        self.x0.replace(Some(weighted_sum(&[(x, a.sqrt().recip()), (&eps, -((1. - a) / a).sqrt())])?));
        Ok(eps)
    }
}
