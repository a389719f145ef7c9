//! Estimates of a run's memory and disk space.
//!
//! The factors below were calibrated on 23 November 2026 with runs of the demo model (1 to 256 images, 256×256 to
//! 1024×1024, 1 to 50 steps) and of a model of Stable Diffusion 1.5's shape (1 to 12 images, 256×256 to 1024×1024, 1 and
//! 2 steps), in both precisions, on two cores with AVX-512; those for GPUs with the latter on an emulated one.

use super::Row;
use super::networks::{Bytes, Networks};
use crate::human::bytes;
use crate::job::Job;
use crate::job::tasks::n_wanted;
use crate::ops::{self, Compute};
use crate::outdir::{OutDir, Overview};
use crate::params::SamplingParams;
use crate::vae;
use anyhow::Result;
use candle_core::DType;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

/// The bytes that the program itself takes, with its tokenizer and threads. Calibrated as the remainder of the demo model's
/// peaks, of 175 MB at 256×256 and of 1058 MB at 1024×1024.
const PROGRAM: f64 = 60e6;

/// The memory of decoding, as a multiple of the input and output of the decoder's largest layer, plus bytes for each pixel
/// of the image. Calibrated by the peaks at 512×512, 768×768 and 1024×1024 of the demo model and of
/// Stable Diffusion 1.5's shape: 1.24 and 270 in f32, 1.14 and 330 in half precision.
const DECODING: f64 = 1.2;
const DECODING_PIXEL: f64 = 300.;

/// The memory of sampling, as a multiple of the UNet's skips and the input and output of its largest layer, in f32 and in
/// half precision. Calibrated by batches of 16 and 24 of the demo model, and of 6 and 12 of Stable Diffusion
/// 1.5's shape: 1.4 to 1.6, and 1.13 to 1.35.
const SAMPLING: f64 = 1.5;
const SAMPLING_HALF: f64 = 1.2;

/// The multiples on GPUs, where a captured step keeps its maps while images are decoded. Calibrated to within 3% by the
/// allocations on an emulated GPU.
const GPU_DECODING: f64 = 1.25;
const GPU_SAMPLING: f64 = 1.5;

/// The bytes of memory for each pixel of a grid: its images, the grid, and the buffers for encoding it. Calibrated by
/// 256 images of 256×256, with and without a grid: 14.2.
const GRID_PIXEL: f64 = 15.;

/// The most pixels of a sweep's sheet, whose images are scaled down if they have more.
const MAX_SHEET: f64 = 3e8;

/// The bytes of a PNG file for each pixel. The demo model's images take 0.6 to 0.9, noise takes 2.5; photographs are
/// between.
const PNG_PIXEL: f64 = 1.2;

/// The most bytes of a PNG file for each pixel: three uncompressed, and some for the rest of the file.
const MAX_PNG_PIXEL: f64 = 3.1;

/// Returns the lines about memory, unless `networks` is `None`, and disk space. `finished`: the images that need not be
/// drawn.
///
/// # Errors
/// If there is not enough memory for a small map.
pub fn rows(job: &Job, networks: Option<&Networks>, outdir: &OutDir, finished: &HashSet<usize>) -> Result<Vec<Row>> {
    let (grid, overview_pixels) = overview(job, outdir);
    let saved = if job.output.saves_samples { saved_pixels(job, finished) } else { 0. };
    let pixels = saved + overview_pixels;
    let disk = format!("about {}, up to {}", bytes(PNG_PIXEL * pixels), bytes(MAX_PNG_PIXEL * pixels));
    let memory = networks.map(|networks| Memory::new(job, networks, finished)).transpose()?;
    let memory = memory.map(|memory| Row::new("memory", memory.describe(job, grid)));
    Ok(memory.into_iter().chain([Row::new("disk", disk)]).collect())
}

/// The peak memory of the models.
struct Memory {
    /// The bytes of the weights.
    weights: f64,
    /// The bytes of the maps.
    maps: f64,
}

impl Memory {
    /// Returns the sum over all CPU devices, or the memory of one GPU.
    fn new(job: &Job, networks: &Networks, finished: &HashSet<usize>) -> Result<Self> {
        let batches = || (0..job.images.n_batches()).filter(|number| n_wanted(job, finished, *number) > 0);
        let n_batches = batches().count();
        // If nothing is left to draw, no model is loaded.
        if n_batches == 0 {
            return Ok(Self { weights: 0., maps: 0. });
        }
        let weights = if on_gpus(job) { networks.gpu_bytes(gpu_element(job)) } else { networks.packed_bytes() };
        let sampling = networks.sampling_elements()?;
        let mut decoding: HashMap<usize, f64> = HashMap::new(); // by height
        let mut maps = Maps::default();
        for number in batches() {
            let height = decoded_size(job, job.images.requests.params_of(number)).0;
            let decoding = match decoding.entry(height) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => *new.insert(networks.decoding_elements(height)?),
            };
            maps = maps.max(Maps::new(job, number, sampling, decoding));
        }
        let memory = if job.compute.saves_memory() {
            Self::on_demand(&weights, &maps)
        } else {
            Self::at_once(job, &weights, &maps)
        };
        if on_gpus(job) {
            return Ok(memory);
        }
        let n_models = job.compute.devices.len();
        Ok(Self { weights: n_models as f64 * memory.weights, maps: n_models.min(n_batches) as f64 * memory.maps })
    }

    /// Returns the memory of all networks, and of the larger maps.
    fn at_once(job: &Job, weights: &Bytes, maps: &Maps) -> Self {
        let Bytes { text, unet, decoder, exact_decoder, encoder } = weights;
        // On GPUs, a captured step keeps its maps while images are decoded.
        let maps = if on_gpus(job) { maps.sampling + maps.decoding } else { maps.sampling.max(maps.decoding) };
        Self { weights: text + unet + decoder + exact_decoder + encoder, maps }
    }

    /// Returns the memory of the UNet and the exact decoder with one other network, and of the maps at that time.
    fn on_demand(weights: &Bytes, maps: &Maps) -> Self {
        let Bytes { text, unet, decoder, exact_decoder, encoder } = weights;
        let phases = [(*text, 0.), (0., maps.sampling), (*decoder, maps.decoding), (*encoder, maps.decoding)];
        let phases = phases.map(|(weights, maps)| Self { weights: unet + exact_decoder + weights, maps });
        let total = |memory: &Self| memory.weights + memory.maps;
        phases.into_iter().max_by(|one, other| total(one).total_cmp(&total(other))).expect("there are phases")
    }

    /// Formats the memory. `grid`: the bytes for a grid, on the CPU.
    fn describe(&self, job: &Job, grid: f64) -> String {
        let Self { weights, maps } = *self;
        let weights_text = bytes(weights);
        if on_gpus(job) {
            return format!("about {} of GPU memory ({weights_text} for weights)", bytes(weights + maps));
        }
        format!("about {} ({weights_text} for weights)", bytes(PROGRAM + weights + maps + grid))
    }
}

/// The bytes of a batch's maps.
#[derive(Default)]
struct Maps {
    sampling: f64,
    decoding: f64,
}

impl Maps {
    /// Returns those of batch `number`. `sampling`: the UNet's elements for each latent and context, `decoding`: the decoder's
    /// for each latent.
    fn new(job: &Job, number: usize, sampling: f64, decoding: f64) -> Self {
        let params = job.images.requests.params_of(number);
        let contexts = params.n_contexts(1);
        let latents = params.n_final_latents() as f64;
        let sampling = sampling * latents * (contexts * job.images.requests.len_of(number)) as f64;
        let (height, width) = decoded_size(job, params);
        let decoding = decoding * (height * width) as f64;
        if on_gpus(job) {
            let element = gpu_element(job);
            return Self { sampling: element * GPU_SAMPLING * sampling, decoding: element * GPU_DECODING * decoding };
        }
        let are_maps_half = compute(job) == Compute::Half && ops::has_bf16();
        let factor = if are_maps_half { SAMPLING_HALF } else { SAMPLING };
        let decoding = 4. * DECODING * decoding + DECODING_PIXEL * pixels(job, params);
        Self { sampling: 4. * factor * sampling, decoding }
    }

    fn max(self, other: Self) -> Self {
        Self { sampling: self.sampling.max(other.sampling), decoding: self.decoding.max(other.decoding) }
    }
}

/// Returns the height and width in latents of what is decoded at once: an image, or a tile of it.
fn decoded_size(job: &Job, params: &SamplingParams) -> (usize, usize) {
    let (height, width) = params.final_latent_size();
    match job.compute.saves_memory() {
        true => (height.min(vae::TILE_SIDE), width.min(vae::TILE_SIDE)),
        false => (height, width),
    }
}

/// Returns the number of pixels of all images to be drawn.
fn saved_pixels(job: &Job, finished: &HashSet<usize>) -> f64 {
    let batch_pixels =
        |number| n_wanted(job, finished, number) as f64 * pixels(job, job.images.requests.params_of(number));
    (0..job.images.n_batches()).map(batch_pixels).sum()
}

/// Returns the bytes of memory for the grids or the sheet to be made, and the number of their pixels.
fn overview(job: &Job, outdir: &OutDir) -> (f64, f64) {
    let largest = job.images.requests.params().iter().map(|params| pixels(job, params)).fold(0., f64::max);
    let n = job.images.n_pictures();
    let (shown, at_once) = match outdir.run().overview {
        Some(Overview::Grids(grids)) => {
            let shown = outdir.missing_grids().map(|grid| grids.pictures(grid, n).len()).sum();
            (shown, grids.every as f64 * largest)
        }
        Some(Overview::Sweep) if !outdir.has_sweep() => (n, MAX_SHEET),
        _ => (0, 0.),
    };
    let pixels = shown as f64 * largest;
    // A single image is its own grid.
    let memory = if shown > 1 { GRID_PIXEL * pixels.min(at_once) } else { 0. };
    (memory, pixels)
}

/// Returns the arithmetic of the UNet and the decoder.
pub fn compute(job: &Job) -> Compute {
    let is_half = job.compute.devices.iter().any(|device| device.dtype(job.compute.precision) != DType::F32);
    if is_half { Compute::Half } else { Compute::F32 }
}

fn on_gpus(job: &Job) -> bool {
    job.compute.devices.iter().any(|device| device.device.is_cuda())
}

/// Returns the bytes of an element of the UNet and the decoder on GPUs.
fn gpu_element(job: &Job) -> f64 {
    if compute(job) == Compute::Half { 2. } else { 4. }
}

fn pixels(job: &Job, params: &SamplingParams) -> f64 {
    params.n_final_latents() as f64 * job.model.config.vae.side_factor().pow(2) as f64
}
