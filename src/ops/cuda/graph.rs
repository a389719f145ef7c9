//! Work on a card that was done once and is done again as a whole (CUDA graphs).

use super::card::{address, release_memory, unwritten};
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaGraph, result, sys};
use candle_core::{CudaDevice, DType, Error, Result, Shape, Tensor};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{array, env};

/// A piece of work, always on tensors of the same shapes.
#[derive(Default)]
pub struct Graph(Mutex<State>);

#[derive(Default)]
enum State {
    /// Never done.
    #[default]
    New,
    /// Done once, so that all kernels are loaded: what it gave is of this shape.
    Tried(Vec<Shape>, Shape, DType),
    /// Recorded.
    Recorded(Recording),
    /// It cannot be recorded.
    Hopeless,
}

/// Work on tensors that stay where they are.
struct Recording {
    graph: CudaGraph,
    inputs: Vec<Tensor>,
    output: Tensor,
}

// SAFETY: a graph may be used by any thread, but by one at a time, which the mutex sees to.
unsafe impl Send for State {}

impl Graph {
    /// Does the work, which depends on nothing but these tensors and others that stay where they are.
    pub fn run<const N: usize>(
        &self,
        inputs: [&Tensor; N],
        work: impl Fn([&Tensor; N]) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shapes = || inputs.iter().map(|x| x.shape().clone()).collect::<Vec<_>>();
        if let State::Tried(tried, shape, dtype) = &*state
            && *tried == shapes()
        {
            *state = match Recording::new(inputs, shape, *dtype, &work) {
                Ok(recording) => State::Recorded(recording),
                Err(error) => State::hopeless(error)?,
            };
        }
        if let State::Recorded(recording) = &*state
            && recording.fits(&inputs)
        {
            match recording.run(&inputs) {
                Ok(y) => return Ok(y),
                Err(error) => *state = State::hopeless(error)?,
            }
            release_memory(inputs[0].device());
        }
        let y = work(inputs)?;
        if let State::New = *state {
            *state = match wish() {
                Wish::Never => State::Hopeless,
                Wish::Always | Wish::Perhaps => State::Tried(shapes(), y.shape().clone(), y.dtype()),
            };
        }
        Ok(y)
    }
}

impl State {
    /// After this error the work is done piece by piece, unless that is not wished.
    fn hopeless(error: Error) -> Result<Self> {
        if wish() == Wish::Always { Err(error) } else { Ok(Self::Hopeless) }
    }
}

/// What `TXT2IMG_GRAPH` says of recording: 0, never; 1, always, and where it cannot be that is an error.
#[derive(Clone, Copy, PartialEq)]
enum Wish {
    Never,
    Perhaps,
    Always,
}

fn wish() -> Wish {
    static WISH: OnceLock<Wish> = OnceLock::new();
    *WISH.get_or_init(|| match env::var("TXT2IMG_GRAPH").as_deref() {
        Ok("0") => Wish::Never,
        Ok("1") => Wish::Always,
        _ => Wish::Perhaps,
    })
}

impl Recording {
    fn new<const N: usize>(
        inputs: [&Tensor; N],
        shape: &Shape,
        dtype: DType,
        work: impl Fn([&Tensor; N]) -> Result<Tensor>,
    ) -> Result<Self> {
        let device = inputs[0].device().as_cuda_device()?;
        // SAFETY: `run` writes the inputs before the work reads them, and the work writes the output.
        let (own, output) = unsafe {
            let own = inputs.iter().map(|x| unwritten(device, x.dtype(), x.shape()));
            (own.collect::<Result<Vec<_>>>()?, unwritten(device, dtype, shape)?)
        };
        // A recording has memory of its own: what the work took before is not needed any more.
        release_memory(inputs[0].device());
        let stream = device.cuda_stream();
        stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).w()?;
        // What the work makes is freed by the recording itself.
        let done = work(array::from_fn(|i| &own[i])).and_then(|y| copy(device, &y, &output));
        // Errors that were noted on the way would keep the recording from being ended, and the stream from all other work.
        let _ = stream.context().check_err();
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).w();
        let _ = stream.context().check_err();
        done?;
        match graph? {
            Some(graph) => Ok(Self { graph, inputs: own, output }),
            None => candle_core::bail!("nothing was recorded"),
        }
    }

    fn fits(&self, inputs: &[&Tensor]) -> bool {
        inputs.iter().zip(&self.inputs).all(|(x, own)| x.shape() == own.shape())
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let device = self.output.device().as_cuda_device()?;
        for (x, own) in inputs.iter().zip(&self.inputs) {
            copy(device, &x.contiguous()?, own)?;
        }
        self.graph.launch().w()?;
        // SAFETY: it is written at once.
        let y = unsafe { unwritten(device, self.output.dtype(), self.output.shape())? };
        copy(device, &self.output, &y)?;
        Ok(y)
    }
}

/// The numbers of one tensor in one piece into another that is as large.
fn copy(device: &CudaDevice, from: &Tensor, to: &Tensor) -> Result<()> {
    let bytes = from.elem_count() * from.dtype().size_in_bytes();
    if !from.is_contiguous() || from.shape() != to.shape() || from.dtype() != to.dtype() {
        candle_core::bail!("{:?} is not copied to {:?}", from.shape(), to.shape());
    }
    let stream = device.cuda_stream();
    stream.context().bind_to_thread().w()?;
    // SAFETY: both are as many bytes, and nobody else writes them.
    unsafe { result::memcpy_dtod_async(address(to)?, address(from)?, bytes, stream.cu_stream()) }.w()
}
