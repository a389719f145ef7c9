//! How fast this machine is, by a short measurement.

use crate::ops::layer::Layer;
use crate::ops::{Compute, Linear};
use candle_core::{DType, Device, Result, Tensor};
use std::time::{Duration, Instant};

/// What it does in a second.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Multiplications of f32, each with an addition.
    pub f32: f64,
    /// The same of bf16.
    pub bf16: f64,
    /// Bytes read from memory.
    pub memory: f64,
}

/// Each product is repeated for so long; a single one takes a millisecond, so that some are not disturbed.
const LONG_ENOUGH: Duration = Duration::from_millis(40);

impl Speed {
    /// For runs whose time is not told: nothing takes any.
    pub const UNKNOWN: Self = Self { f32: f64::INFINITY, bf16: f64::INFINITY, memory: f64::INFINITY };

    /// Measured with products of our own: two that calculate, one that reads.
    ///
    /// # Errors
    /// When the device fails.
    pub fn measure() -> Result<Self> {
        const ROWS: usize = 192;
        const SIDE: usize = 640;
        let product = |compute| -> Result<f64> { Ok((ROWS * SIDE * SIDE) as f64 / seconds(compute, ROWS, SIDE)?) };
        const LARGE: usize = 4096; // 64 MB, more than caches hold
        Ok(Self {
            f32: product(Compute::F32)?,
            bf16: product(Compute::Half)?,
            memory: (4 * LARGE * LARGE) as f64 / seconds(Compute::F32, 1, LARGE)?,
        })
    }

    /// Layers, one after the other: what each multiplies or the weights it reads, whichever takes longer, and its maps.
    pub fn seconds(&self, layers: &[Layer], compute: Compute) -> f64 {
        let seconds = |layer: &Layer| {
            let cost = layer.cost(compute);
            let multiplying = cost.in_f32 / self.f32 + cost.in_bf16 / self.bf16;
            multiplying.max(cost.bytes / self.memory) + 4. * layer.traffic() / self.memory
        };
        layers.iter().map(seconds).sum()
    }
}

/// Of one product of (rows, side) and (side, side): the shortest time, which nothing else took part in.
fn seconds(compute: Compute, rows: usize, side: usize) -> Result<f64> {
    let ones = |rows| Tensor::ones((rows, side), DType::F32, &Device::Cpu);
    let (layer, x) = (Linear::new(compute, &ones(side)?, None)?, ones(rows)?);
    layer.forward(&x)?; // wakes the threads, fills the caches
    let (start, mut shortest) = (Instant::now(), Duration::MAX);
    while start.elapsed() < LONG_ENOUGH {
        let start = Instant::now();
        layer.forward(&x)?;
        shortest = shortest.min(start.elapsed());
    }
    Ok(shortest.as_secs_f64().max(1e-9))
}
