//! What the benches share.
#![allow(dead_code)] // not every bench needs all of it

use candle_core::{DType, Device, Result, Tensor};
use std::time::Instant;
use txt2img::rng::Rng;

/// Standard normal numbers.
pub fn random(shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(Rng::default().noise(0).randn(shape.iter().product()), shape, &Device::Cpu)
}

/// Small enough that sums stay near 1.
pub fn weight(shape: &[usize]) -> Result<Tensor> {
    let inputs: usize = shape[1..].iter().product();
    random(shape)? * (inputs as f64).powf(-0.5)
}

/// Median seconds of a few calls, after one to warm up.
pub fn median<T>(calls: usize, f: impl Fn() -> Result<T>) -> Result<f64> {
    f()?;
    let mut seconds = (0..calls)
        .map(|_| {
            let start = Instant::now();
            f()?;
            Ok(start.elapsed().as_secs_f64())
        })
        .collect::<Result<Vec<_>>>()?;
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[calls / 2])
}

/// Root mean square of the difference, relative to the expected.
pub fn relative_rms(ours: &Tensor, expected: &Tensor) -> Result<f64> {
    let power = |x: &Tensor| Ok::<_, candle_core::Error>(f64::from(x.sqr()?.mean_all()?.to_scalar::<f32>()?));
    Ok((power(&(ours.to_dtype(DType::F32)? - expected)?)? / power(expected)?).sqrt())
}
