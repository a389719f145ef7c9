//! A batch split among several models.

use super::EpsModel;
use candle_core::{Result, Tensor};

/// The models of consecutive parts of a batch, each with its number of latents.
pub struct SplitBatch<'a>(pub Vec<(usize, Box<dyn EpsModel + 'a>)>);

impl EpsModel for SplitBatch<'_> {
    fn eps(&self, x: &Tensor, t: f64, a: f64) -> Result<Tensor> {
        if let [(_, model)] = &self.0[..] {
            return model.eps(x, t, a);
        }
        let mut eps = vec![];
        let mut first = 0;
        for (batch, model) in &self.0 {
            eps.push(model.eps(&x.narrow(0, first, *batch)?, t, a)?); // (B', h, w, C)
            first += batch;
        }
        Tensor::cat(&eps, 0) // (B, h, w, C)
    }
}
