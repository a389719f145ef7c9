//! The LoRAs and the embedding for the demo model, in `models/demo`: striped solids, few steps, and a colour that it has no
//! word for.

use super::drawing::{self, Scene, Settings, addition, judge, load, lora, prompt, with_lora};
use super::matcher::{COLOURS, Matcher, SOLIDS, tiles};
use super::some_scenes;
use super::stripes::is_striped;
use candle_core::DType;
use rayon::prelude::*;
use txt2img::checkpoint::lora::Loras;
use txt2img::checkpoint::{Checkpoint, Embedding};
use txt2img::demo;
use txt2img::diffusion::samplers::Kind;
use txt2img::output::Picture;

const SETTINGS: Settings = Settings { kind: Kind::DpmSolver, steps: 20, scale: 5., seed: 42 };

/// The embedding's colour in models/demo/train/scenes.py, in sRGB.
const MAGENTA: [f32; 3] = [0.86, 0.06, 0.66];

fn with_magenta() -> Checkpoint {
    let embedding = Embedding::open(&addition("magenta.safetensors"), "magenta", 32).unwrap();
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
    let share =
        |weight| share(SETTINGS.draw(&with_lora("striped.safetensors", weight), &prompts).iter().map(is_striped));
    let (with, without) = (share(1.), share(0.));
    println!("{with:.3} with the LoRA, {without:.3} without");
    assert!(with >= 0.9 && without <= 0.05, "{with} with the LoRA, {without} without");
}

#[test]
fn the_loras_fit_the_model_completely() {
    for (name, modules) in [("striped.safetensors", [24, 84, 12]), ("lcm.safetensors", [0, 84, 44])] {
        let file = lora(name);
        assert_eq!((file.summary().matched(), file.summary().n_unmatched()), (modules, 0), "{name}");
    }
}

#[test]
fn four_steps_draw_what_is_asked_for() {
    let scenes = some_scenes();
    let prompts: Vec<_> = scenes.iter().map(prompt).collect();
    let settings = Settings { kind: Kind::Lcm, steps: 4, scale: 1., seed: 42 };
    let pictures = settings.draw(&with_lora("lcm.safetensors", 1.), &prompts);
    let [solid, colour, background] = drawing::shares(&judge(&pictures, &scenes));
    println!("solid {solid:.3}, colour {colour:.3}, background {background:.3}");
    assert!(solid >= 0.85 && colour >= 0.95 && background >= 0.95, "{solid} {colour} {background}");
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
