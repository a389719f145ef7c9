//! Textual inversions within LoRA files.

use super::{Lora, nano_checkpoint};
use crate::support::{assert_close, device, nano_config, relative_rms};
use candle_core::DType;
use txt2img::checkpoint::lora::{LoraWeights, Loras};
use txt2img::engine::Model;

/// The width of the small model's text encoder.
const WIDTH: usize = 32;

#[test]
fn embeddings_are_read_under_every_key() {
    let lora = Lora::kohya()
        .with("bundle_emb.one.string_to_param.*", &[2, WIDTH])
        .with("bundle_emb.two.emb_params", &[3, WIDTH])
        .with("bundle_emb.bad-hands.v1.5.emb_params", &[1, WIDTH])
        .with("bundle_emb.four.clip_l", &[WIDTH])
        .with("bundle_emb.five.string_to_param.five", &[1, WIDTH]);
    let file = lora.open().unwrap();
    assert_eq!((file.summary().matched(), file.summary().n_unmatched()), ([0, 1, 0], 0));
    let found: Vec<(&str, &[usize])> = file.embeddings().map(|(name, vectors)| (name, vectors.dims())).collect();
    let expected: [(&str, &[usize]); 5] = [
        ("bad-hands.v1.5", &[1, WIDTH]),
        ("five", &[1, WIDTH]),
        ("four", &[1, WIDTH]),
        ("one", &[2, WIDTH]),
        ("two", &[3, WIDTH]),
    ];
    assert_eq!(found, expected);
    let (_, vectors) = file.embeddings().find(|(name, _)| *name == "two").unwrap();
    let numbers: Vec<f32> = vectors.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(numbers, lora.numbers("bundle_emb.two.emb_params"));
    assert!(file.summary().to_string().ends_with("; holds the embeddings bad-hands.v1.5, five, four, one, two"));
}

#[test]
fn vectors_for_other_networks_are_not_in_the_model() {
    let file = Lora::kohya().with("bundle_emb.word.clip_l_out", &[1, WIDTH]).open().unwrap();
    assert_eq!((file.embeddings().count(), file.summary().n_unmatched()), (0, 1));
}

#[test]
fn embeddings_that_do_not_fit_are_refused() {
    let refusal = |shape: &[usize]| Lora::kohya().with("bundle_emb.word.emb_params", shape).refusal();
    assert_eq!(
        refusal(&[1, 768]),
        "holds an embedding 'word' that is 768 wide, not 32 as in the model; give a LoRA made for Stable Diffusion 1.x"
    );
    assert_eq!(refusal(&[0, WIDTH]), "holds an embedding 'word' without vectors; download it again");
    assert_eq!(refusal(&[76, WIDTH]), "holds an embedding 'word' of 76 vectors, but an embedding has at most 75");
    assert_eq!(refusal(&[1, 1, WIDTH]), "holds an embedding 'word' of the shape 1×1×32; give another file");
    let damaged = Lora::kohya().with_numbers("bundle_emb.word.emb_params", &[WIDTH], vec![f32::NAN; WIDTH]);
    assert_eq!(damaged.refusal(), "is damaged: its embedding 'word' holds NaN or infinity; download it again");
    let integers = Lora::kohya().with_bytes("bundle_emb.word.emb_params", "I8", &[WIDTH], vec![1; WIDTH]);
    assert_eq!(integers.refusal(), "holds an embedding 'word' of I8, not of floating point numbers; download it again");
    let twice = Lora::kohya().with("bundle_emb.word.emb_params", &[WIDTH]).with("bundle_emb.word.clip_l", &[WIDTH]);
    assert_eq!(twice.refusal(), "holds two embeddings 'word'; give another file");
}

#[test]
fn an_embedding_stands_for_its_name_while_its_lora_is_used() {
    let vectors = [2, WIDTH];
    let file = Lora::kohya().with("bundle_emb.Wordy.emb_params", &vectors);
    let text_only = LoraWeights { text: 1., unet: 0. }; // The LoRA changes the UNet alone.
    let model = |loras: &Loras| {
        let (checkpoint, config) = (nano_checkpoint(), nano_config());
        Model::load(&checkpoint, &config, loras, &device(), DType::F32, &|| ()).unwrap()
    };
    let (plain, with) = (model(&Loras::default()), model(&Loras::new([(file.open().unwrap(), text_only)])));
    let n_tokens = |model: &Model, prompt: &str| {
        let tokens = model.tokens(prompt).unwrap();
        tokens.ids.iter().position(|&id| id == 49407).unwrap()
    };
    assert_eq!(n_tokens(&with, "a wordy"), 2 + 2);
    let context = |model: &Model, prompt: &str| model.context(&[model.tokens(prompt).unwrap()]).unwrap();
    assert_close("context", &context(&with, "a cube"), &context(&plain, "a cube"), 0.);
    assert!(relative_rms(&context(&with, "a wordy"), &context(&plain, "a wordy")) > 0.01);
}
