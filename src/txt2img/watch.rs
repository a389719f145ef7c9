//! A denoiser that is looked at while it works, for what the picture will be.

use crate::diffusion::EpsModel;
use crate::diffusion::schedule::Schedule;
use crate::ops::weighted_sum;
use candle_core::{Result, Tensor};
use std::cell::RefCell;

/// Passes everything on, and remembers.
pub struct Watched<'a> {
    model: &'a dyn EpsModel,
    schedule: &'a Schedule,
    x0: RefCell<Option<Tensor>>, // (B, h, w, C)
}

impl<'a> Watched<'a> {
    /// schedule: the model's.
    pub fn new(model: &'a dyn EpsModel, schedule: &'a Schedule) -> Self {
        Self { model, schedule, x0: RefCell::new(None) }
    }

    /// What it last took the latents for, without their noise: (B, h, w, C).
    pub fn x0(&self) -> Option<Tensor> {
        self.x0.borrow().clone()
    }
}

impl EpsModel for Watched<'_> {
    fn eps(&self, x: &Tensor, t: f64) -> Result<Tensor> {
        let eps = self.model.eps(x, t)?;
        let a = self.schedule.alpha_cumprod_near(t);
        self.x0.replace(Some(weighted_sum(&[(x, a.sqrt().recip()), (&eps, -((1. - a) / a).sqrt())])?));
        Ok(eps)
    }
}
