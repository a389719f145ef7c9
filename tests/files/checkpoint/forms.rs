//! Variants of checkpoints: files saved by torch (`tests/fixtures/checkpoints`), and tensors under the names of other
//! tools.

use super::*;

fn by_torch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(name)
}

/// Returns the small model's tensors under other names.
fn nano_named(rename: impl Fn(&str) -> String) -> Contents {
    contents(&nano()).into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect()
}

// Files saved by torch

#[test]
fn every_file_of_torchs_reads_the_same() {
    let mut n = 0;
    for entry in fs::read_dir(by_torch("")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".py") || name == "float8_numbers.ckpt" {
            continue;
        }
        let read = contents(&Checkpoint::open(&path).unwrap());
        assert_eq!(read.keys().collect::<Vec<_>>(), ["a", "b"], "{name}");
        assert_eq!(read["a"], (vec![2, 3], vec![0., 1., 2., 3., 4., 5.]), "{name}");
        assert_eq!(read["b"], (vec![3, 2], vec![0., 3., 1., 4., 2., 5.]), "{name}");
        n += 1;
    }
    assert_eq!(n, 27);
}

/// Returns the bits of numbers, as NaN does not equal itself.
fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
}

#[test]
fn every_8_bit_number_is_what_torch_takes_it_for() {
    let checkpoint = Checkpoint::open(&by_torch("float8_numbers.ckpt")).unwrap();
    for name in ["e4m3", "e5m2"] {
        let expected = checkpoint.read_f32(&format!("{name}.f32")).unwrap();
        assert_eq!(expected.len(), 256);
        assert_eq!(bits(&checkpoint.read_f32(name).unwrap()), bits(&expected), "{name}");
        let on_device = checkpoint.read_to(name, &[256], &Device::Cpu).unwrap();
        let on_device = on_device.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(bits(&on_device), bits(&expected), "{name} on a device");
    }
    assert_eq!(checkpoint.dtype("e4m3"), Some(Dtype::F8E4M3));
}

#[test]
fn safetensors_of_8_bit_numbers_are_read() {
    for (dtype, numbers) in [("F8_E4M3", [1., 448., -0.001953125]), ("F8_E5M2", [0.0078125, -0.9375 * 0., 1.])] {
        let bytes = if dtype == "F8_E4M3" { [0x38, 0x7e, 0x81] } else { [0x20, 0x80, 0x3c] };
        let header = format!(r#"{{"a": {{"dtype": "{dtype}", "shape": [3], "data_offsets": [0, 3]}}}}"#);
        let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes].concat();
        assert_eq!(open(&file).unwrap()["a"].1, numbers, "{dtype}");
    }
}

#[test]
fn an_autoencoder_in_torchs_older_format_is_taken() {
    let folder = Folder::new();
    let Err(error) = nano().with_vae(&by_torch("legacy.vae.pt")) else { panic!("it has no decoder") };
    assert!(error.to_string().contains("legacy.vae.pt' has no VAE decoder; give a VAE's .ckpt, .pt"), "{error}");
    let vae = nano_named(|name| name.replace("first_stage_model.", "vae."));
    let path = folder.write("x.vae.safetensors", &safetensors(&vae, Stored::F32));
    let checkpoint = nano().with_vae(&path).unwrap();
    assert!(contents(&checkpoint) == contents(&nano()));
}

// Names

#[test]
fn prefixes_of_other_tools_are_taken_off() {
    let expected = contents(&nano());
    let bare_text = |name: &str| name.replace("transformer.text_model.", "transformer.");
    let compiled = |name: &str| name.replace("model.diffusion_model.", "model.diffusion_model._orig_mod.");
    let bare_unet = |name: &str| name.strip_prefix("model.").unwrap_or(name).to_string();
    for (what, renamed) in [
        ("module.", nano_named(|name| format!("module.{name}"))),
        ("model.", nano_named(|name| format!("model.{name}"))),
        ("module.model.", nano_named(|name| format!("module.model.{name}"))),
        ("no text_model.", nano_named(bare_text)),
        ("module. and no text_model.", nano_named(|name| format!("module.{}", bare_text(name)))),
        ("no model.", nano_named(bare_unet)),
        ("_orig_mod.", nano_named(compiled)),
    ] {
        let read = open(&safetensors(&renamed, Stored::F32)).unwrap();
        assert!(read.keys().eq(expected.keys()), "{what}");
        assert!(read == expected, "{what}");
    }
}

#[test]
fn a_tensor_under_its_own_name_comes_before_one_that_gets_it() {
    let mut tensors = nano_named(|name| name.to_string());
    tensors.insert("cond_stage_model.transformer.final_layer_norm.bias".into(), (vec![1], vec![7.]));
    let read = open(&safetensors(&tensors, Stored::F32)).unwrap();
    assert!(read == contents(&nano()));
}

// Tensors of other shapes

#[test]
fn tokens_that_were_added_to_the_vocabulary_change_nothing() {
    let folder = Folder::new();
    let mut tensors = contents(&nano());
    let (shape, numbers) =
        tensors.get_mut("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight").unwrap();
    shape[0] += 3;
    numbers.extend([9.; 3 * 32]);
    let path = folder.write("more.safetensors", &safetensors(&tensors, Stored::F16));
    assert!(picture(&path) == picture(&nano_path()));
}

/// Returns the remedy in the error of the small model without the tensors whose names begin with `start`.
#[track_caller]
fn lacking(start: &str) -> String {
    let folder = Folder::new();
    let mut tensors = contents(&nano());
    tensors.retain(|name, _| !name.starts_with(start));
    let path = folder.write("model.safetensors", &safetensors(&tensors, Stored::F16));
    let Err(error) = vae::load(&Checkpoint::open(&path).unwrap()) else { panic!("it loads without {start}") };
    let loading = error.to_string();
    let mut dry_run = Command::new(env!("CARGO_BIN_EXE_txt2img"));
    dry_run.arg("--config").arg(nano_path().with_extension("yaml")).arg("--ckpt").arg(&path).arg("--dry_run");
    let output =
        dry_run.args(["--H", "64", "--W", "64", "--safety", "off"]).current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let remedy = loading.rsplit_once("; ").unwrap().1;
    assert!(output.status.code() == Some(1) && said.trim_end().ends_with(remedy), "{said}");
    remedy.to_string()
}

/// If the file is incomplete, another config does not help.
#[test]
fn another_config_is_asked_for_only_if_it_can_help() {
    for start in [
        "model.diffusion_model.out.0.bias",
        "first_stage_model.decoder.conv_in.weight",
        "cond_stage_model.transformer.text_model.final_layer_norm.",
    ] {
        assert_eq!(lacking(start), "it is incomplete or damaged, so download it again", "{start}");
    }
    assert_eq!(lacking("model.diffusion_model.input_blocks.1.1."), "give the config that belongs to it");
}

#[test]
fn metadata_of_another_form_does_no_harm() {
    let tensor = r#""a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}"#;
    for metadata in ["null", "3", r#"{"steps": 10, "nested": {"a": [1]}}"#, "[]"] {
        let file = with_header(&format!(r#"{{"__metadata__": {metadata}, {tensor}}}"#), 4);
        assert_eq!(open(&file).unwrap()["a"].1, [0.], "{metadata}");
    }
}
