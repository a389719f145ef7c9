//! Contexts with embeddings and with clip skip.

use super::{Case, cases, embeddings};
use crate::support::{assert_close, device, fixture, nano, nano_config, tensors};
use candle_core::{DType, Tensor};
use std::slice::from_ref;
use txt2img::checkpoint::Checkpoint;
use txt2img::checkpoint::lora::Loras;
use txt2img::engine::{Evaluation, Model};
use txt2img::text::{Reading, Tokens};

/// The tolerance.
const LIMIT: f64 = 2e-5;

/// Loads the small model with the embeddings.
fn model() -> Model<'static> {
    let checkpoint = Checkpoint::open(&fixture("nano.ckpt")).unwrap().with_embeddings(embeddings());
    Model::load(&checkpoint, &nano_config(), &Loras::default(), &device(), DType::F32, &|| ()).unwrap()
}

#[test]
fn contexts_with_embeddings_and_clip_skip_are_those_of_transformers() {
    let (model, expected) = (model(), tensors("embeddings/contexts.safetensors"));
    assert_eq!(cases().len(), 9);
    for (i, Case { prompt, clip_skip, ids }) in cases().into_iter().enumerate() {
        let tokens = model.tokens(&prompt).unwrap();
        assert_eq!(tokens.ids, ids, "{prompt}");
        let context = model.context_with(&[tokens], clip_skip).unwrap();
        assert_close(&prompt, &context, &expected[&format!("context.{i}")], LIMIT);
    }
}

#[test]
fn a_prompt_without_embeddings_is_unaffected_in_a_batch() {
    let (model, plain) = (model(), nano());
    let tokens = ["a cube", "a cube, easyneg"].map(|prompt| model.tokens(prompt).unwrap());
    let batch = model.context(&tokens).unwrap(); // (2, 77, C)
    let alone = plain.context(&[plain.tokens("a cube").unwrap()]).unwrap();
    assert_close("a cube", &batch.narrow(0, 0, 1).unwrap(), &alone, 1e-6);
}

#[test]
fn embeddings_in_prompts_are_found_once() {
    let (model, reading) = (model(), Reading::default());
    let found = |prompt, negative, reading| -> Vec<usize> {
        model.embeddings_in((prompt, negative), reading, &[4.into()]).unwrap().into_iter().collect()
    };
    assert_eq!(found("a cube", "", reading), [0; 0]);
    assert_eq!(found("CharTurner, easyneg, charturner", "easyneg", reading), [0, 2]);
    assert_eq!(found("[a cube:charturner:2] AND [x|y|a easyneg]", "", Reading::WEB_UI), [0, 2]);
}

#[test]
fn clip_skip_beyond_the_layers_is_refused() {
    let model = nano();
    let tokens = [model.tokens("a cube").unwrap()];
    for clip_skip in [0, 99] {
        let error = model.context_with(&tokens, clip_skip).unwrap_err().to_string();
        assert!(error.starts_with(&format!("--clip_skip {clip_skip} is not between 1 and ")), "{error}");
    }
}

#[test]
fn the_padding_of_the_shorter_prompt_has_the_same_clip_skip() {
    let model = nano();
    let long = model.read(&"cube ".repeat(76), Reading { long: true, ..Reading::default() }).unwrap();
    let [long, empty] = [long, model.tokens("").unwrap()].map(|tokens| model.context_with(&[tokens], 2).unwrap());
    let twice = empty.repeat((1, 2, 1)).unwrap();
    let x = Tensor::ones((1, 8, 8, 4), DType::F32, &device()).unwrap();
    let eps = |uncond: &Tensor| {
        let denoiser = model
            .denoiser_of_each(
                from_ref(uncond),
                from_ref(&long),
                7.5,
                Evaluation { clip_skip: 2, max_batch: 1, ..Evaluation::default() },
            )
            .unwrap();
        denoiser.eps(&x, 500., 0.5).unwrap()
    };
    assert_eq!(long.dims()[1], 2 * Tokens::LENGTH);
    assert_close("padded", &eps(&empty), &eps(&twice), 1e-6);
}
