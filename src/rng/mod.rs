//! torch's random numbers, generated on the host: the same on every device.

mod mt19937;
mod philox;
mod together;

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use anyhow::{Error, Result, bail, ensure};
use candle_core::{Device, Tensor};

use mt19937::Mt19937;
use philox::Philox;
pub use philox::choices;

pub use together::{Each, Origin, Place};

/// Standard normal numbers, in torch's order.
///
/// Who draws, how much and when decides what later batches start from: one call here is one `torch.randn` there.
pub trait Noise {
    /// The next `n` numbers.
    fn randn(&mut self, n: usize) -> Vec<f32>;

    /// Latents of shape (B, h, w, C), drawn in torch's order (B, C, h, w).
    ///
    /// # Errors
    /// When the device fails.
    fn randn_latents(&mut self, shape: (usize, usize, usize, usize), device: &Device) -> candle_core::Result<Tensor> {
        let (b, h, w, c) = shape;
        let numbers = self.randn(b * h * w * c);
        Tensor::from_vec(numbers, (b, c, h, w), &Device::Cpu)?.permute((0, 2, 3, 1))?.contiguous()?.to_device(device)
    }

    /// The same in the shape of x.
    ///
    /// # Errors
    /// When x is no latents, or the device fails.
    fn randn_like(&mut self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.randn_latents(x.dims4()?, x.device())
    }

    /// Leaves the generator where `randn(n)` would.
    fn skip(&mut self, n: usize) {
        self.randn(n);
    }
}

/// Noise of one seed, with a place in it that can be noted and found again.
pub trait Generator: Noise + Send {
    /// How far it is from the seed, in units of its own.
    fn position(&self) -> u64;

    /// Goes there.
    fn seek(&mut self, position: u64);
}

/// `--rng`: which of torch's generators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rng {
    /// That of `device="cuda"`: the size of the GPU decides the order of long calls.
    Cuda {
        /// Multiprocessors of the GPU.
        sms: u32,
        /// Threads that one of them holds at once.
        threads_per_sm: u32,
    },
    /// That of `device="cpu"`.
    Cpu,
}

const SMS: RangeInclusive<u32> = 1..=1024;
const THREADS_PER_SM: RangeInclusive<u32> = 256..=4096;

impl Rng {
    /// The generator after `torch.manual_seed(seed)`.
    pub fn noise(&self, seed: u64) -> Box<dyn Generator> {
        match *self {
            Rng::Cuda { sms, threads_per_sm } => Box::new(Philox::new(seed, sms, threads_per_sm)),
            Rng::Cpu => Box::new(Mt19937::new(seed)),
        }
    }

    /// Where a generator at `position` stands after `calls` calls of `randn(n)`, in the units of
    /// [`Generator::position`]. Found without drawing, whatever the seed; past the last position it wraps around.
    pub fn after(&self, position: u64, n: usize, calls: usize) -> u64 {
        match *self {
            Rng::Cuda { sms, threads_per_sm } => Philox::new(0, sms, threads_per_sm).after(position, n, calls),
            Rng::Cpu => mt19937::after(position, n, calls),
        }
    }
}

/// An A100's.
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

/// `cuda:SMSxTHREADS`
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
