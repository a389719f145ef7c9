//! Contexts of weighted and long prompts, computed from those of plain prompts.

use super::{BOTH, EMPHASIS, LONG, words};
use crate::support::{assert_close, nano};
use candle_core::Tensor;
use txt2img::engine::Model;
use txt2img::text::{Reading, Tokens};

/// Returns the context (1, M, C) of a prompt.
pub fn context(model: &Model, prompt: &str, reading: Reading) -> Tensor {
    model.context(&[model.read(prompt, reading).unwrap()]).unwrap()
}

fn numbers(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// Multiplies each row of `plain` (1, 77, C) by its weight, and restores the mean.
fn weighed(plain: &Tensor, weights: &[f32]) -> Tensor {
    let plain_numbers: Vec<f64> = numbers(plain).into_iter().map(f64::from).collect();
    let width = plain_numbers.len() / Tokens::LENGTH;
    let heavy: Vec<f64> = plain_numbers.iter().enumerate().map(|(i, x)| x * f64::from(weights[i / width])).collect();
    let scale = mean(&plain_numbers) / mean(&heavy);
    Tensor::from_iter(heavy.iter().map(|x| (x * scale) as f32), plain.device()).unwrap().reshape(plain.shape()).unwrap()
}

#[test]
fn a_weight_multiplies_its_tokens_and_the_mean_stays() {
    let model = nano();
    let plain = context(&model, "a pink cube, black background", Reading::default());
    for (prompt, word, weight) in [
        ("a pink (cube), black background", 3, 1.1),
        ("a [pink] cube, black background", 2, 1. / 1.1),
        ("a (pink:1.7) cube, black background", 2, 1.7),
        ("a (pink:0) cube, black background", 2, 0.),
        ("a pink cube(,:-0.5) black background", 4, -0.5),
    ] {
        let mut weights = [1f32; Tokens::LENGTH];
        weights[word] = weight;
        let ours = context(&model, prompt, EMPHASIS);
        assert_close(prompt, &ours, &weighed(&plain, &weights), 1e-6);
        let means = [&ours, &plain].map(|x| mean(&numbers(x).into_iter().map(f64::from).collect::<Vec<_>>()));
        assert!((means[0] / means[1] - 1.).abs() < 1e-5, "{prompt}: {means:?}");
    }
}

#[test]
fn weights_of_1_change_no_bit() {
    let model = nano();
    let plain = context(&model, "a pink cube", Reading::default());
    for prompt in ["a pink cube", "a (pink:1) cube", "([a pink cube])"] {
        assert!(numbers(&context(&model, prompt, BOTH)) == numbers(&plain), "{prompt}");
    }
}

#[test]
fn a_weighed_prompt_leaves_others_of_its_batch_alone() {
    let model = nano();
    let prompts = ["a pink cube", "a (pink:1.5) cube", "a (black) cube"];
    let tokens = prompts.map(|prompt| model.read(prompt, EMPHASIS).unwrap());
    let batch = model.context(&tokens).unwrap(); // (3, 77, C)
    for (i, prompt) in prompts.into_iter().enumerate() {
        assert_close(prompt, &batch.narrow(0, i, 1).unwrap(), &context(&model, prompt, EMPHASIS), 1e-6);
    }
}

#[test]
fn a_long_prompt_is_the_contexts_of_its_chunks_one_after_the_other() {
    let model = nano();
    let second = "a pink ball";
    let long = context(&model, &format!("{} {second}", words(75)), LONG);
    let chunks = [words(75).as_str(), second].map(|chunk| context(&model, chunk, Reading::default()));
    assert_eq!(long.dims()[1], 2 * Tokens::LENGTH);
    assert_close("long", &long, &Tensor::cat(&chunks, 1).unwrap(), 1e-6);
}

#[test]
fn each_chunk_keeps_its_own_mean() {
    let model = nano();
    let long = context(&model, &format!("{} a (pink:1.6) ball", words(75)), BOTH);
    let first = context(&model, &words(75), Reading::default());
    let second = context(&model, "a (pink:1.6) ball", EMPHASIS);
    assert_close("long", &long, &Tensor::cat(&[first, second], 1).unwrap(), 1e-6);
}

#[test]
fn prompts_of_different_lengths_are_no_batch() {
    let model = nano();
    let tokens = [words(75), words(76)].map(|prompt| model.read(&prompt, LONG).unwrap());
    assert!(model.context(&tokens).unwrap_err().to_string().contains("different lengths"));
}
