//! LoRA files of every kind and layout, merged as LyCORIS's library merges them and drawn as the original draws the result.

use super::{both, nano_checkpoint, reference};
use crate::support::{assert_close, channels_last, compute_device, fixture, nano_config, tensors};
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::fs;
use txt2img::checkpoint::lora::{LoraWeights, Loras};
use txt2img::diffusion::samplers::SamplerConfig;
use txt2img::engine::{Batch, Engine, Latents, SeedNoise};
use txt2img::params::SamplingParams;
use txt2img::rng::Rng;
use txt2img::text::Reading;

const PROMPT: &str = "a photo of a pink cube, black background";

/// Draws the references' picture with LoRAs, in four steps.
fn sample(loras: &Loras) -> Latents {
    let (checkpoint, config, device) = (nano_checkpoint(), nano_config(), compute_device());
    let mut engine =
        Engine::load(&checkpoint, &config, loras, &device, DType::F32, Reading::default(), &mut ()).unwrap();
    let sampler = SamplerConfig { steps: 4, ..SamplingParams::default().sampler };
    let params = SamplingParams { height: 256, width: 256, sampler, ..SamplingParams::default() };
    let batch = Batch { prompts: vec![(PROMPT, "")], params, input: None };
    engine.sample(&batch, &mut SeedNoise::new(Rng::default(), 42), &mut ()).unwrap()
}

fn merged(loras: &Loras, name: &str) -> Tensor {
    super::merged_into(&nano_checkpoint(), loras, name).unwrap()
}

#[track_caller]
fn is_merged_and_drawn_as_expected(kind: &str) {
    let cases: HashMap<String, serde_json::Value> =
        serde_json::from_slice(&fs::read(fixture("lora/lora.json")).unwrap()).unwrap();
    let case = &cases[kind];
    let expected = tensors(&format!("lora/{kind}.expect.safetensors"));
    let file = reference(kind);
    let n_matched: usize = file.summary().matched().iter().sum();
    assert_eq!((n_matched as u64, file.summary().n_unmatched()), (case["modules"].as_u64().unwrap(), 0));
    let loras = Loras::new([(file, both(case["strength"].as_f64().unwrap()))]);
    for (name, expected) in &expected {
        if let Some(name) = name.strip_prefix("merged.") {
            assert_close(name, &merged(&loras, name), expected, 1e-6);
        }
    }
    assert_close("latents", &sample(&loras).latents, &channels_last(&expected["latents.0"]), 1e-4);
}

macro_rules! kinds {
    ($($name:ident)*) => {
        mod every_kind_is_merged_and_drawn_as_expected { $(#[test] fn $name() { super::is_merged_and_drawn_as_expected(stringify!($name)) })* }
    };
}

kinds!(lora_kohya lora_ldm_names lora_no_alpha locon locon_tucker peft old_diffusers dora_out dora_in loha full_diff);

/// The expectations were made with `lycoris.functional.lokr.diff_weight(…, gamma=alpha / rank)` of LyCORIS 4.1.3, which
/// divides `gamma` by the rank once more if a factor is itself factored. LyCORIS's own modules, with which such files are
/// trained, change their layers by alpha / rank, here 2, as other programs do.
#[test]
fn a_lokr_changes_as_much_as_in_training() {
    let expected = tensors("lora/lokr.expect.safetensors");
    let loras = Loras::new([(reference("lokr"), both(0.9))]);
    let checkpoint = nano_checkpoint();
    let is_factored = |name: &str| name.contains("input_blocks.0.0") || name.contains("output_blocks.4.0");
    for name in expected.keys().filter_map(|name| name.strip_prefix("merged.")) {
        let base = Tensor::from_vec(checkpoint.read_f32(name).unwrap(), checkpoint.shape(name).unwrap(), &Device::Cpu);
        let change = (&expected[&format!("merged.{name}")] - base.as_ref().unwrap()).unwrap();
        let change = (change * if is_factored(name) { 2. } else { 1. }).unwrap();
        assert_close(name, &merged(&loras, name), &(base.unwrap() + change).unwrap(), 1e-6);
    }
    assert_eq!(reference("lokr").summary().matched().iter().sum::<usize>(), 132);
}

#[test]
fn a_weight_of_zero_is_the_model_itself() {
    let plain = sample(&Loras::default()).latents;
    let is_plain = |loras: Loras| assert_close("latents", &sample(&loras).latents, &plain, 0.);
    is_plain(Loras::new([(reference("locon"), both(0.))]));
    is_plain(Loras::new([
        (reference("locon"), both(1.)),
        (reference("loha"), both(0.)),
        (reference("locon"), both(-1.)),
    ]));
}

#[test]
fn the_text_encoder_and_the_unet_have_weights_of_their_own() {
    let text = "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight";
    let unet = "model.diffusion_model.input_blocks.3.1.transformer_blocks.0.attn1.to_out.0.weight";
    let loras = Loras::new([(reference("locon"), LoraWeights { text: 0., unet: 1. })]);
    assert!(!loras.changes(text) && loras.changes(unet));
}

#[test]
fn ten_files_are_added_at_once() {
    let kinds = ["lora_kohya", "lora_ldm_names", "lora_no_alpha", "locon", "locon_tucker", "peft", "old_diffusers"];
    let kinds = kinds.into_iter().chain(["loha", "lokr", "full_diff"]);
    let loras = Loras::new(kinds.map(|kind| (reference(kind), both(0.1))));
    assert!(sample(&loras).non_finite.is_none());
}
