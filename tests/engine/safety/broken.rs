use super::{folder, picture, safety_json, write_config};
use crate::support::{fixture, tensors};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use txt2img::safety::Checker;

/// Expects that loading the folder fails with one sentence that contains `because`.
#[track_caller]
fn refused(folder: &Path, because: &str) {
    let Err(error) = Checker::load(folder, &Device::Cpu) else { panic!("the folder was loaded") };
    let sentence = format!("{error:#}");
    assert!(sentence.contains(because), "{sentence}");
    assert!(!sentence.contains('\n') && !sentence.ends_with('.'), "{sentence}");
}

/// The tiny checker with one tensor replaced or removed.
fn with_tensor(name: &str, tensor: Option<Tensor>) -> TempDir {
    let folder = folder();
    let mut tensors = tensors("safety/model.safetensors");
    tensors.remove(name).unwrap();
    tensors.extend(tensor.map(|tensor| (name.to_string(), tensor)));
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    folder
}

fn zeros(shape: (usize, usize)) -> Option<Tensor> {
    Some(Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap())
}

#[test]
fn paths_that_are_not_folders_are_refused() {
    let folder = folder();
    refused(&folder.path().join("nowhere"), "nowhere' is not a folder; give that of a safety checker");
    refused(&folder.path().join("model.safetensors"), "model.safetensors' is not a folder; give that of");
}

#[test]
fn missing_files_are_named() {
    let folder = folder();
    fs::remove_file(folder.path().join("config.json")).unwrap();
    refused(folder.path(), "config.json': No such file");
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    refused(folder.path(), "lacks model.safetensors (or a .bin file, ");
}

#[test]
fn missing_tensors_are_named() {
    for name in [
        "concept_embeds",
        "concept_embeds_weights",
        "special_care_embeds",
        "special_care_embeds_weights",
        "visual_projection.weight",
        "vision_model.embeddings.class_embedding",
        "vision_model.pre_layrnorm.weight",
        "vision_model.encoder.layers.2.mlp.fc2.bias",
    ] {
        refused(with_tensor(name, None).path(), &format!("it has no tensor '{name}'"));
    }
}

#[test]
fn tensors_of_the_wrong_size_are_refused() {
    refused(with_tensor("concept_embeds", zeros((0, 48))).path(), "has 0 rows in 'concept_embeds'");
    refused(with_tensor("concept_embeds", zeros((17, 47))).path(), "'concept_embeds' is 17×47, not 17×48");
    refused(with_tensor("special_care_embeds", zeros((4, 48))).path(), "'special_care_embeds_weights' is 3, not 4");
    refused(with_tensor("visual_projection.weight", zeros((0, 64))).path(), "has 0 rows in 'visual_projection");
    refused(with_tensor("concept_embeds", zeros((100_000, 0))).path(), "has 100000 rows in 'concept_embeds'");
}

#[test]
fn nan_weights_are_an_error() {
    let nan = Tensor::full(f32::NAN, (48, 64), &Device::Cpu).unwrap();
    let folder = with_tensor("visual_projection.weight", Some(nan));
    let checker = Checker::load(folder.path(), &Device::Cpu).unwrap();
    let error = checker.check(&picture(1)).unwrap_err().to_string();
    assert!(error.contains("weights are damaged"), "{error}");
}

#[test]
fn files_of_the_wrong_type_are_refused() {
    let folder = folder();
    let model = folder.path().join("model.safetensors");
    for (bytes, because) in [
        (&b""[..], "is empty; download it again"),
        (b"<!DOCTYPE html>", "is a web page, not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\nsize 5\n", "is a git-lfs pointer to 5 bytes"),
        (&[0xff; 64], "of an unknown format"),
        (b"PK\x03\x04", "is cut short or damaged"),
    ] {
        fs::write(&model, bytes).unwrap();
        refused(folder.path(), because);
    }
}

#[test]
fn a_bin_file_is_read_if_there_is_no_safetensors_file() {
    let folder = folder();
    fs::copy(fixture("nano.ckpt"), folder.path().join("pytorch_model.bin")).unwrap();
    assert!(Checker::load(folder.path(), &Device::Cpu).is_ok(), "the .safetensors file comes first");
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    refused(folder.path(), "pytorch_model.bin' does not fit the model's config: it has no tensor 'vision_model.");
}

#[test]
fn impossible_configs_are_refused() {
    let folder = folder();
    for (name, value, because) in [
        ("hidden_size", json!(0), "vision_config: hidden_size must be 1 to 65536, not 0"),
        ("hidden_size", json!(u64::MAX), "hidden_size must be 1 to 65536"),
        ("hidden_size", json!(-1), "invalid value: integer `-1`"),
        ("hidden_size", json!(63), "hidden_size 63 cannot be divided among 4 heads"),
        ("hidden_size", json!(128), "'vision_model.embeddings.class_embedding' is 64, not 128"),
        ("num_hidden_layers", json!(4), "it has no tensor 'vision_model.encoder.layers.3."),
        ("num_hidden_layers", json!(u64::MAX), "num_hidden_layers must be 1 to 256"),
        ("num_attention_heads", json!(0), "num_attention_heads must be 1 to 64, not 0"),
        ("image_size", json!(1_u64 << 40), "image_size must be 1 to 1024"),
        ("image_size", json!(448), "'vision_model.embeddings.position_embedding.weight' is 50×64, not 197×64"),
        ("patch_size", json!(0), "patch_size must be 1 to 224, not 0"),
        ("patch_size", json!(225), "patch_size must be 1 to 224, not 225"),
        ("patch_size", json!(1), "patch_size makes 224 patches per side, more than 32"),
        ("hidden_act", json!("gelu\n"), "hidden_act must be quick_gelu, as CLIP's is"),
    ] {
        let mut config = safety_json();
        config["vision_config"][name] = value;
        write_config(folder.path(), &config);
        refused(folder.path(), because);
    }
}

#[test]
fn malformed_config_files_are_refused() {
    let folder = folder();
    write_config(folder.path(), &json!({ "text_config": {} }));
    refused(folder.path(), "missing field `vision_config`");
    write_config(folder.path(), &Value::Null);
    refused(folder.path(), "config.json': invalid type: null");
    let config = folder.path().join("config.json");
    fs::write(&config, [b'['; 1 << 16]).unwrap();
    refused(folder.path(), "config.json': ");
    fs::write(&config, vec![b' '; (1 << 20) + 1]).unwrap();
    refused(folder.path(), "it has more than 1048576 bytes");
    fs::write(&config, [0xff]).unwrap();
    refused(folder.path(), "config.json': ");
    fs::remove_file(&config).unwrap();
    fs::create_dir(&config).unwrap();
    refused(folder.path(), "it is not a file");
}
