//! Pictures drawn by the demo model, and their evaluation.

use super::matcher::{COLOURS, Matcher, SOLIDS};
use candle_core::{DType, Device};
use rayon::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;
use txt2img::checkpoint::Checkpoint;
use txt2img::checkpoint::lora::{LoraFile, LoraWeights, Loras};
use txt2img::demo;
use txt2img::diffusion::samplers::{Kind, SamplerConfig, Sampling};
use txt2img::engine::Model;
use txt2img::output::Picture;
use txt2img::rng::Rng;

pub const BACKGROUNDS: [&str; 4] = ["black", "white", "grey", "blue"];

/// The solid, colour and background requested by a prompt.
pub type Scene = [&'static str; 3];

/// Returns every colour × every solid × four backgrounds.
pub fn every_scene() -> Vec<Scene> {
    let mut scenes = vec![];
    for (colour, _) in COLOURS {
        for solid in SOLIDS {
            scenes.extend(BACKGROUNDS.map(|background| [solid, colour, background]));
        }
    }
    scenes
}

pub fn prompt([solid, colour, background]: &Scene) -> String {
    format!("a photo of {} {colour} {solid}, {background} background", article(colour))
}

/// Two solids, left and right, each with its colour; and the background.
pub type Pair = ([[&'static str; 2]; 2], &'static str);

/// Returns pairs in which every colour and every solid occurs with others.
pub fn pairs() -> Vec<Pair> {
    let colour = |i: usize| COLOURS[i % COLOURS.len()].0;
    let solid = |i: usize| SOLIDS[i % SOLIDS.len()];
    let pair = |i| ([[solid(i), colour(i)], [solid(i + 1 + i / 6), colour(7 * i + 5)]], BACKGROUNDS[i / 6]);
    (0..24).map(pair).collect()
}

pub fn prompt_for_two((solids, background): &Pair) -> String {
    let [left, right] = solids.map(|[solid, colour]| format!("{} {colour} {solid}", article(colour)));
    format!("a photo of {left} and {right}, {background} background")
}

fn article(word: &str) -> &'static str {
    if word.starts_with('o') { "an" } else { "a" }
}

pub fn model() -> Model<'static> {
    model_in(DType::F32)
}

pub fn model_in(dtype: DType) -> Model<'static> {
    load(&demo::checkpoint().unwrap(), &Loras::default(), dtype)
}

/// Loads the demo model from its `checkpoint`, changed by `loras`.
pub fn load(checkpoint: &Checkpoint, loras: &Loras, dtype: DType) -> Model<'static> {
    Model::load(checkpoint, &demo::config().unwrap(), loras, &Device::Cpu, dtype, &|| ()).unwrap()
}

/// Returns the path of a file that belongs to the demo model.
pub fn addition(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "models/demo", name].iter().collect()
}

/// Opens a LoRA of the demo model.
pub fn lora(name: &str) -> LoraFile {
    let (checkpoint, config) = (demo::checkpoint().unwrap(), demo::config().unwrap());
    LoraFile::open(&addition(name), &checkpoint, &config.unet).unwrap()
}

/// Loads the model with a LoRA.
pub fn with_lora(name: &str, weight: f64) -> Model<'static> {
    let loras = Loras::new([(Arc::new(lora(name)), LoraWeights { text: weight, unet: weight })]);
    load(&demo::checkpoint().unwrap(), &loras, DType::F32)
}

/// The settings of a run with pictures of 256×256.
pub struct Settings {
    pub kind: Kind,
    pub steps: usize,
    pub scale: f64,
    pub seed: u64,
}

impl Settings {
    /// Draws a picture of each prompt, in batches of six.
    pub fn draw(&self, model: &Model, prompts: &[String]) -> Vec<Picture> {
        let plan = SamplerConfig { kind: self.kind, steps: self.steps, ..SamplerConfig::default() };
        let mut noise = Rng::default().noise(self.seed);
        let mut pictures = vec![];
        for batch in prompts.chunks(6) {
            let tokens: Vec<_> = batch.iter().map(|prompt| model.tokens(prompt).unwrap()).collect();
            let denoiser =
                model.denoiser(&model.uncond().unwrap(), &model.context(&tokens).unwrap(), self.scale).unwrap();
            let start = noise.randn_latents((batch.len(), 32, 32, 4), &Device::Cpu).unwrap();
            let mut sampling = Sampling { model: &*denoiser, noise: &mut *noise, on_step: &mut |_, _, _| Ok(()) };
            let latents = plan.sample(model.schedule(), start, &mut sampling).unwrap();
            pictures.extend((0..batch.len()).map(|i| model.picture(&latents, i).unwrap()));
        }
        pictures
    }
}

/// Returns whether solid, colour and background of each picture are right, and prints wrong ones.
pub fn judge(pictures: &[Picture], scenes: &[Scene]) -> Vec<[bool; 3]> {
    let matcher = Matcher::new();
    let judged = pictures.par_iter().zip(scenes).map(|(picture, scene)| {
        let seen = matcher.classify(picture);
        let seen = [seen.solid, seen.colour, seen.background];
        if seen != *scene {
            println!("{} is seen as {}", scene.join(" "), seen.join(" "));
        }
        [0, 1, 2].map(|i| seen[i] == scene[i])
    });
    judged.collect()
}

/// Returns whether each solid of each pair and its colour are right, and prints wrong ones.
pub fn judge_pairs(pictures: &[Picture], pairs: &[[[&str; 2]; 2]]) -> Vec<[bool; 2]> {
    let matcher = Matcher::new();
    let judged = pictures.par_iter().zip(pairs).flat_map_iter(|(picture, scene)| {
        let seen = matcher.classify_two(picture);
        if seen != *scene {
            println!("{} is seen as {}", scene.concat().join(" "), seen.concat().join(" "));
        }
        [0, 1].map(|i| [0, 1].map(|j| seen[i][j] == scene[i][j]))
    });
    judged.collect()
}

/// Returns the share of right answers in each position.
pub fn shares<const N: usize>(judged: &[[bool; N]]) -> [f64; N] {
    std::array::from_fn(|i| judged.iter().filter(|right| right[i]).count() as f64 / judged.len() as f64)
}
