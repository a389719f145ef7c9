//! Helpers of the benches.
#![allow(dead_code)] // not every bench needs all of it

use candle_core::{DType, Device, Result, Tensor};
use std::sync::OnceLock;
use std::time::Instant;
use txt2img::device::DeviceSpecs;
use txt2img::ops::Graph;
use txt2img::rng::Rng;

/// Removes `word` from the words of the command line. Returns whether it was there.
pub fn take(words: &mut Vec<String>, word: &str) -> bool {
    let count = words.len();
    words.retain(|other| other != word);
    words.len() < count
}

/// Runs a bench with the words of the command line, as the program draws: on a GPU if they contain `cuda`, else on the threads
/// of the CPU.
///
/// # Errors
/// If there is no GPU, this build cannot use it, or the bench fails.
pub fn on_device(bench: impl FnOnce(Vec<String>) -> anyhow::Result<()> + Send) -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let name = if take(&mut words, "cuda") { "cuda" } else { "cpu" };
    let specs: DeviceSpecs = name.parse().map_err(anyhow::Error::msg)?;
    let device = specs.open(None)?.swap_remove(0);
    DEVICE.get_or_init(|| device.device.clone());
    device.run(|| bench(words))
}

/// The chosen device in words.
pub fn place() -> String {
    if chosen().is_cuda() { "a GPU".into() } else { format!("{} threads", rayon::current_num_threads()) }
}

static DEVICE: OnceLock<Device> = OnceLock::new();

/// The device of the bench.
pub fn chosen() -> &'static Device {
    DEVICE.get_or_init(|| Device::Cpu)
}

/// A tensor of standard normal numbers.
pub fn random(shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(Rng::default().noise(0).randn(shape.iter().product()), shape, chosen())
}

/// A random weight (C_out, …), scaled so that products have a standard deviation near 1.
pub fn weight(shape: &[usize]) -> Result<Tensor> {
    let inputs: usize = shape[1..].iter().product();
    random(shape)? * (inputs as f64).powf(-0.5)
}

/// The median time of `calls` calls in seconds, after two to warm up.
pub fn median<T>(calls: usize, f: impl Fn() -> Result<T>) -> Result<f64> {
    let round = || -> Result<f64> {
        let start = Instant::now();
        f()?;
        chosen().synchronize()?;
        Ok(start.elapsed().as_secs_f64())
    };
    round()?;
    round()?;
    let mut seconds = (0..calls).map(|_| round()).collect::<Result<Vec<_>>>()?;
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[calls / 2])
}

/// The number of calls that a GPU captures as one graph, as launching one takes longer than many kernels.
const CAPTURED: usize = 20;

/// The median time of a call with `x` in seconds, of `calls` calls after some to warm up.
pub fn median_with(calls: usize, x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<f64> {
    if !chosen().is_cuda() {
        return median(calls, || f(x));
    }
    let graph = Graph::new(chosen())?;
    let many = |x: &[&Tensor]| {
        (1..CAPTURED).try_for_each(|_| f(x[0]).map(drop))?;
        f(x[0])
    };
    Ok(median(calls, || graph.run(&[x], None, many))? / CAPTURED as f64)
}

/// The root mean square of the difference, relative to that of `expected`.
pub fn relative_rms(ours: &Tensor, expected: &Tensor) -> Result<f64> {
    let power = |x: &Tensor| Ok::<_, candle_core::Error>(f64::from(x.sqr()?.mean_all()?.to_scalar::<f32>()?));
    Ok((power(&(ours.to_dtype(DType::F32)? - expected)?)? / power(expected)?).sqrt())
}
