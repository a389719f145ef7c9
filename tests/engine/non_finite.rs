//! NaN and infinite values in the networks, and the events of `--progress json`.

use crate::support::{TestRun, assert_same_picture, fixture, notes, read_png, stderr};
use candle_core::{Device, Tensor};
use serde_json::Value;
use std::collections::HashMap;
use txt2img::checkpoint::Checkpoint;

/// The small model with one tensor full of NaN.
fn with_nan(broken: &str) -> TestRun {
    with_other(broken, |numbers| numbers.fill(f32::NAN))
}

/// The small model as `other.safetensors`, with one tensor changed.
fn with_other(broken: &str, change: impl Fn(&mut [f32])) -> TestRun {
    let nano = Checkpoint::open(&fixture("nano.ckpt")).unwrap();
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    for name in nano.names().filter(|name| !name.contains("position_ids")) {
        let mut numbers = nano.read_f32(name).unwrap();
        if name == broken {
            change(&mut numbers);
        }
        tensors.insert(name.into(), Tensor::from_vec(numbers, nano.shape(name).unwrap(), &Device::Cpu).unwrap());
    }
    assert!(tensors.contains_key(broken));
    let run = TestRun::new();
    candle_core::safetensors::save(&tensors, run.path("other.safetensors")).unwrap();
    run
}

#[test]
fn nan_is_reported_with_its_stage() {
    for (broken, stage) in [
        ("cond_stage_model.transformer.text_model.final_layer_norm.weight", "the text encoder"),
        ("model.diffusion_model.out.2.bias", "a sampling step"),
        ("first_stage_model.decoder.conv_out.bias", "the decoder"),
    ] {
        let run = with_nan(broken);
        let said = |precision| {
            let flags = ["--ckpt", "other.safetensors", "--skip_watermark", "--n_iter", "2", "--precision", precision];
            notes(&run.quick(flags).ok())
        };
        let in_f32 = format!("note: {stage} returned NaN or infinite values, so the picture is unusable: ");
        let full = said("full");
        assert!(full.starts_with(&in_f32) && full.lines().count() == 1, "{full}");
        // On CPUs with bf16 instructions, bf16 is tried first.
        let half = said("autocast");
        let lines: Vec<&str> = half.lines().collect();
        assert!(lines.last().unwrap().starts_with(&in_f32), "{half}");
        if let [first, _] = lines[..] {
            let tried = format!(
                "note: {stage} returned NaN or infinite values in half precision; affected pictures are redrawn in f32"
            );
            assert_eq!(first, tried);
        }
        assert_eq!(run.files().len(), 6);
    }
}

/// GPUs compute in f16, whose largest number is 65504; bf16 has the range of f32.
#[test]
fn what_is_too_large_for_f16_is_drawn_in_f32() {
    let run = with_other("model.diffusion_model.input_blocks.0.0.weight", |numbers| {
        numbers.iter_mut().for_each(|number| *number *= 1e5);
    });
    let draw = |precision, outdir: &str| {
        let flags = ["--ckpt", "other.safetensors", "--skip_watermark", "--precision", precision];
        notes(&run.quick(flags.into_iter().chain(["--outdir", outdir])).ok())
    };
    assert_eq!(draw("full", "full"), "");
    let half = draw("autocast", "half");
    if crate::support::device().is_cuda() {
        let note = "note: a sampling step returned NaN or infinite values in half precision; affected pictures are redrawn in f32\n";
        assert_eq!(half, note);
        let [full, half] = ["full", "half"].map(|outdir| read_png(&run.path(outdir).join("samples/00000.png")));
        assert_same_picture("f32", &half, &full);
    } else {
        assert_eq!(half, "");
    }
}

#[test]
fn a_gpu_passes_these_tests() {
    crate::support::pass_on_a_gpu(module_path!());
}

#[test]
fn progress_in_json_has_an_event_per_line() {
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
