//! The time and the distance of shortcuts: 20 prompts of the demo model, drawn with each of them and without any, alternately.
//! Prints a Markdown table of medians.
//!
//! `cargo bench --bench shortcuts`

#[path = "../tests/engine/demo/drawing.rs"]
#[allow(dead_code)] // the tests draw more
mod drawing;
#[path = "../tests/engine/demo/matcher.rs"]
#[allow(dead_code)] // as above
mod matcher;

use anyhow::{Context, Result, bail};
use drawing::{every_scene, judge, prompt, shares};
use std::ffi::OsString;
use std::time::Instant;
use txt2img::args::Args;
use txt2img::checkpoint::Checkpoint;
use txt2img::demo;
use txt2img::device::ComputeDevice;
use txt2img::engine::{Batch, Engine, SeedNoise};
use txt2img::job::{Job, Location, LoraFiles};
use txt2img::output::{Distance, Picture};
use txt2img::params::SamplingParams;
use txt2img::rng::Rng;

const PROMPTS: usize = 20;

/// The flags of each row.
const ROWS: [&str; 10] = [
    "--deepcache 2",
    "--deepcache 3",
    "--deepcache 3,1",
    "--deepcache 5",
    "--guidance_interval 0,0.8",
    "--guidance_interval 0,0.4",
    "--guidance_interval 0.2,0.8",
    "--deepcache 3 --guidance_interval 0,0.8",
    "--sampler dpm_solver --ddim_steps 20",
    "--lora models/demo/lcm.safetensors --fast auto",
];

/// A command line that draws pictures.
struct Row<'a> {
    engine: Engine<'a>,
    device: &'a ComputeDevice,
    params: SamplingParams,
}

impl<'a> Row<'a> {
    fn new(job: &'a Job, checkpoint: &'a Checkpoint) -> Result<Self> {
        let [params] = job.images.requests.params() else { bail!("several parameters") };
        let device = job.compute.devices.first().context("no device")?;
        let path = |location: &Location| match location {
            Location::Path(path) => Ok(path.clone()),
            Location::Hub(repo) => bail!("{repo} would be downloaded"),
        };
        let loras = LoraFiles::open(&job.model, checkpoint, path)?.of(params);
        let dtype = device.dtype(job.compute.precision);
        let reading = job.images.reading;
        let engine = Engine::load(checkpoint, &job.model.config, &loras, device, dtype, reading, &mut ())?;
        Ok(Self { engine, device, params: params.clone() })
    }

    /// Draws a picture, and returns the seconds for sampling it.
    fn draw(&mut self, prompt: &str) -> Result<(Picture, f64)> {
        let Self { engine, device, params } = self;
        let batch = Batch { prompts: vec![(prompt, "")], params: params.clone(), input: None };
        device.run(|| {
            let start = Instant::now();
            let latents = engine.sample(&batch, &mut SeedNoise::new(Rng::default(), 42), &mut ())?;
            let seconds = start.elapsed().as_secs_f64();
            Ok((engine.decode(&latents, 0, &mut ())?.picture()?, seconds))
        })
    }
}

/// Returns the job of a row's flags.
fn job(flags: &str) -> Result<Job> {
    let common = "txt2img --ckpt demo --H 256 --W 256 --precision full --device cpu";
    let words = [common, flags].into_iter().flat_map(str::split_whitespace).map(OsString::from);
    Job::from_args(&Args::try_from_words(words)?)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn main() -> Result<()> {
    let scenes = every_scene();
    let scenes: Vec<_> = scenes.iter().step_by(scenes.len() / PROMPTS).take(PROMPTS).copied().collect();
    let prompts: Vec<_> = scenes.iter().map(prompt).collect();
    println!("| flags | sampling, s | speedup | PSNR, dB | SSIM | right solid | right colour |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let (checkpoint, usual) = (demo::checkpoint()?, job("")?);
    let mut usual = Row::new(&usual, &checkpoint)?;
    usual.draw(&prompts[0])?; // to warm up
    for flags in ROWS {
        let job = job(flags)?;
        let mut row = Row::new(&job, &checkpoint)?;
        let (mut pictures, mut seconds, mut speedups, mut distances) = (vec![], vec![], vec![], vec![]);
        // Alternately, as the speed of a shared machine varies.
        for prompt in &prompts {
            let (expected, usual) = usual.draw(prompt)?;
            let (picture, time) = row.draw(prompt)?;
            distances.push(Distance::new(&picture, &expected));
            seconds.push(time);
            speedups.push(usual / time);
            pictures.push(picture);
        }
        let [seconds, speedup] = [seconds, speedups].map(median);
        let psnr = median(distances.iter().map(|distance| distance.psnr).collect());
        let ssim = median(distances.iter().filter_map(|distance| distance.ssim).collect());
        let [solid, colour, _] = shares(&judge(&pictures, &scenes)).map(|share| 100. * share);
        println!("| `{flags}` | {seconds:.2} | {speedup:.2}× | {psnr:.1} | {ssim:.3} | {solid:.0}% | {colour:.0}% |");
    }
    Ok(())
}
