//! CUDA graphs: work that is captured on its second run and then replayed as a whole.

use super::gpu::{address, release_memory, uninit};
use crate::ops::backend::Capture;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaGraph, result, sys};
use candle_core::{CudaDevice, DType, Error, Result, Shape, Tensor};
use std::env;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The captured graphs of a piece of work, by the shapes of its inputs; the most recent ones.
#[derive(Default)]
pub struct GraphCache(Mutex<Vec<(Key, State)>>);

/// The capacity: batches may have two sizes, with and without guidance.
const CAPACITY: usize = 4;

/// The inputs that a graph is captured for.
#[derive(Clone, PartialEq)]
struct Key {
    shapes: Vec<Shape>,
    number: Option<u64>,
}

enum State {
    /// Run once, so that all kernels are loaded. The shape and type are those of the output.
    Warm(Shape, DType),
    Captured(Graph),
    Uncapturable,
}

/// A captured graph and the tensors that it reads and writes.
struct Graph {
    graph: CudaGraph,
    inputs: Vec<Tensor>,
    /// The tensors whose values `inputs` hold; none before the first replay.
    copied: Vec<Tensor>,
    output: Tensor,
}

// SAFETY: any thread may use a graph, but only one at a time, which the mutex ensures.
unsafe impl Send for State {}

impl Capture for GraphCache {
    fn run(
        &self,
        inputs: &[&Tensor],
        number: Option<f64>,
        work: &dyn Fn(&[&Tensor]) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A captured copy from host memory would read that memory again on replay, when it has been freed. candle caches
        // these copies on the GPU and returns an error for others.
        let _cache = inputs[0].device().as_cuda_device()?.enable_cuda_graph_htod_cache();
        let shapes = inputs.iter().map(|x| x.shape().clone()).collect();
        let key = Key { shapes, number: number.map(f64::to_bits) };
        let Some((_, state)) = all.iter_mut().find(|(other, _)| *other == key) else {
            let y = work(inputs)?;
            all.truncate(CAPACITY - 1);
            let state = match capture_mode() {
                CaptureMode::Never => State::Uncapturable,
                CaptureMode::Always | CaptureMode::Auto => State::Warm(y.shape().clone(), y.dtype()),
            };
            all.insert(0, (key, state));
            return Ok(y);
        };
        if let State::Warm(shape, dtype) = state {
            *state = match Graph::capture(inputs, shape, *dtype, work) {
                Ok(graph) => State::Captured(graph),
                Err(error) => State::uncapturable(error)?,
            };
        }
        if let State::Captured(graph) = state {
            match graph.replay(inputs) {
                Ok(y) => return Ok(y),
                Err(error) => *state = State::uncapturable(error)?,
            }
            release_memory(inputs[0].device());
        }
        work(inputs)
    }
}

impl State {
    /// The state after `error`, or the error itself if capturing is required.
    fn uncapturable(error: Error) -> Result<Self> {
        if capture_mode() == CaptureMode::Always { Err(error) } else { Ok(Self::Uncapturable) }
    }
}

/// Whether to capture graphs: `TXT2IMG_GRAPH` is 0 for `Never`, 1 for `Always`.
#[derive(Clone, Copy, PartialEq)]
enum CaptureMode {
    Never,
    /// Captures what can be captured.
    Auto,
    /// Treats work that cannot be captured as an error.
    Always,
}

fn capture_mode() -> CaptureMode {
    static MODE: OnceLock<CaptureMode> = OnceLock::new();
    *MODE.get_or_init(|| match env::var("TXT2IMG_GRAPH").as_deref() {
        Ok("0") => CaptureMode::Never,
        Ok("1") => CaptureMode::Always,
        _ => CaptureMode::Auto,
    })
}

impl Graph {
    /// Captures `work`, whose output has this `shape` and `dtype`.
    fn capture(
        inputs: &[&Tensor],
        shape: &Shape,
        dtype: DType,
        work: impl Fn(&[&Tensor]) -> Result<Tensor>,
    ) -> Result<Self> {
        let device = inputs[0].device().as_cuda_device()?;
        // SAFETY: `replay` writes the inputs before the work reads them, and the work writes the output.
        let (own, output) = unsafe {
            let own = inputs.iter().map(|x| uninit(device, x.dtype(), x.shape()));
            (own.collect::<Result<Vec<_>>>()?, uninit(device, dtype, shape)?)
        };
        // A graph allocates its own memory, so the memory of the run before it is no longer needed.
        release_memory(inputs[0].device());
        let stream = device.cuda_stream();
        stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).w()?;
        // The graph itself frees the tensors that the work allocates.
        let done = work(&own.iter().collect::<Vec<_>>()).and_then(|y| copy(device, &y, &output));
        // Pending errors would keep the capture from ending, and the stream from all other work.
        let _ = stream.context().check_err();
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).w();
        let _ = stream.context().check_err();
        done?;
        match graph? {
            Some(graph) => Ok(Self { graph, inputs: own, copied: vec![], output }),
            None => candle_core::bail!("nothing was captured"),
        }
    }

    /// Runs the graph on `inputs`.
    fn replay(&mut self, inputs: &[&Tensor]) -> Result<Tensor> {
        let device = self.output.device().as_cuda_device()?;
        for (i, (&x, own)) in inputs.iter().zip(&self.inputs).enumerate() {
            // The context is the same tensor in many steps.
            if self.copied.get(i).is_none_or(|copied| copied.id() != x.id()) {
                copy(device, &x.contiguous()?, own)?;
            }
        }
        self.copied = inputs.iter().map(|&x| x.clone()).collect();
        self.graph.launch().w()?;
        // SAFETY: the copy below writes all of it.
        let y = unsafe { uninit(device, self.output.dtype(), self.output.shape())? };
        copy(device, &self.output, &y)?;
        Ok(y)
    }
}

/// Copies the elements of `from` to `to`; both are contiguous and of the same shape and type.
fn copy(device: &CudaDevice, from: &Tensor, to: &Tensor) -> Result<()> {
    let bytes = from.elem_count() * from.dtype().size_in_bytes();
    if !from.is_contiguous() || from.shape() != to.shape() || from.dtype() != to.dtype() {
        candle_core::bail!("cannot copy {:?} to {:?}", from.shape(), to.shape());
    }
    let stream = device.cuda_stream();
    stream.context().bind_to_thread().w()?;
    // SAFETY: both have this many bytes, and nothing else writes them.
    unsafe { result::memcpy_dtod_async(address(to)?, address(from)?, bytes, stream.cu_stream()) }.w()
}
