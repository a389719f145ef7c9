//! What the benches share.
#![allow(dead_code)] // not every bench needs all of it

use candle_core::{DType, Device, Result, Tensor};
use std::sync::OnceLock;
use std::time::Instant;
use txt2img::device::DeviceSpecs;
use txt2img::ops::Graph;
use txt2img::rng::Rng;

/// The words of the command line: whether `word` is among them, which then is taken out.
pub fn take(words: &mut Vec<String>, word: &str) -> bool {
    let count = words.len();
    words.retain(|other| other != word);
    words.len() < count
}

/// Where the bench computes: on a card if the words say `cuda`, else on the processor.
///
/// # Errors
/// When there is no card, or this build cannot use it.
pub fn device(words: &mut Vec<String>) -> anyhow::Result<&'static Device> {
    let name = if take(words, "cuda") { "cuda" } else { "cpu" };
    let choices: DeviceSpecs = name.parse().map_err(anyhow::Error::msg)?;
    let device = choices.open(None)?.swap_remove(0).device;
    Ok(DEVICE.get_or_init(|| device))
}

/// The same in words.
pub fn place() -> String {
    if chosen().is_cuda() { "a card".into() } else { format!("{} threads", rayon::current_num_threads()) }
}

static DEVICE: OnceLock<Device> = OnceLock::new();

fn chosen() -> &'static Device {
    DEVICE.get_or_init(|| Device::Cpu)
}

/// Standard normal numbers.
pub fn random(shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(Rng::default().noise(0).randn(shape.iter().product()), shape, chosen())
}

/// Small enough that sums stay near 1.
pub fn weight(shape: &[usize]) -> Result<Tensor> {
    let inputs: usize = shape[1..].iter().product();
    random(shape)? * (inputs as f64).powf(-0.5)
}

/// Median seconds of a few calls, after two to warm up.
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

/// Calls that a card is given at a time, recorded as a step's are: to ask for one takes longer than many a kernel.
const RECORDED: usize = 20;

/// Median seconds of one of a few calls with x, after some to warm up.
pub fn median_with(calls: usize, x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<f64> {
    if !chosen().is_cuda() {
        return median(calls, || f(x));
    }
    let graph = Graph::new(chosen())?;
    let many = |x: &[&Tensor]| {
        (1..RECORDED).try_for_each(|_| f(x[0]).map(drop))?;
        f(x[0])
    };
    Ok(median(calls, || graph.run(&[x], None, many))? / RECORDED as f64)
}

/// Root mean square of the difference, relative to the expected.
pub fn relative_rms(ours: &Tensor, expected: &Tensor) -> Result<f64> {
    let power = |x: &Tensor| Ok::<_, candle_core::Error>(f64::from(x.sqr()?.mean_all()?.to_scalar::<f32>()?));
    Ok((power(&(ours.to_dtype(DType::F32)? - expected)?)? / power(expected)?).sqrt())
}
