//! Contexts with embeddings and with clip skip.

use super::{Case, cases};
use crate::support::{assert_close, nano, tensors};
use txt2img::text::Tokens;

/// The tolerance.
const LIMIT: f64 = 2e-5;

#[test]
fn clip_skip_takes_an_earlier_layer() {
    let (model, expected) = (nano(), tensors("embeddings/contexts.safetensors"));
    for (i, Case { prompt, clip_skip, ids }) in cases().into_iter().enumerate().take(3) {
        let tokens = model.tokens(&prompt).unwrap();
        assert_eq!(tokens.ids, ids, "{prompt}");
        let context = model.context_with(&[tokens], clip_skip).unwrap();
        assert_close(&prompt, &context, &expected[&format!("context.{i}")], LIMIT);
    }
}

#[test]
fn clip_skip_beyond_the_layers_is_refused() {
    let model = nano();
    let tokens = [model.tokens("a cube").unwrap()];
    for clip_skip in [0, 99] {
        let error = model.context_with(&tokens, clip_skip).unwrap_err().to_string();
        assert!(error.starts_with(&format!("--clip_skip {clip_skip} is not between 1 and ")), "{error}");
    }
    assert_eq!(model.uncond().unwrap().dims()[1], Tokens::LENGTH);
}
