//! Denoisers with long contexts, and with contexts of different lengths in one batch.

use super::contexts::context;
use super::{LONG, words};
use crate::support::{assert_close, nano, relative_rms};
use candle_core::{Device, Tensor};
use txt2img::diffusion::EpsModel;
use txt2img::engine::{Evaluation, Model};
use txt2img::rng::Rng;

const SCALE: f64 = 7.5;

fn latents(batch: usize) -> Tensor {
    Rng::default().noise(1).randn_latents((batch, 8, 8, 4), &Device::Cpu).unwrap()
}

fn eps(denoiser: &dyn EpsModel, x: &Tensor) -> Tensor {
    denoiser.eps(x, 500., 0.5).unwrap()
}

/// Returns the contexts (1, M, C) of prompts with `lengths` words.
fn contexts(model: &Model, lengths: &[usize]) -> Vec<Tensor> {
    lengths.iter().map(|&n| context(model, &words(n), LONG)).collect()
}

/// Repeats a context (1, M, C) to (1, `times` · M, C).
fn again(context: &Tensor, times: usize) -> Tensor {
    context.repeat((1, times, 1)).unwrap()
}

#[test]
fn a_context_said_again_changes_nothing() {
    // Softmax divides the weight of a key among its copies.
    let (model, x) = (nano(), latents(1));
    let cond = contexts(&model, &[5]).remove(0);
    let once = eps(&*model.denoiser(&cond, &cond, 1.).unwrap(), &x);
    for times in [2, 3, 20] {
        let denoiser = model.denoiser(&cond, &again(&cond, times), 1.).unwrap();
        assert_close(&format!("{times} times"), &eps(&*denoiser, &x), &once, 1e-5);
    }
}

#[test]
fn what_a_second_chunk_says_is_seen() {
    let (model, x) = (nano(), latents(1));
    let empty = model.uncond().unwrap();
    let [one, two] = ["", "a pink ball"].map(|second| {
        let cond = context(&model, &format!("{} {second}", words(75)), LONG);
        eps(&*model.denoiser(&empty, &cond, 1.).unwrap(), &x)
    });
    let difference = relative_rms(&two, &one);
    assert!(difference > 1e-4, "{difference:.1e}");
}

#[test]
fn the_shorter_of_a_prompt_and_its_negative_is_filled_with_the_empty_prompt() {
    let (model, x) = (nano(), latents(1));
    let empty = model.uncond().unwrap();
    let [one, three] = [75, 200].map(|n| contexts(&model, &[n]).remove(0));
    let filled = Tensor::cat(&[&one, &empty, &empty], 1).unwrap();
    for (uncond, cond, full_uncond, full_cond) in [(&one, &three, &filled, &three), (&three, &one, &three, &filled)] {
        let ours = eps(&*model.denoiser(uncond, cond, SCALE).unwrap(), &x);
        let expected = eps(&*model.denoiser(full_uncond, full_cond, SCALE).unwrap(), &x);
        assert_close("filled", &ours, &expected, 0.);
    }
}

#[test]
fn at_scale_1_a_negative_changes_nothing() {
    let (model, x) = (nano(), latents(1));
    let (unconds, cond) = (contexts(&model, &[0, 200]), contexts(&model, &[5]).remove(0));
    let [empty, long] = [0, 1].map(|i| eps(&*model.denoiser(&unconds[i], &cond, 1.).unwrap(), &x));
    assert_close("scale 1", &long, &empty, 0.);
}

#[test]
fn a_negative_of_its_own_is_each_pictures() {
    let (model, x) = (nano(), latents(2));
    let (unconds, conds) = (contexts(&model, &[3, 9]), contexts(&model, &[5, 5]));
    let (uncond, cond) = (Tensor::cat(&unconds, 0).unwrap(), Tensor::cat(&conds, 0).unwrap());
    let both = eps(&*model.denoiser(&uncond, &cond, SCALE).unwrap(), &x);
    for i in 0..2 {
        let alone = model.denoiser(&unconds[i], &conds[i], SCALE).unwrap();
        assert_close("alone", &both.narrow(0, i, 1).unwrap(), &eps(&*alone, &x.narrow(0, i, 1).unwrap()), 1e-6);
    }
}

#[test]
fn a_picture_does_not_depend_on_the_lengths_of_its_neighbours_prompts() {
    let (model, x) = (nano(), latents(6));
    let (unconds, conds) = (contexts(&model, &[0, 2, 160, 2, 0, 0]), contexts(&model, &[5, 80, 5, 80, 80, 200]));
    for scale in [SCALE, 1.] {
        let all = eps(&*model.denoiser_of_each(&unconds, &conds, scale, Evaluation::default()).unwrap(), &x);
        assert_eq!(all.dims(), x.dims());
        for i in 0..6 {
            let alone = model.denoiser(&unconds[i], &conds[i], scale).unwrap();
            let expected = eps(&*alone, &x.narrow(0, i, 1).unwrap());
            assert_close(&format!("picture {i}"), &all.narrow(0, i, 1).unwrap(), &expected, 1e-6);
        }
    }
}

#[test]
fn one_negative_is_every_pictures() {
    let (model, x) = (nano(), latents(3));
    let (uncond, conds) = (contexts(&model, &[80]), contexts(&model, &[5, 80, 200]));
    let one = eps(&*model.denoiser_of_each(&uncond, &conds, SCALE, Evaluation::default()).unwrap(), &x);
    let each =
        eps(&*model.denoiser_of_each(&[&uncond[..]; 3].concat(), &conds, SCALE, Evaluation::default()).unwrap(), &x);
    assert_close("one for all", &one, &each, 0.);
}

#[test]
fn prompts_of_one_length_are_one_batch() {
    let (model, x) = (nano(), latents(2));
    let (uncond, conds) = (model.uncond().unwrap(), contexts(&model, &[5, 9]));
    let each = model.denoiser_of_each(std::slice::from_ref(&uncond), &conds, SCALE, Evaluation::default()).unwrap();
    let batch = model.denoiser(&uncond, &Tensor::cat(&conds, 0).unwrap(), SCALE).unwrap();
    assert_close("batch", &eps(&*each, &x), &eps(&*batch, &x), 0.);
}

#[test]
fn a_batch_in_parts_is_as_the_whole() {
    let (model, x) = (nano(), latents(5));
    let (unconds, conds) = (contexts(&model, &[0, 2, 0, 0, 0]), contexts(&model, &[5, 9, 80, 5, 7]));
    let whole = eps(&*model.denoiser_of_each(&unconds, &conds, SCALE, Evaluation::default()).unwrap(), &x);
    for most in [0, 1, 2, 3] {
        let parts = eps(
            &*model
                .denoiser_of_each(&unconds, &conds, SCALE, Evaluation { max_batch: most, ..Evaluation::default() })
                .unwrap(),
            &x,
        );
        assert_close(&format!("{most} at once"), &parts, &whole, 1e-6);
    }
}

#[test]
fn as_many_negatives_as_prompts_are_needed_or_one() {
    let model = nano();
    let contexts = contexts(&model, &[5, 5, 5]);
    for (unconds, conds) in [(2, 3), (0, 1), (1, 0), (0, 0)] {
        assert!(
            model.denoiser_of_each(&contexts[..unconds], &contexts[..conds], SCALE, Evaluation::default()).is_err(),
            "{unconds}, {conds}"
        );
    }
}
