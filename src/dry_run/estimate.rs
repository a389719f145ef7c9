//! Memory, time and disk of a run, estimated.
//!
//! The factors below were calibrated on 23 November 2026 with runs of the demo model (1 to 256 pictures, 256×256 to
//! 1024×1024, 1 to 50 steps) and of one with Stable Diffusion 1.5's shape (1 to 12 pictures, 256×256 to 1024×1024, 1 and
//! 2 steps), in both precisions, on two cores with AVX-512; those for cards with the latter on an emulated one.

use super::Row;
use super::human::{bytes, duration};
use super::prompts::Prompts;
use super::speed::Speed;
use super::workload::{BatchGroup, work};
use crate::device;
use crate::diffusion::unet;
use crate::job::Job;
use crate::ops::Compute;
use crate::ops::layer::Layer;
use crate::outdir::{OutDir, Overview};
use crate::params::SamplingParams;
use crate::text::TextConfig;
use crate::{text, vae};
use anyhow::{Context, Result};
use candle_core::DType;
use std::collections::HashSet;

/// Bytes that the program takes itself, with its tokenizer and threads. Calibrated by the demo model's peaks: what was
/// left of 175 MB at 256×256 and of 1058 MB at 1024×1024.
const PROGRAM: f64 = 60e6;

/// What the decoder takes, as a multiple of the maps that its largest layer reads and writes, and in bytes for each pixel of
/// the picture besides. Calibrated by the peaks at 512×512, 768×768 and 1024×1024 of the demo model and of Stable Diffusion
/// 1.5's shape: 1.24 and 270 in f32, 1.14 and 330 in half precision.
const DECODING: f64 = 1.2;
const PIXEL: f64 = 300.;

/// What the UNet takes, as a multiple of its skips and of the maps that its largest layer reads and writes, in f32 and in
/// half precision. Calibrated by batches of 16 and 24 of the demo model, and of 6 and 12 of Stable Diffusion 1.5's shape:
/// 1.4 to 1.6, and 1.13 to 1.35.
const SAMPLING: f64 = 1.5;
const SAMPLING_HALF: f64 = 1.2;

/// The same of both on cards, where a recorded step keeps its maps while pictures are decoded. Calibrated by what programs
/// asked of an emulated card, which they meet to 3%.
const DECODING_ON_CARDS: f64 = 1.25;
const SAMPLING_ON_CARDS: f64 = 1.5;

/// Bytes of memory for each pixel of a grid: its pictures, itself, and both on their way to the file. Calibrated by 256
/// pictures of 256×256, with and without a grid: 14.2.
const GRID: f64 = 15.;

/// Pixels of a sweep's sheet; where there are more, its pictures are kept smaller.
const MOST_SHEET: f64 = 3e8;

/// How much longer a run takes than its layers at the speed that is measured. Calibrated by the time of both cores in
/// eight runs of the demo model, where it was 1.03 to 1.39, and by the difference of two runs with Stable Diffusion
/// 1.5's shape, 0.8.
const OVERHEAD: f64 = 1.15;

/// Bytes of weights that are read, packed and laid down in a second. Calibrated by Stable Diffusion 1.5's in half
/// precision, of which 3.9 GB are made in 2 to 3 s of the processors' time.
const LOADING: f64 = 1.5e9;

/// Bytes of a PNG file for each pixel. The demo model's pictures take 0.6 to 0.9, noise takes 2.5; photographs lie
/// between.
const PNG: f64 = 1.2;

/// The same at most: three uncompressed, and some for the rest of the file.
const MOST_PNG: f64 = 3.1;

/// What a run takes: memory at its worst moment, time, disk.
#[derive(Default)]
pub struct Estimate {
    /// Whether cards draw: memory is then one card's, and the time is not known.
    on_cards: bool,
    /// Bytes, for good.
    weights: f64,
    /// Bytes, of maps under way.
    activations: f64,
    /// Bytes, of what is kept for the grid.
    grid: f64,
    seconds: f64,
    /// Pixels of all files.
    pixels: f64,
}

impl Estimate {
    /// text: the encoder's shape; outdir: as the run finds it; finished: the pictures that are there.
    ///
    /// # Errors
    /// When the threads that the job names cannot be started, or the device fails.
    pub fn new(
        job: &Job,
        text: TextConfig,
        prompts: &Prompts,
        outdir: &OutDir,
        finished: &HashSet<usize>,
    ) -> Result<Self> {
        let work = work(job, prompts.chunks, finished);
        let mut estimate =
            Self { on_cards: job.compute.devices.iter().any(|unit| unit.device.is_cuda()), ..Self::default() };
        // Where nothing is left to do, no model is loaded.
        if !work.is_empty() {
            estimate.add_all(job, text, prompts, work)?;
        }
        estimate.count_files(job, outdir);
        Ok(estimate)
    }

    fn add_all(&mut self, job: &Job, text: TextConfig, prompts: &Prompts, work: Vec<BatchGroup>) -> Result<()> {
        let is_half = job.compute.devices.iter().any(|unit| unit.dtype(job.compute.precision) != DType::F32);
        let compute = if is_half { Compute::Half } else { Compute::F32 };
        let speed = if self.on_cards { Speed::UNKNOWN } else { measured(job)? };
        let text = text::layers::layers(text, prompts.chunks);
        self.weights = weights(job, &text, compute, self.on_cards);
        self.seconds = prompts.different as f64 * speed.seconds(&text, Compute::F32);
        let n_batches: usize = work.iter().map(|group| group.batches).sum();
        for group in work {
            self.add(job, group, compute, &speed);
        }
        if !self.on_cards {
            // Each device has a model of its own.
            self.weights *= job.compute.devices.len() as f64;
            self.activations *= job.compute.devices.len().min(n_batches) as f64;
        }
        self.seconds = self.seconds * OVERHEAD + self.weights / LOADING;
        Ok(())
    }

    /// The networks at work on batches that are group.
    fn add(&mut self, job: &Job, group: BatchGroup, compute: Compute, speed: &Speed) {
        let BatchGroup { pass, passes, wanted, batches } = group;
        let unet = unet::layers::layers(&job.model.config.unet, pass);
        let (once, each): (Vec<_>, Vec<_>) = unet.into_iter().partition(|layer| layer.once);
        let decoder = vae::layers::layers(&job.model.config.vae, pass.height, pass.width);
        let skips = unet::layers::skips(&job.model.config.unet, pass) as f64;
        let (sampling, decoding) = (skips + largest(&each), largest(&decoder));
        self.activations = self.activations.max(if self.on_cards {
            bytes_on_cards(compute) * (SAMPLING_ON_CARDS * sampling + DECODING_ON_CARDS * decoding)
        } else {
            let times = if compute == Compute::Half { SAMPLING_HALF } else { SAMPLING };
            let pixels = (pass.height * pass.width * job.model.config.vae.side_factor().pow(2)) as f64;
            (times * 4. * sampling).max(DECODING * 4. * decoding + PIXEL * pixels)
        });
        let batch = speed.seconds(&once, compute)
            + passes as f64 * speed.seconds(&each, compute)
            + wanted as f64 * speed.seconds(&decoder, compute);
        self.seconds += batches as f64 * batch;
        self.pixels += batches as f64 * (wanted * pass.height * pass.width) as f64;
    }

    /// The pictures that are left, and all that are on an overview that is to come.
    fn count_files(&mut self, job: &Job, outdir: &OutDir) {
        let side = job.model.config.vae.side_factor();
        let pixels = |settings: &SamplingParams| (settings.n_latents() * side * side) as f64;
        let largest = job.images.requests.params().iter().map(pixels).fold(0., f64::max);
        let n = job.images.n_pictures();
        let (shown, at_once) = match job.output.overview {
            Some(Overview::Grids(grids)) => {
                let shown = outdir.missing_grids().map(|grid| grids.pictures(grid, n).len()).sum();
                (shown, grids.every as f64 * largest)
            }
            Some(Overview::Sweep) if !outdir.has_sweep() => (n, MOST_SHEET),
            _ => (0, 0.),
        };
        // A single picture is its own grid.
        self.grid = if shown > 1 { GRID * (shown as f64 * largest).min(at_once) } else { 0. };
        let saved = if job.output.saves_samples { self.pixels * (side * side) as f64 } else { 0. };
        self.pixels = saved + shown as f64 * largest;
    }

    /// A line for each.
    pub fn rows(&self) -> Vec<Row> {
        let Self { on_cards, weights, activations, grid, seconds, pixels } = *self;
        let memory = bytes(PROGRAM + weights + activations + grid);
        let (disk, most) = (bytes(PNG * pixels), bytes(MOST_PNG * pixels));
        let disk = Row::new("disk", format_args!("about {disk}, up to {most}"));
        if on_cards {
            let (memory, weights) = (bytes(weights + activations), bytes(weights));
            let memory = format_args!("about {memory} of a card, {weights} of them weights");
            return vec![Row::new("memory", memory), Row::new("time", "not known on cards"), disk];
        }
        vec![
            Row::new("memory", format_args!("about {memory}, {} of them weights", bytes(weights))),
            Row::new("time", format_args!("about {}, if nothing else runs", duration(seconds))),
            disk,
        ]
    }
}

/// On as many threads as the run will have.
fn measured(job: &Job) -> Result<Speed> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(device::n_threads(job.compute.threads)).build();
    Ok(threads.context("starting the threads")?.install(Speed::measure)?)
}

/// Bytes of all weights, packed for the kernels that read them.
fn weights(job: &Job, text: &[Layer], compute: Compute, on_cards: bool) -> f64 {
    let pass = unet::layers::Pass { batch: 1, height: 1, width: 1, contexts: 1, tokens: 1 };
    let unet = unet::layers::layers(&job.model.config.unet, pass);
    let vae = vae::layers::layers(&job.model.config.vae, 1, 1);
    let bytes = |layers: &[Layer], compute| {
        let of_layer = |layer: &Layer| match on_cards {
            true => bytes_on_cards(compute) * layer.tensors().iter().map(|(_, shape)| numbers(shape)).sum::<f64>(),
            false => layer.cost(compute).bytes,
        };
        layers.iter().map(of_layer).sum::<f64>()
    };
    bytes(text, Compute::F32) + bytes(&unet, compute) + bytes(&vae, compute)
}

fn numbers(shape: &[usize]) -> f64 {
    shape.iter().map(|&n| n as f64).product()
}

/// Bytes of a number.
fn bytes_on_cards(compute: Compute) -> f64 {
    if compute == Compute::Half { 2. } else { 4. }
}

/// Numbers that the layer with the largest maps reads and writes.
fn largest(layers: &[Layer]) -> f64 {
    layers.iter().map(Layer::traffic).fold(0., f64::max)
}
