//! Work that is done again and again.

#[cfg(feature = "cuda")]
use super::cuda;
use candle_core::{Result, Tensor};

/// A piece of work, again and again on tensors of the same shapes. Cards are told it once, and then do it as a whole.
#[derive(Default)]
pub struct Replay {
    #[cfg(feature = "cuda")]
    graphs: cuda::Graphs,
}

impl Replay {
    /// Does the work on these tensors. number: what it depends on besides; all else that it reads is always the same.
    pub fn run(
        &self,
        inputs: &[&Tensor],
        number: Option<f64>,
        work: impl Fn(&[&Tensor]) -> Result<Tensor>,
    ) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if inputs.iter().all(|x| x.device().is_cuda()) {
            return self.graphs.run(inputs, number, work);
        }
        let _ = number;
        work(inputs)
    }
}
