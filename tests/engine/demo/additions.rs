//! The LoRA and the embedding for the demo model, in `models/demo`: striped solids, and a colour that it has no word for.

use super::drawing::{Scene, Settings, load, prompt};
use super::matcher::{COLOURS, Matcher, SOLIDS, tiles};
use super::stripes::is_striped;
use candle_core::DType;
use rayon::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;
use txt2img::checkpoint::lora::{LoraFile, LoraWeights, Loras};
use txt2img::checkpoint::{Checkpoint, Embedding};
use txt2img::demo;
use txt2img::diffusion::samplers::Kind;
use txt2img::output::Picture;

const SETTINGS: Settings = Settings { kind: Kind::DpmSolver, steps: 20, scale: 5., seed: 42 };

/// The embedding's colour in models/demo/train/scenes.py, in sRGB.
const MAGENTA: [f32; 3] = [0.86, 0.06, 0.66];

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "models/demo", name].iter().collect()
}

fn lora() -> LoraFile {
    let (checkpoint, config) = (demo::checkpoint().unwrap(), demo::config().unwrap());
    LoraFile::open(&file("striped.safetensors"), &checkpoint, &config.unet).unwrap()
}

fn striped(weight: f64) -> Loras {
    Loras::new([(Arc::new(lora()), LoraWeights { text: weight, unet: weight })])
}

fn with_magenta() -> Checkpoint {
    let embedding = Embedding::open(&file("magenta.safetensors"), "magenta", 32).unwrap();
    demo::checkpoint().unwrap().with_embeddings([embedding])
}

/// Colours of the demo model that white stands out from.
const VIVID: [&str; 8] = ["red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink"];
/// Backgrounds that white stands out from.
const DARK: [&str; 2] = ["black", "blue"];

/// Returns three solids of each vivid colour on dark backgrounds.
fn scenes() -> Vec<Scene> {
    let scene = |i: usize, colour: &'static str| {
        let ground = if colour == "blue" { "black" } else { DARK[i / 2 % 2] };
        [SOLIDS[i % SOLIDS.len()], colour, ground]
    };
    VIVID.iter().enumerate().flat_map(|(i, colour)| (0..3).map(move |j| scene(i + 2 * j + j % 2, colour))).collect()
}

fn with_word(word: &str, scene: &Scene) -> String {
    let [solid, colour, background] = scene;
    format!("a photo of a {word} {colour} {solid}, {background} background")
}

/// Returns the share of solids that are nearer to magenta than to all colours that the model has words for.
fn share_of_magenta(pictures: &[Picture]) -> f64 {
    let matcher = Matcher::new();
    let is_magenta = |picture: &Picture| {
        let seen = matcher.classify(picture).rgb;
        let distance = |colour: [f32; 3]| (0..3).map(|c| (colour[c] - seen[c]).powi(2)).sum::<f32>();
        COLOURS.iter().all(|(_, colour)| distance(MAGENTA) < distance(*colour))
    };
    share(pictures.par_iter().map(is_magenta).collect::<Vec<_>>())
}

fn share(right: impl IntoIterator<Item = bool>) -> f64 {
    let right: Vec<_> = right.into_iter().collect();
    right.iter().filter(|right| **right).count() as f64 / right.len() as f64
}

#[test]
fn stripes_of_real_renders_are_recognised() {
    let striped = share(tiles("striped.png", SOLIDS.len()).iter().map(is_striped));
    assert!(striped >= 0.95, "{striped}");
}

#[test]
fn real_renders_without_stripes_are_not_striped() {
    let fits = |[_, colour, ground]: &[String; 3]| VIVID.contains(&colour.as_str()) && DARK.contains(&ground.as_str());
    let plain = super::renders().into_iter().filter(|(_, scene)| fits(scene));
    let striped = share(plain.map(|(picture, _)| is_striped(&picture)));
    assert!(striped <= 0.01, "{striped}");
}

#[test]
fn the_lora_makes_solids_striped() {
    let prompts: Vec<_> = scenes().iter().map(|scene| with_word("striped", scene)).collect();
    let share = |loras: &Loras| {
        let model = load(&demo::checkpoint().unwrap(), loras, DType::F32);
        share(SETTINGS.draw(&model, &prompts).iter().map(is_striped))
    };
    let (with, without) = (share(&striped(1.)), share(&striped(0.)));
    println!("{with:.3} with the LoRA, {without:.3} without");
    assert!(with >= 0.9 && without <= 0.05, "{with} with the LoRA, {without} without");
}

#[test]
fn the_lora_fits_the_model_completely() {
    let file = lora();
    assert_eq!((file.summary().matched(), file.summary().n_unmatched()), ([24, 84, 12], 0));
}

#[test]
fn the_embedding_adds_a_colour() {
    let scene = |[solid, _, background]: Scene| [solid, "magenta", background];
    let prompts: Vec<_> = scenes().into_iter().map(scene).map(|scene| prompt(&scene)).collect();
    let share = |checkpoint: &Checkpoint| {
        share_of_magenta(&SETTINGS.draw(&load(checkpoint, &Loras::default(), DType::F32), &prompts))
    };
    let (with, without) = (share(&with_magenta()), share(&demo::checkpoint().unwrap()));
    println!("{with:.3} with the embedding, {without:.3} without");
    assert!(with >= 0.85 && without <= 0.05, "{with} with the embedding, {without} without");
}
