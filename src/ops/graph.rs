//! Work that is repeated with tensors of the same shapes.

use super::backend::{self, Capture};
use candle_core::{Device, Result, Tensor};

/// Repeated work. GPUs capture it once (CUDA graphs) and then replay it as a whole; CPUs run it each time.
pub struct Graph(Box<dyn Capture>);

impl Graph {
    /// # Errors
    /// If there are no kernels for `device`.
    pub fn new(device: &Device) -> Result<Self> {
        Ok(Self(backend::of(device)?.graph()))
    }

    /// Returns `work(inputs)`. `work` may depend on `inputs`, on `number`, and on tensors that never change.
    pub fn run(
        &self,
        inputs: &[&Tensor],
        number: Option<f64>,
        work: impl Fn(&[&Tensor]) -> Result<Tensor>,
    ) -> Result<Tensor> {
        self.0.run(inputs, number, &work)
    }
}
