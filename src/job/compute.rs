//! The devices of a run.

use super::{Images, checks};
use crate::args::Args;
use crate::config::UNetConfig;
use crate::device::{self, ComputeDevice, Precision};
use crate::params::SamplingParams;
use crate::progress::ProgressFormat;
use crate::shard::Shard;
use anyhow::Result;

/// The devices of a run.
#[derive(Debug)]
pub struct ComputeOptions {
    /// The devices; several share the work.
    pub devices: Vec<ComputeDevice>,
    /// The precision of the networks.
    pub precision: Precision,
    /// The number of threads; `None` is one per core.
    pub threads: Option<usize>,
}

/// The most channels of a UNet of which `--device auto` loads two, because that takes the memory of two models.
const MAX_CHANNELS: usize = 128;

/// The most work of a step, in multiply-adds for each thread, of which `--device auto` computes two at the same time. With
/// more, threads wait for each other so rarely that it saves nothing (`benches/README.md`).
const MAX_STEP: f64 = 5e9;

/// The multiply-adds for one latent and one context of a UNet with one channel; Stable Diffusion 1's has 320 channels and
/// takes 401e9 for 64·64 latents.
const WORK: f64 = 401e9 / (64. * 64. * 320. * 320.);

/// The fewest batches that two devices share. With three, one device draws the last one alone.
const MIN_BATCHES: usize = 4;

/// The fewest steps of all batches together for which it takes less time to load two models.
const MIN_STEPS: usize = 80;

impl ComputeOptions {
    /// Opens the devices of the command line. `images` and `unet`: the work and the network that does it.
    ///
    /// # Errors
    /// If a device cannot be opened.
    pub fn new(args: &Args, images: &Images, unet: &UNetConfig, shard: Option<Shard>) -> Result<Self> {
        let threads = args.threads.map(usize::from);
        let n_threads = device::n_threads(threads);
        let mut devices = if args.device.is_cpu_by_default() && gains_by_two(args, images, unet, shard, n_threads) {
            device::halves_of_cpu(n_threads)?
        } else {
            args.device.open(threads)?
        };
        devices.iter_mut().for_each(|device| device.saves_memory = args.low_memory);
        // Devices with threads of their own leave little work to the global ones.
        let threads = threads.or_else(|| devices.iter().map(ComputeDevice::threads).sum());
        Ok(Self { devices, precision: args.precision, threads })
    }

    /// Returns whether the devices save memory.
    pub fn saves_memory(&self) -> bool {
        self.devices.iter().any(|device| device.saves_memory)
    }
}

/// Returns whether two devices with half of the threads each draw the images faster than one device: if batches are so
/// small that many threads mostly wait for each other.
fn gains_by_two(args: &Args, images: &Images, unet: &UNetConfig, shard: Option<Shard>, n_threads: usize) -> bool {
    let batches = images.n_batches() / shard.map_or(1, |shard| shard.of);
    let steps = images.requests.params().iter().map(|params| params.sampler.steps).min().unwrap_or(0);
    let latents = images.requests.params().iter().map(SamplingParams::n_final_latents).max().unwrap_or(0);
    // With guidance, which most steps have, there are two contexts for each picture.
    let contexts = 2 * images.requests.longest();
    let step = WORK * (contexts * latents) as f64 * (unet.model_channels as f64).powi(2);
    // Two devices finish batches in an order that varies.
    let lists_pictures = args.report.is_some() || args.progress == ProgressFormat::Json || args.compare_exact;
    n_threads >= 2
        && batches >= MIN_BATCHES
        && batches * steps >= MIN_STEPS
        && step <= MAX_STEP * n_threads as f64
        && unet.model_channels <= MAX_CHANNELS
        && !args.low_memory
        && !lists_pictures
        && checks::names(args, true).is_ok()
}
