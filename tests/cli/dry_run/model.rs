//! The rows about the model, and tensors that do not fit.

use super::{nano, somewhere};
use crate::support::fixture;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use txt2img::checkpoint::Checkpoint;
use txt2img::files::sha256;

const TIME: &str = "model.diffusion_model.time_embed.0.weight";
const OUT: &str = "model.diffusion_model.out.2.bias";

/// Writes the small model as `.safetensors` filled with zeros. `tensor` returns a type and a shape for each name and
/// shape, or `None` to omit the tensor.
fn damaged(folder: &Path, tensor: impl Fn(&str, &[usize]) -> Option<(Dtype, Vec<usize>)>) -> PathBuf {
    let nano = Checkpoint::open(&fixture("nano.ckpt")).unwrap();
    let zeros = vec![0; 1 << 24];
    let kept = nano.names().filter_map(|name| Some((name, tensor(name, nano.shape(name)?)?)));
    let views = kept.map(|(name, (dtype, shape))| {
        let n = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (name, TensorView::new(dtype, shape, &zeros[..n]).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    assert!(SafeTensors::deserialize(&bytes).is_ok());
    let path = folder.join("damaged.safetensors");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn the_model_is_described_by_path_size_hash_and_layout() {
    let plan = nano(&fixture("nano.ckpt")).unwrap();
    assert!(plan.fits());
    assert_eq!(plan.values("model"), [fixture("nano.ckpt").to_str().unwrap()]);
    assert_eq!(plan.values("size"), ["8.4 MB"]);
    assert_eq!(plan.values("layout"), ["ckpt"]);
    assert_eq!(plan.values("sha256"), [sha256::of_file(&fixture("nano.ckpt"), &|| true).unwrap().unwrap()]);
    assert!(plan.values("does not fit").is_empty());
}

#[test]
fn hashes_are_those_of_fips_180() {
    assert_eq!(sha256::of_bytes(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn the_demo_model_is_complete_and_its_encoder_is_not_read() {
    let plan = somewhere([]);
    assert!(plan.fits());
    assert_eq!(plan.values("parameters"), ["7091195 in 496 tensors"]);
    let surplus = "72 tensors: 70 of first_stage_model.encoder.…, 2 of first_stage_model.quant_conv.…";
    assert_eq!(plan.values("not read"), [surplus]);
}

#[test]
fn a_missing_tensor_is_named() {
    let folder = TempDir::new().unwrap();
    let lacks = |name: &str, shape: &[usize]| (name != TIME).then(|| (Dtype::F32, shape.to_vec()));
    let plan = nano(&damaged(folder.path(), lacks)).unwrap();
    assert!(!plan.fits());
    assert_eq!(plan.values("does not fit"), [format!("it has no tensor '{TIME}'")]);
    assert_eq!(plan.values("layout"), ["safetensors"]);
}

#[test]
fn a_model_that_does_not_fit_has_no_estimate_of_memory() {
    let folder = TempDir::new().unwrap();
    let lacks = |name: &str, shape: &[usize]| (name != TIME).then(|| (Dtype::F32, shape.to_vec()));
    let plan = nano(&damaged(folder.path(), lacks)).unwrap();
    assert_eq!((plan.values("memory").len(), plan.values("disk").len()), (0, 1));
    assert_eq!(nano(&fixture("nano.ckpt")).unwrap().values("memory").len(), 1);
}

#[test]
fn tensors_of_other_shapes_and_types_are_named() {
    let folder = TempDir::new().unwrap();
    let other = |name: &str, shape: &[usize]| match name {
        TIME => Some((Dtype::F32, vec![3, 5])),
        OUT => Some((Dtype::I64, shape.to_vec())),
        _ => Some((Dtype::F32, shape.to_vec())),
    };
    let plan = nano(&damaged(folder.path(), other)).unwrap();
    let clauses =
        [format!("'{OUT}' is stored as I64, not as floating point numbers"), format!("'{TIME}' is 3×5, not 128×32")];
    assert_eq!(plan.values("does not fit"), clauses);
}

#[test]
fn at_most_twenty_missing_tensors_are_listed() {
    let folder = TempDir::new().unwrap();
    let lacks = |name: &str, shape: &[usize]| {
        let is_there = !name.starts_with("first_stage_model.decoder.up.");
        is_there.then(|| (Dtype::F32, shape.to_vec()))
    };
    let plan = nano(&damaged(folder.path(), lacks)).unwrap();
    let rows = plan.values("does not fit");
    assert_eq!(rows.len(), 21);
    assert!(rows[20].starts_with("and ") && rows[20].ends_with(" more"), "{}", rows[20]);
}

#[test]
fn an_enormous_shape_is_a_mismatch() {
    let folder = TempDir::new().unwrap();
    let hostile = |name: &str, shape: &[usize]| match name {
        "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight" => {
            Some((Dtype::F32, vec![usize::MAX, 0]))
        }
        _ => Some((Dtype::F32, shape.to_vec())),
    };
    let plan = nano(&damaged(folder.path(), hostile));
    assert!(plan.is_err() || !plan.unwrap().fits());
}

#[test]
fn a_file_that_is_not_a_checkpoint_gets_one_sentence() {
    let folder = TempDir::new().unwrap();
    let without_text =
        damaged(folder.path(), |name, shape| (!name.starts_with("cond_")).then(|| (Dtype::F32, shape.to_vec())));
    for path in [fixture("nano.yaml"), without_text] {
        let Err(error) = nano(&path) else { panic!("'{}' has a plan", path.display()) };
        let sentence = format!("{error:#}");
        assert!(sentence.contains(path.to_str().unwrap()) && !sentence.contains('\n'), "{sentence}");
    }
}
