//! A denoiser that is looked at while it works: for what cannot be a picture, and for what the picture will be.

use crate::diffusion::EpsModel;
use crate::diffusion::schedule::Schedule;
use candle_core::{DType, Result, Tensor};
use std::cell::RefCell;

/// Passes everything on, and remembers.
pub struct Watched<'a> {
    model: &'a dyn EpsModel,
    schedule: &'a Schedule,
    keeps_x0: bool,
    x0: RefCell<Option<Tensor>>, // (B, h, w, C)
    /// The sum of all that it ever gave: only numbers have a number for a sum, and a card is not waited for to know it.
    sum: RefCell<Option<Tensor>>, // in f64
}

impl<'a> Watched<'a> {
    /// keeps_x0: whether `x0` will be asked for.
    pub fn new(model: &'a dyn EpsModel, schedule: &'a Schedule, keeps_x0: bool) -> Self {
        Self { model, schedule, keeps_x0, x0: RefCell::new(None), sum: RefCell::new(None) }
    }

    /// Whether all that it ever gave were numbers.
    ///
    /// # Errors
    /// When the device fails.
    pub fn is_finite(&self) -> Result<bool> {
        self.sum.borrow().as_ref().map_or(Ok(true), is_number)
    }

    /// What it last took the latents for, without their noise: (B, h, w, C).
    pub fn x0(&self) -> Option<Tensor> {
        self.x0.borrow().clone()
    }
}

impl EpsModel for Watched<'_> {
    fn eps(&self, x: &Tensor, t: f64) -> Result<Tensor> {
        let eps = self.model.eps(x, t)?;
        let mut sum = sum(&eps)?;
        if let Some(before) = self.sum.take() {
            sum = (sum + before)?;
        }
        self.sum.replace(Some(sum));
        if self.keeps_x0 {
            let a = self.schedule.alpha_cumprod_near(t);
            *self.x0.borrow_mut() = Some(((x - (&eps * (1. - a).sqrt())?)? / a.sqrt())?);
        }
        Ok(eps)
    }
}

/// Whether all values are numbers.
pub fn is_finite(x: &Tensor) -> Result<bool> {
    is_number(&sum(x)?)
}

/// NaN and infinities survive a sum, and a sum of finite f32 is finite in f64.
fn sum(x: &Tensor) -> Result<Tensor> {
    // Row by row: cards add up rows beside each other.
    x.to_dtype(DType::F64)?.flatten_to(1)?.flatten_from(1)?.sum(1)?.sum_all()
}

fn is_number(sum: &Tensor) -> Result<bool> {
    Ok(sum.to_scalar::<f64>()?.is_finite())
}
