//! The demo model draws what its prompts request.

mod additions;
mod drawing;
mod matcher;
mod stripes;

use candle_core::DType;
use drawing::{Scene, Settings, every_scene, judge, judge_pairs, model, model_in, pairs, prompt, prompt_for_two};
use matcher::{Content, Matcher, file, tiles};
use rayon::prelude::*;
use std::fs::read;
use txt2img::diffusion::samplers::Kind;
use txt2img::output::{Distance, Picture};
use txt2img::rng::{Noise, Rng};

/// Returns the tiles of `renders.png` with their solid, colour and background.
fn renders() -> Vec<(Picture, [String; 3])> {
    let said: Vec<_> = serde_json::from_slice(&read(file("renders.json")).unwrap()).unwrap();
    let pictures = tiles("renders.png", 18);
    assert_eq!(pictures.len(), said.len());
    pictures.into_iter().zip(said).collect()
}

/// Imitates a poor decoder: each pixel becomes the mean of nine, plus noise.
fn rough(picture: &Picture, noise: &mut dyn Noise) -> Picture {
    let (width, height) = (picture.width, picture.height);
    let near = |at: usize, end: usize| at.saturating_sub(1)..(at + 2).min(end);
    let mut rgb = vec![];
    for (at, noise) in noise.randn(3 * width * height).into_iter().enumerate() {
        let (x, y, channel) = (at / 3 % width, at / 3 / width, at % 3);
        let nine = near(y, height).flat_map(|y| near(x, width).map(move |x| y * width + x));
        let levels: Vec<f32> = nine.map(|pixel| f32::from(picture.rgb[3 * pixel + channel])).collect();
        rgb.push((levels.iter().sum::<f32>() / levels.len() as f32 + 4. * noise) as u8);
    }
    Picture { width, height, rgb }
}

/// Returns the shares of right solids, colours and backgrounds.
fn shares(pictures: &[(Picture, [String; 3])]) -> [f32; 3] {
    let matcher = Matcher::new();
    let right = |(picture, said): &(Picture, [String; 3])| {
        let Content { solid, colour, background, misfit, .. } = matcher.classify(picture);
        let seen = [solid, colour, background];
        if said != &seen {
            println!("{} is seen as {} (misfit {misfit:.2})", said.join(" "), seen.join(" "));
        }
        [0, 1, 2].map(|i| usize::from(said[i] == seen[i]))
    };
    let right: Vec<_> = pictures.par_iter().map(right).collect();
    [0, 1, 2].map(|i| right.iter().map(|right| right[i]).sum::<usize>() as f32 / right.len() as f32)
}

#[test]
fn the_matcher_knows_real_renders() {
    let [solid, colour, background] = shares(&renders());
    assert!(solid >= 0.97 && colour >= 0.97 && background >= 0.99, "{solid} {colour} {background}");
}

#[test]
fn the_matcher_knows_rough_renders() {
    let mut noise = Rng::Cpu.noise(42);
    let pictures: Vec<_> = renders().into_iter().map(|(picture, said)| (rough(&picture, &mut *noise), said)).collect();
    let shares = shares(&pictures);
    assert!(shares.iter().all(|share| *share >= 0.95), "{shares:?}");
}

#[test]
fn the_matcher_knows_two_solids() {
    let said: Vec<[[String; 2]; 2]> = serde_json::from_slice(&read(file("pairs.json")).unwrap()).unwrap();
    let said: Vec<_> = said.iter().map(|pair| pair.each_ref().map(|one| one.each_ref().map(String::as_str))).collect();
    let [solid, colour] = drawing::shares(&judge_pairs(&tiles("pairs.png", 6), &said));
    assert!(solid >= 0.95 && colour >= 0.95, "{solid} {colour}");
}

#[test]
fn the_matcher_recognises_an_empty_floor() {
    let rgb = rough(&Picture { width: 64, height: 64, rgb: vec![128; 3 * 64 * 64] }, &mut *Rng::Cpu.noise(42));
    let seen = Matcher::new().classify(&rgb);
    assert!(seen.background == "grey" && seen.misfit > 0.8, "{seen:?}");
}

/// Returns a fifth of all scenes, evenly spread; `cargo bench --bench demo` draws all.
fn some_scenes() -> Vec<Scene> {
    let scenes = every_scene().into_iter().enumerate().filter(|(i, _)| i % 24 % 5 == i / 24 % 5);
    scenes.map(|(_, scene)| scene).collect()
}

fn psnr(a: &Picture, b: &Picture) -> f64 {
    Distance::new(a, b).psnr
}

#[test]
fn the_demo_draws_what_it_is_asked_for() {
    let scenes = some_scenes();
    let prompts: Vec<_> = scenes.iter().map(prompt).collect();
    let settings = Settings { kind: Kind::DpmSolver, steps: 20, scale: 5., seed: 42 };
    let [solid, colour, background] = drawing::shares(&judge(&settings.draw(&model(), &prompts), &scenes));
    println!("solid {solid:.3}, colour {colour:.3}, background {background:.3}");
    assert!(solid >= 0.85 && colour >= 0.95 && background >= 0.97, "{solid} {colour} {background}");
}

#[test]
fn two_solids_have_their_own_colours() {
    let pairs = pairs();
    let prompts: Vec<_> = pairs.iter().map(prompt_for_two).collect();
    let pictures = Settings { kind: Kind::DpmSolver, steps: 20, scale: 5., seed: 42 }.draw(&model(), &prompts);
    let scenes: Vec<_> = pairs.iter().map(|(solids, _)| *solids).collect();
    let [solid, colour] = drawing::shares(&judge_pairs(&pictures, &scenes));
    println!("solid {solid:.3}, colour {colour:.3}");
    assert!(solid >= 0.9 && colour >= 0.8, "{solid} {colour}");
}

#[test]
fn converged_samplers_draw_the_same_picture() {
    let (model, scene) = (model(), ["cube", "pink", "black"]);
    let samplers = [(Kind::Ddim, 100), (Kind::Plms, 50), (Kind::DpmSolver, 20), (Kind::Lms, 50), (Kind::Euler, 50)];
    let draw = |(kind, steps)| Settings { kind, steps, scale: 5., seed: 42 }.draw(&model, &[prompt(&scene)]).remove(0);
    let pictures = samplers.map(draw);
    assert_eq!(judge(&pictures, &[scene; 5]), [[true; 3]; 5]);
    for (picture, settings) in pictures.iter().zip(samplers) {
        let psnr = psnr(picture, &pictures[0]);
        assert!(psnr >= 25., "{settings:?}: {psnr:.1} dB");
    }
}

#[test]
fn half_precision_draws_the_same_pictures() {
    let scenes: Vec<_> = every_scene().into_iter().step_by(14).take(20).collect();
    let prompts: Vec<_> = scenes.iter().map(prompt).collect();
    let settings = Settings { kind: Kind::DpmSolver, steps: 20, scale: 7.5, seed: 42 };
    let [full, half] = [DType::F32, DType::BF16].map(|dtype| settings.draw(&model_in(dtype), &prompts));
    let mut psnrs: Vec<f64> = full.iter().zip(&half).map(|(full, half)| psnr(half, full)).collect();
    psnrs.sort_by(f64::total_cmp);
    println!("from {:.1} to {:.1} dB", psnrs[0], psnrs[19]);
    assert!(psnrs[10] >= 30., "{:.1} dB", psnrs[10]);
}

#[test]
fn guidance_makes_colours_right() {
    let model = model();
    let scenes: Vec<_> = every_scene().into_iter().step_by(7).collect();
    let prompts: Vec<_> = scenes.iter().map(prompt).collect();
    let right = |scale| {
        let settings = Settings { kind: Kind::DpmSolver, steps: 20, scale, seed: 7 };
        drawing::shares(&judge(&settings.draw(&model, &prompts), &scenes))[1]
    };
    let (without, with) = (right(1.), right(7.5));
    assert!(with > without, "{with} with guidance, {without} without");
}
