//! Work on a card that was done once and is done again as a whole (CUDA graphs).

use super::gpu::{address, release_memory, uninit};
use crate::ops::backend::Capture;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaGraph, result, sys};
use candle_core::{CudaDevice, DType, Error, Result, Shape, Tensor};
use std::env;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Pieces of work, each always on tensors of the same shapes; the latest of them.
#[derive(Default)]
pub struct GraphCache(Mutex<Vec<(Key, State)>>);

/// How many are kept: batches may be cut into parts of two sizes, with and without guidance.
const KEPT: usize = 4;

/// What tells pieces of work apart.
#[derive(Clone, PartialEq)]
struct Key {
    shapes: Vec<Shape>,
    number: Option<u64>,
}

enum State {
    /// Done once, so that all kernels are loaded: what it gave is of this shape.
    Tried(Shape, DType),
    /// Recorded.
    Recorded(Recording),
    /// It cannot be recorded.
    Hopeless,
}

/// Work on tensors that stay where they are.
struct Recording {
    graph: CudaGraph,
    inputs: Vec<Tensor>,
    /// What was copied there last.
    given: Vec<Tensor>,
    output: Tensor,
}

// SAFETY: a graph may be used by any thread, but by one at a time, which the mutex sees to.
unsafe impl Send for State {}

impl Capture for GraphCache {
    fn run(
        &self,
        inputs: &[&Tensor],
        number: Option<f64>,
        work: &dyn Fn(&[&Tensor]) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Recorded, a copy of candle's from memory that is free by then would be made again; of these it keeps copies on
        // the card, and makes an error of others.
        let _kept = inputs[0].device().as_cuda_device()?.enable_cuda_graph_htod_cache();
        let shapes = inputs.iter().map(|x| x.shape().clone()).collect();
        let key = Key { shapes, number: number.map(f64::to_bits) };
        let Some((_, state)) = all.iter_mut().find(|(other, _)| *other == key) else {
            let y = work(inputs)?;
            all.truncate(KEPT - 1);
            let state = match wish() {
                Wish::Never => State::Hopeless,
                Wish::Always | Wish::Perhaps => State::Tried(y.shape().clone(), y.dtype()),
            };
            all.insert(0, (key, state));
            return Ok(y);
        };
        if let State::Tried(shape, dtype) = state {
            *state = match Recording::new(inputs, shape, *dtype, work) {
                Ok(recording) => State::Recorded(recording),
                Err(error) => State::hopeless(error)?,
            };
        }
        if let State::Recorded(recording) = state {
            match recording.run(inputs) {
                Ok(y) => return Ok(y),
                Err(error) => *state = State::hopeless(error)?,
            }
            release_memory(inputs[0].device());
        }
        work(inputs)
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
    fn new(
        inputs: &[&Tensor],
        shape: &Shape,
        dtype: DType,
        work: impl Fn(&[&Tensor]) -> Result<Tensor>,
    ) -> Result<Self> {
        let device = inputs[0].device().as_cuda_device()?;
        // SAFETY: `run` writes the inputs before the work reads them, and the work writes the output.
        let (own, output) = unsafe {
            let own = inputs.iter().map(|x| uninit(device, x.dtype(), x.shape()));
            (own.collect::<Result<Vec<_>>>()?, uninit(device, dtype, shape)?)
        };
        // A recording has memory of its own: what the work took before is not needed any more.
        release_memory(inputs[0].device());
        let stream = device.cuda_stream();
        stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).w()?;
        // What the work makes is freed by the recording itself.
        let done = work(&own.iter().collect::<Vec<_>>()).and_then(|y| copy(device, &y, &output));
        // Errors that were noted on the way would keep the recording from being ended, and the stream from all other work.
        let _ = stream.context().check_err();
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).w();
        let _ = stream.context().check_err();
        done?;
        match graph? {
            Some(graph) => Ok(Self { graph, inputs: own, given: vec![], output }),
            None => candle_core::bail!("nothing was recorded"),
        }
    }

    fn run(&mut self, inputs: &[&Tensor]) -> Result<Tensor> {
        let device = self.output.device().as_cuda_device()?;
        for (i, (&x, own)) in inputs.iter().zip(&self.inputs).enumerate() {
            // A prompt is the same in many steps.
            if self.given.get(i).is_none_or(|given| given.id() != x.id()) {
                copy(device, &x.contiguous()?, own)?;
            }
        }
        self.given = inputs.iter().map(|&x| x.clone()).collect();
        self.graph.launch().w()?;
        // SAFETY: it is written at once.
        let y = unsafe { uninit(device, self.output.dtype(), self.output.shape())? };
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
