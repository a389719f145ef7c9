//! Work that is done again and again.

#[cfg(feature = "cuda")]
use super::cuda;
use candle_core::{Result, Tensor};

/// A piece of work, always on tensors of the same shapes. Cards are told it once, and then do it as a whole.
#[derive(Default)]
pub struct Replay {
    #[cfg(feature = "cuda")]
    graph: cuda::Graph,
}

impl Replay {
    /// Does the work on these tensors; all else that it reads stays where it is.
    pub fn run<const N: usize>(
        &self,
        inputs: [&Tensor; N],
        work: impl Fn([&Tensor; N]) -> Result<Tensor>,
    ) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if inputs.iter().all(|x| x.device().is_cuda()) {
            return self.graph.run(inputs, work);
        }
        work(inputs)
    }
}
