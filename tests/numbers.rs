//! Values that are not numbers never become a picture without a word; and what `--progress json` says.

mod support;

use candle_core::{Device, Tensor};
use serde_json::Value;
use std::collections::HashMap;
use support::{TestRun, fixture, stderr};
use txt2img::checkpoint::Checkpoint;

/// The small model, with one tensor that is not made of numbers.
fn with_nan(broken: &str) -> TestRun {
    let nano = Checkpoint::open(&fixture("nano.ckpt")).unwrap();
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    for name in nano.names().filter(|name| !name.contains("position_ids")) {
        let mut numbers = nano.read_f32(name).unwrap();
        if name == broken {
            numbers.fill(f32::NAN);
        }
        tensors.insert(name.into(), Tensor::from_vec(numbers, nano.shape(name).unwrap(), &Device::Cpu).unwrap());
    }
    assert!(tensors.contains_key(broken));
    let run = TestRun::new();
    candle_core::safetensors::save(&tensors, run.path("nan.safetensors")).unwrap();
    run
}

#[test]
fn what_is_not_a_number_is_told_with_its_stage() {
    for (broken, stage) in [
        ("cond_stage_model.transformer.text_model.final_layer_norm.weight", "the text encoder"),
        ("model.diffusion_model.out.2.bias", "a sampling step"),
        ("first_stage_model.decoder.conv_out.bias", "the decoder"),
    ] {
        let run = with_nan(broken);
        let said = |precision| {
            let flags = ["--ckpt", "nan.safetensors", "--skip_watermark", "--n_iter", "2", "--precision", precision];
            stderr(&run.quick(flags).ok())
        };
        let in_f32 =
            format!("Note: {stage} gave values that are not numbers, and the picture is not the one asked for: ");
        let full = said("full");
        assert!(full.starts_with(&in_f32) && full.lines().count() == 1, "{full}");
        // Where the processor has bf16, that is tried first.
        let half = said("autocast");
        let lines: Vec<&str> = half.lines().collect();
        assert!(lines.last().unwrap().starts_with(&in_f32), "{half}");
        if let [first, _] = lines[..] {
            let tried = format!(
                "Note: in half precision {stage} gave values that are not numbers: where it does, f32 takes its place"
            );
            assert_eq!(first, tried);
        }
        assert_eq!(run.files().len(), 6);
    }
}

#[test]
fn programs_are_told_of_progress_in_json() {
    let run = TestRun::new();
    let said = stderr(&run.quick(["--progress", "json", "--n_iter", "2"]).ok());
    let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    assert_eq!(of("note").len(), 1, "{said}");
    let steps: Vec<_> = of("step").iter().map(|event| (event["done"].as_u64(), event["of"].as_u64())).collect();
    assert_eq!(steps, [(Some(1), Some(2)), (Some(2), Some(2))].repeat(2));
    assert_eq!(of("batch").last().unwrap()["done"], 2);
    assert_eq!(events.last().unwrap(), &serde_json::json!({ "event": "end", "finished": true }));
    let loaded = of("loading").last().unwrap()["done"].as_u64();
    assert_eq!(loaded, of("loading").last().unwrap()["of"].as_u64());
}
