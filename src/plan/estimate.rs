//! Memory, time and disk of a run, estimated.

use super::Row;
use super::speed::Speed;
use super::units::{bytes, duration};
use super::words::Prompts;
use super::work::{Alike, n_pictures, side_factor, work};
use crate::diffusion::unet;
use crate::job::Job;
use crate::ops::Products;
use crate::ops::layer::Layer;
use crate::text::TextConfig;
use crate::{text, vae};
use anyhow::{Context, Result};
use candle_core::DType;

/// What a run takes.
pub struct Estimate {
    /// Bytes of memory, for good.
    weights: f64,
    /// Bytes of memory, at the worst moment.
    activations: f64,
    seconds: f64,
    /// Bytes of the files.
    disk: f64,
    /// No more than these.
    most_disk: f64,
}

/// The program itself, its tokenizer and its threads.
const PROGRAM: f64 = 60e6;

/// Memory that layers take, as multiples of what the largest reads and writes.
const WORKING: f64 = 1.5;

/// How much longer a run takes than its products alone, at the speed that is measured.
const OVERHEAD: f64 = 1.3;

/// Bytes of a PNG file for each pixel.
const PNG: f64 = 1.5;

impl Estimate {
    /// # Errors
    /// When the threads that the job names cannot be started.
    pub fn new(job: &Job, text: TextConfig, prompts: &Prompts) -> Result<Self> {
        let products = if job.precision.dtype() == DType::BF16 { Products::Bf16 } else { Products::F32 };
        let speed = measured(job)?;
        let work = work(job, prompts.chunks);
        let text = text::layers::layers(text, prompts.chunks);
        let seconds =
            |layers: &[Layer], products| layers.iter().map(|layer| speed.seconds(layer, products)).sum::<f64>();
        let mut estimate =
            Self { weights: weights(job, &text, products), activations: 0., seconds: 0., disk: 0., most_disk: 0. };
        let mut pixels = 0.;
        for Alike { pass, passes, batches } in work {
            let (once, each): (Vec<_>, Vec<_>) =
                unet::layers::layers(&job.config.unet, pass).into_iter().partition(|layer| layer.once);
            let decoder = vae::layers::layers(&job.config.vae, pass.height, pass.width);
            let skips = 4. * unet::layers::skips(&job.config.unet, pass) as f64;
            estimate.activations = estimate.activations.max(skips + largest(&each)).max(largest(&decoder));
            let batch = passes as f64 * seconds(&each, products)
                + seconds(&once, products)
                + pass.batch as f64 * seconds(&decoder, products);
            estimate.seconds += batches as f64 * batch;
            pixels += (batches * pass.batch * pass.height * pass.width) as f64;
        }
        estimate.seconds += prompts.different as f64 * seconds(&text, Products::F32);
        estimate.seconds *= OVERHEAD;
        Ok(estimate)
    }

    /// A line for each.
    pub fn rows(&self) -> Vec<Row> {
        let Self { weights, activations, seconds, .. } = *self;
        vec![
            Row::new("memory", format_args!("{} w {} a {}", weights + activations + PROGRAM, weights, activations)),
            Row::new("time", format_args!("about {}", seconds)),
        ]
    }
}

fn measured(job: &Job) -> Result<Speed> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(job.threads.unwrap_or(0)).build();
    Ok(threads.context("starting the threads")?.install(Speed::measure)?)
}

impl Speed {
    /// One layer at work: what it multiplies or the weights it reads, whichever takes longer, and its maps.
    fn seconds(&self, layer: &Layer, products: Products) -> f64 {
        let cost = layer.cost(products);
        let multiplying = cost.in_f32 / self.f32 + cost.in_bf16 / self.bf16;
        multiplying.max(cost.bytes as f64 / self.memory) + 4. * layer.traffic() as f64 / self.memory
    }
}

fn weights(job: &Job, text: &[Layer], products: Products) -> f64 {
    let pass = unet::layers::Pass { batch: 1, height: 1, width: 1, contexts: 1, tokens: 1 };
    let unet = unet::layers::layers(&job.config.unet, pass);
    let vae = vae::layers::layers(&job.config.vae, 1, 1);
    let bytes = |layers: &[Layer], products| layers.iter().map(|layer| layer.cost(products).bytes as f64).sum::<f64>();
    bytes(text, Products::F32) + bytes(&unet, products) + bytes(&vae, products)
}

/// Of a layer that reads and writes the most: bytes.
fn largest(layers: &[Layer]) -> f64 {
    layers.iter().map(|layer| 4. * layer.traffic() as f64).fold(0., f64::max)
}
