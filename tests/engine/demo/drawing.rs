//! Pictures by the demo model, and what is right in them.

use candle_core::{DType, Device};
use rayon::prelude::*;
use txt2img::demo;
use txt2img::diffusion::samplers::{Kind, SamplerConfig, Sampling, Spacing};
use txt2img::engine::Model;
use txt2img::output::Picture;
use txt2img::rng::Rng;
use super::matcher::{COLOURS, Matcher, SOLIDS};

pub const BACKGROUNDS: [&str; 4] = ["black", "white", "grey", "blue"];

/// What a prompt asks for: solid, colour and background.
pub type Wish = [&'static str; 3];

/// Every colour × every solid × four backgrounds.
pub fn every_wish() -> Vec<Wish> {
    let mut wishes = vec![];
    for (colour, _) in COLOURS {
        for solid in SOLIDS {
            wishes.extend(BACKGROUNDS.map(|background| [solid, colour, background]));
        }
    }
    wishes
}

pub fn prompt([solid, colour, background]: &Wish) -> String {
    format!("a photo of {} {colour} {solid}, {background} background", article(colour))
}

/// Two solids, left and right, each with its colour; and the background.
pub type Pair = ([[&'static str; 2]; 2], &'static str);

/// Each colour with some other, each solid with some other.
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

pub fn model() -> Model {
    model_in(DType::F32)
}

pub fn model_in(dtype: DType) -> Model {
    Model::load(&demo::checkpoint().unwrap(), &demo::config().unwrap(), &Device::Cpu, dtype, &|| ()).unwrap()
}

/// How pictures of 256×256 are drawn.
pub struct Way {
    pub kind: Kind,
    pub steps: usize,
    pub scale: f64,
    pub seed: u64,
}

impl Way {
    /// One picture for each prompt, in batches of six.
    pub fn draw(&self, model: &Model, prompts: &[String]) -> Vec<Picture> {
        let plan = SamplerConfig { kind: self.kind, steps: self.steps, eta: 0., spacing: Spacing::Discrete };
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

/// For each picture, whether solid, colour and background are those wished for; what is not is printed.
pub fn judge(pictures: &[Picture], wishes: &[Wish]) -> Vec<[bool; 3]> {
    let matcher = Matcher::new();
    let judged = pictures.par_iter().zip(wishes).map(|(picture, wish)| {
        let seen = matcher.look(picture);
        let seen = [seen.solid, seen.colour, seen.background];
        if seen != *wish {
            println!("{} is seen as {}", wish.join(" "), seen.join(" "));
        }
        [0, 1, 2].map(|i| seen[i] == wish[i])
    });
    judged.collect()
}

/// For each solid of each pair, whether it and its colour are those wished for; what is not is printed.
pub fn judge_pairs(pictures: &[Picture], pairs: &[[[&str; 2]; 2]]) -> Vec<[bool; 2]> {
    let matcher = Matcher::new();
    let judged = pictures.par_iter().zip(pairs).flat_map_iter(|(picture, wish)| {
        let seen = matcher.look_at_two(picture);
        if seen != *wish {
            println!("{} is seen as {}", wish.concat().join(" "), seen.concat().join(" "));
        }
        [0, 1].map(|i| [0, 1].map(|j| seen[i][j] == wish[i][j]))
    });
    judged.collect()
}

/// The shares of right solids, colours and backgrounds.
pub fn shares<const N: usize>(judged: &[[bool; N]]) -> [f64; N] {
    std::array::from_fn(|i| judged.iter().filter(|right| right[i]).count() as f64 / judged.len() as f64)
}
