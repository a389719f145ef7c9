//! torch's random number generators, computed on the CPU so that every device gets the same numbers.

mod mt19937;
mod per_image;
mod philox;

use anyhow::{Error, Result, bail, ensure};
use candle_core::{Device, Tensor};
use mt19937::Mt19937;
use philox::Philox;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

pub use per_image::{Origin, PerImage, StreamPos};
pub use philox::choices;

/// A source of standard normal numbers, in torch's order.
///
/// Each call corresponds to one call of `torch.randn` in the original. The sequence of calls must be the same, since it
/// determines the numbers of later batches.
pub trait Noise {
    /// Returns the next `n` numbers.
    fn randn(&mut self, n: usize) -> Vec<f32>;

    /// Returns latents of `shape` (B, h, w, C), drawn in torch's order (B, C, h, w).
    ///
    /// # Errors
    /// If the device fails.
    fn randn_latents(&mut self, shape: (usize, usize, usize, usize), device: &Device) -> candle_core::Result<Tensor> {
        let (b, h, w, c) = shape;
        let numbers = self.randn(b * h * w * c);
        Tensor::from_vec(numbers, (b, c, h, w), &Device::Cpu)?.permute((0, 2, 3, 1))?.contiguous()?.to_device(device)
    }

    /// Returns latents of the shape of `x`, on its device.
    ///
    /// # Errors
    /// If `x` does not have four dimensions, or the device fails.
    fn randn_like(&mut self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.randn_latents(x.dims4()?, x.device())
    }

    /// Advances the generator as `randn(n)` does.
    fn skip(&mut self, n: usize) {
        self.randn(n);
    }
}

/// The noise of one seed, with a position that can be saved and restored.
pub trait Generator: Noise + Send {
    /// The distance from the start of the seed's stream, in a unit that depends on the generator.
    fn position(&self) -> u64;

    /// Moves to a `position` that [`position`](Self::position) returned.
    fn seek(&mut self, position: u64);
}

/// The generator of torch to reproduce (`--rng`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rng {
    /// The generator of `device="cuda"`. The order of numbers in long calls depends on the size of the GPU.
    Cuda {
        /// The number of the GPU's multiprocessors.
        sms: u32,
        /// The maximum number of resident threads per multiprocessor.
        threads_per_sm: u32,
    },
    /// The generator of `device="cpu"`.
    Cpu,
}

/// The valid numbers of multiprocessors.
const SMS: RangeInclusive<u32> = 1..=1024;
/// The valid numbers of threads per multiprocessor.
const THREADS_PER_SM: RangeInclusive<u32> = 256..=4096;

impl Rng {
    /// Returns the generator in its state after `torch.manual_seed(seed)`.
    pub fn noise(&self, seed: u64) -> Box<dyn Generator> {
        match *self {
            Rng::Cuda { sms, threads_per_sm } => Box::new(Philox::new(seed, sms, threads_per_sm)),
            Rng::Cpu => Box::new(Mt19937::new(seed)),
        }
    }

    /// Returns the position of a generator after `calls` calls of `randn(n)` from `position`, without drawing. It does
    /// not depend on the seed, and wraps around at the end of the stream.
    pub fn after(&self, position: u64, n: usize, calls: usize) -> u64 {
        match *self {
            Rng::Cuda { sms, threads_per_sm } => Philox::new(0, sms, threads_per_sm).after(position, n, calls),
            Rng::Cpu => mt19937::after(position, n, calls),
        }
    }
}

/// The generator of an A100.
impl Default for Rng {
    fn default() -> Self {
        Rng::Cuda { sms: 108, threads_per_sm: 2048 }
    }
}

impl FromStr for Rng {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "cuda" => Ok(Rng::default()),
            "cpu" => Ok(Rng::Cpu),
            _ => sized_cuda(name),
        }
    }
}

/// Parses `cuda:SMSxTHREADS`.
fn sized_cuda(name: &str) -> Result<Rng> {
    let Some((sms, threads_per_sm)) = gpu_size(name) else {
        bail!("'{name}' is not a random generator: use cuda, cpu or cuda:SMSxTHREADS, such as cuda:82x1536");
    };
    ensure!(
        SMS.contains(&sms) && THREADS_PER_SM.contains(&threads_per_sm),
        "'{name}' is not the size of a GPU: use {} to {} multiprocessors and {} to {} threads on each, such as cuda:82x1536",
        SMS.start(),
        SMS.end(),
        THREADS_PER_SM.start(),
        THREADS_PER_SM.end(),
    );
    Ok(Rng::Cuda { sms, threads_per_sm })
}

/// Parses the two numbers of `cuda:SMSxTHREADS`.
fn gpu_size(name: &str) -> Option<(u32, u32)> {
    let (sms, threads_per_sm) = name.strip_prefix("cuda:")?.split_once('x')?;
    Some((sms.parse().ok()?, threads_per_sm.parse().ok()?))
}

impl fmt::Display for Rng {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            rng if *rng == Rng::default() => f.write_str("cuda"),
            Rng::Cuda { sms, threads_per_sm } => write!(f, "cuda:{sms}x{threads_per_sm}"),
            Rng::Cpu => f.write_str("cpu"),
        }
    }
}
