//! The second pass for large pictures: in how many pictures of the demo model it keeps one solid one solid, compared with a
//! single pass of the same size, evaluated as in the tests. Prints a Markdown table.
//!
//! `cargo bench --bench hires [-- PICTURES [SIZE]]`

#[allow(dead_code)]
#[path = "../tests/engine/demo/drawing.rs"]
mod drawing;
#[path = "../tests/engine/demo/matcher.rs"]
mod matcher;

use candle_core::DType;
use drawing::{Scene, every_scene, prompt};
use matcher::Matcher;
use txt2img::by_name::ByName;
use txt2img::checkpoint::lora::Loras;
use txt2img::demo;
use txt2img::device::{ComputeDevice, DeviceSpecs};
use txt2img::diffusion::samplers::{Kind, SamplerConfig};
use txt2img::engine::{Batch, Engine, SeedNoise};
use txt2img::output::Picture;
use txt2img::params::{Hires, HiresSize, SamplingParams, Upscaler};
use txt2img::rng::Rng;
use txt2img::text::Reading;

/// The misfit from which on a picture shows something else than one solid. That of good pictures is below 0.1.
const MAX_MISFIT: f32 = 0.15;

fn main() -> anyhow::Result<()> {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (n, only) = (numbers.first().copied().unwrap_or(12), numbers.get(1));
    let every = every_scene();
    // Solids, colours and backgrounds all vary.
    let scenes: Vec<Scene> = (0..n).map(|i| every[29 * i % every.len()]).collect();
    let device: ComputeDevice = "cpu".parse::<DeviceSpecs>().map_err(anyhow::Error::msg)?.open(None)?.swap_remove(0);
    let (checkpoint, config) = (demo::checkpoint()?, demo::config()?);
    let mut engine =
        Engine::load(&checkpoint, &config, &Loras::default(), &device, DType::F32, Reading::default(), &mut ())?;
    engine.load_encoder(&checkpoint)?;
    let matcher = Matcher::new();
    println!("{n} pictures, DPM-Solver, 20 steps, scale 5, first pass 256×256, strength 0.5:\n");
    println!("| size | enlarged | one solid, the right one | and the right colours |\n| ---: | --- | ---: | ---: |");
    for size in [256, 768, 1024].into_iter().filter(|size| only.is_none_or(|only| only == size)) {
        let second = [Upscaler::Latent, Upscaler::Lanczos].map(Some);
        let upscalers = if size == 256 { &[None][..] } else { &[&[None][..], &second].concat() };
        for upscaler in upscalers {
            let (mut right, mut coloured) = (0, 0);
            for scene in &scenes {
                let seen = matcher.classify(&draw(&mut engine, &prompt(scene), size, *upscaler)?);
                let is_right = seen.solid == scene[0] && seen.misfit < MAX_MISFIT;
                right += usize::from(is_right);
                coloured += usize::from(is_right && [seen.colour, seen.background] == scene[1..]);
                if !is_right {
                    eprintln!(
                        "{size} {upscaler:?}: {} is seen as {} (misfit {:.2})",
                        scene.join(" "),
                        seen.solid,
                        seen.misfit
                    );
                }
            }
            let share = |right: usize| 100. * right as f64 / n as f64;
            let name = upscaler.map_or("no, a single pass", |upscaler| upscaler.name());
            println!("| {size} | {name} | {:.0}% | {:.0}% |", share(right), share(coloured));
        }
    }
    Ok(())
}

/// Draws a square picture with sides of `side` pixels, in a second pass if there is an upscaler.
fn draw(engine: &mut Engine, prompt: &str, side: usize, upscaler: Option<Upscaler>) -> anyhow::Result<Picture> {
    let sampler = SamplerConfig { kind: Kind::DpmSolver, steps: 20, ..SamplerConfig::default() };
    let size = HiresSize::Pixels { width: side, height: side };
    let hires = upscaler.map(|upscaler| Hires { size, strength: 0.5, upscaler, ..Hires::default() });
    let first = if hires.is_some() { 256 } else { side };
    let hires = hires.unwrap_or_default();
    let params = SamplingParams { height: first, width: first, scale: 5., sampler, hires, ..SamplingParams::default() };
    let batch = Batch { prompts: vec![(prompt, "")], params, input: None };
    engine.render(&batch, &mut SeedNoise::new(Rng::default(), 42), &mut ())?.remove(0).picture()
}
