use super::{even, folder, picture, safety_json};
use crate::support::{assert_close, tensors};
use candle_core::{Device, Tensor};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use txt2img::safety::{Checker, Verdict};

fn checker() -> Checker {
    Checker::load(folder().path(), &Device::Cpu).unwrap()
}

fn row(tensors: &HashMap<String, Tensor>, name: &str, index: usize) -> Tensor {
    tensors[name].get(index).unwrap()
}

fn tensor(numbers: Vec<f32>) -> Tensor {
    let n = numbers.len();
    Tensor::from_vec(numbers, n, &Device::Cpu).unwrap()
}

#[test]
fn embeddings_and_cosines_equal_the_original() {
    let (checker, expected) = (checker(), tensors("safety/scores.safetensors"));
    for index in 0..5 {
        let near = |name: &str, ours: Vec<f32>| {
            assert_close(&format!("{name} of {index}"), &tensor(ours), &row(&expected, name, index), 2e-5);
        };
        near("embeds", checker.embedding(&picture(index)).unwrap());
        let cosines = checker.cosines(&picture(index)).unwrap();
        near("concept", cosines.concepts);
        near("special", cosines.special_care);
    }
}

#[test]
fn flags_equal_the_original() {
    let (checker, expected) = (checker(), safety_json());
    for index in 0..5 {
        let Verdict { flagged, special_care, concepts } = checker.check(&picture(index)).unwrap();
        assert_eq!(expected["flags"][index], flagged, "{index}: {concepts:?}");
        let special: Vec<Value> = special_care.iter().map(|&score| (score > 0.).into()).collect();
        assert_eq!(expected["special_flags"][index], Value::Array(special), "{index}: {special_care:?}");
    }
}

#[test]
fn scores_are_cosines_minus_thresholds_and_stricter_after_special_care() {
    let (checker, weights) = (checker(), tensors("safety/model.safetensors"));
    let scores = tensors("safety/scores.safetensors");
    for index in 0..5 {
        let excess = |kind: &str, weights_name: &str| -> Vec<f32> {
            (row(&scores, kind, index) - &weights[weights_name]).unwrap().to_vec1().unwrap()
        };
        let verdict = checker.check(&picture(index)).unwrap();
        let special = excess("special", "special_care_embeds_weights");
        let mut adjustment = 0.;
        for (ours, excess) in verdict.special_care.iter().zip(special) {
            is_rounded(*ours, excess + adjustment);
            adjustment = if *ours > 0. { 0.01 } else { adjustment };
        }
        for (ours, excess) in verdict.concepts.iter().zip(excess("concept", "concept_embeds_weights")) {
            is_rounded(*ours, excess + adjustment);
        }
    }
}

/// Expects `score` to be `exact` rounded to three decimals, up to the rounding errors of the cosine.
#[track_caller]
fn is_rounded(score: f32, exact: f32) {
    assert!((score - exact).abs() <= 0.0005 + 2e-5, "{score} is not {exact}");
    assert!((1000. * score - (1000. * score).round()).abs() < 1e-4, "{score}");
}

#[test]
fn images_of_any_size_are_checked() {
    let checker = checker();
    let white = checker.check(&even(224, 224, 255)).unwrap();
    for (width, height) in [(8, 8), (8, 4096), (1024, 64), (1, 1), (513, 257)] {
        assert_eq!(checker.check(&even(width, height, 255)).unwrap(), white, "{width}x{height}");
    }
    for (width, height) in [(0, 0), (64, 0)] {
        let error = checker.check(&even(width, height, 0)).unwrap_err().to_string();
        assert_eq!(error, format!("an image of {width}x{height} pixels cannot be checked"));
    }
}

#[test]
fn a_checker_can_be_used_on_other_threads() {
    let checker = checker();
    let verdict = checker.check(&picture(0)).unwrap();
    let elsewhere = std::thread::scope(|scope| scope.spawn(|| checker.check(&picture(0)).unwrap()).join().unwrap());
    assert_eq!(elsewhere, verdict);
}

#[test]
fn the_names_and_folders_of_diffusers_are_understood() {
    let folder = folder();
    let plain = Checker::load(folder.path(), &Device::Cpu).unwrap().check(&picture(0)).unwrap();

    let whole = tempfile::TempDir::new().unwrap();
    let inner = whole.path().join("safety_checker");
    fs::create_dir(&inner).unwrap();
    fs::rename(folder.path().join("config.json"), inner.join("config.json")).unwrap();
    let nested = |name: &str| name.replacen("vision_model.", "vision_model.vision_model.", 1);
    let renamed: HashMap<_, _> =
        tensors("safety/model.safetensors").into_iter().map(|(n, t)| (nested(&n), t)).collect();
    candle_core::safetensors::save(&renamed, inner.join("model.safetensors")).unwrap();
    for path in [whole.path(), &inner] {
        let verdict = Checker::load(path, &Device::Cpu).unwrap().check(&picture(0)).unwrap();
        assert_eq!(verdict, plain, "{}", path.display());
    }
}
