//! The names that tools give to modules.

use super::{DIFFUSERS, LDM, Lora, SHAPE, both, merged, nano_checkpoint, open, weight};
use crate::support::{fixture, nano_config};
use txt2img::checkpoint::lora::{LoraFile, Loras};
use txt2img::checkpoint::{Checkpoint, ema};

/// Asserts that a file with the names `down` and `up` changes the module `LDM` as kohya's does.
#[track_caller]
fn equals_kohya(down: &str, up: &str) {
    let ours = Lora::plain(down, up).merged(&weight(LDM), 1.);
    assert_eq!(ours, Lora::kohya().merged(&weight(LDM), 1.), "{down}");
}

#[test]
fn every_layout_of_a_unet_is_read() {
    let [ldm, diffusers] = [LDM, DIFFUSERS].map(|name| name.replace('.', "_"));
    for module in [
        format!("lora_unet_{diffusers}"),
        format!("lora_unet_{ldm}"),
        format!("lycoris_{diffusers}"),
        format!("lycoris_{ldm}"),
        format!("diffusion_model.{LDM}"),
        format!("model.diffusion_model.{LDM}"),
        DIFFUSERS.to_owned(),
    ] {
        equals_kohya(&format!("{module}.lora_down.weight"), &format!("{module}.lora_up.weight"));
    }
    for module in [DIFFUSERS.to_owned(), format!("unet.{DIFFUSERS}"), format!("base_model.model.{DIFFUSERS}")] {
        equals_kohya(&format!("{module}.lora_A.weight"), &format!("{module}.lora_B.weight"));
        equals_kohya(&format!("{module}.lora_A.default.weight"), &format!("{module}.lora_B.default.weight"));
        equals_kohya(&format!("{module}.lora.down.weight"), &format!("{module}.lora.up.weight"));
        let old = module.replace("attn2.", "attn2.processor.");
        equals_kohya(&format!("{old}_lora.down.weight"), &format!("{old}_lora.up.weight"));
    }
}

#[test]
fn every_layout_of_a_text_encoder_is_read() {
    let layer = "text_model.encoder.layers.0.self_attn.q_proj";
    let name = format!("cond_stage_model.transformer.{layer}.weight");
    let numbers: Vec<f32> = (0..64).map(|i| i as f32 / 64. - 0.5).collect();
    let merged = |down: String, up: String| {
        let lora = Lora::default().with_numbers(down, &[2, 32], numbers.clone());
        lora.with_numbers(up, &[32, 2], numbers.clone()).merged(&name, 1.)
    };
    let flat = layer.replace('.', "_");
    let kohya = merged(format!("lora_te_{flat}.lora_down.weight"), format!("lora_te_{flat}.lora_up.weight"));
    assert_ne!(kohya, nano_checkpoint().read_f32(&name).unwrap());
    for (down, up) in [
        (format!("lora_te1_{flat}.lora_down.weight"), format!("lora_te1_{flat}.lora_up.weight")),
        (format!("text_encoder.{layer}.lora_A.weight"), format!("text_encoder.{layer}.lora_B.weight")),
        (format!("base_model.model.{layer}.lora_A.weight"), format!("base_model.model.{layer}.lora_B.weight")),
        (format!("{layer}.lora_linear_layer.down.weight"), format!("{layer}.lora_linear_layer.up.weight")),
        (
            format!("text_encoder.{layer}.lora_linear_layer.down.weight"),
            format!("text_encoder.{layer}.lora_linear_layer.up.weight"),
        ),
        (
            "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight".into(),
            "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.up.weight".into(),
        ),
        (
            format!("text_encoders.clip_l.transformer.{layer}.lora_down.weight"),
            format!("text_encoders.clip_l.transformer.{layer}.lora_up.weight"),
        ),
    ] {
        assert_eq!(merged(down.clone(), up), kohya, "{down}");
    }
}

#[test]
fn a_file_written_by_torch_equals_the_same_in_safetensors() {
    let [torch, safetensors] = ["lora/small.pt", "lora/small.safetensors"].map(|name| open(&fixture(name)).unwrap());
    assert_eq!(torch.summary().to_string(), safetensors.summary().to_string());
    let name = weight(LDM);
    let [torch, safetensors] = [torch, safetensors].map(|file| merged(&[(file.into(), both(1.))], &name));
    assert_eq!(torch, safetensors);
    assert_ne!(torch, nano_checkpoint().read_f32(&name).unwrap());
}

#[test]
fn of_both_namings_in_one_file_diffusers_counts() {
    let module = format!("lora_unet_{}", LDM.replace('.', "_"));
    let twice = Lora::kohya()
        .with(format!("{module}.lora_down.weight"), &[1, 32])
        .with(format!("{module}.lora_up.weight"), &[64, 1])
        .with("lora_unet_input_blocks_0_0.diff_b", &[32]);
    let file = twice.open().unwrap();
    assert_eq!((file.summary().matched(), file.summary().n_unmatched()), ([0, 1, 0], 0));
    assert_eq!(twice.merged(&weight(LDM), 1.), Lora::kohya().merged(&weight(LDM), 1.));
}

#[test]
fn alpha_may_be_an_integer_in_a_file_or_in_the_metadata_of_peft() {
    let module = format!("unet.{DIFFUSERS}");
    let peft = || Lora::plain(format!("{module}.lora_A.weight"), format!("{module}.lora_B.weight"));
    let name = weight(LDM);
    let half = Lora::kohya().merged(&name, 0.5);
    let config = r#"{"unet.lora_alpha": 2, "unet.r": 4, "text_encoder.lora_alpha": 9}"#;
    assert_eq!(peft().with_metadata("lora_adapter_metadata", config).merged(&name, 1.), half);
    // α / √rank.
    let config = r#"{"unet.lora_alpha": 1.0, "unet.use_rslora": true}"#;
    assert_eq!(peft().with_metadata("lora_adapter_metadata", config).merged(&name, 1.), half);
    assert_eq!(peft().with_metadata("lora_adapter_metadata", "{").merged(&name, 0.5), half);
}

#[test]
fn a_lora_changes_the_moving_averages_that_are_used_in_place_of_the_weights() {
    let nano = nano_checkpoint();
    let mut averages = Lora::default();
    for name in nano.names().filter(|name| nano.dtype(name).is_some_and(|dtype| dtype.to_string() == "F16")) {
        let (shape, numbers) = (nano.shape(name).unwrap(), nano.read_f32(name).unwrap());
        let new = if name.starts_with("model.diffusion_model.") { ema::name(name) } else { name.to_owned() };
        averages = averages.with_numbers(new, shape, numbers);
    }
    let (saved, lora) = (averages.save(), Lora::kohya().save());
    let checkpoint = Checkpoint::open(&saved.path).unwrap();
    let file = LoraFile::open(&lora.path, &checkpoint, &nano_config().unet).unwrap();
    assert_eq!(file.summary().matched(), [0, 1, 0]);
    let loras = Loras::new([(file.into(), both(1.))]);
    let average = ema::name(&weight(LDM));
    assert_eq!(loras.names_of_averages()[&average], weight(LDM));
    let ours = loras.read(&checkpoint, &average, &weight(LDM), &(&SHAPE).into()).unwrap();
    assert_eq!(ours.flatten_all().unwrap().to_vec1::<f32>().unwrap(), Lora::kohya().merged(&weight(LDM), 1.));
}

#[test]
fn an_alpha_of_any_integer_type_equals_one_in_f32() {
    let module = format!("lora_unet_{}", DIFFUSERS.replace('.', "_"));
    let expected = Lora::kohya().with_number(format!("{module}.alpha"), 2.).merged(&weight(LDM), 1.);
    for (dtype, size) in [("I64", 8), ("I32", 4), ("I16", 2), ("I8", 1), ("U8", 1)] {
        let bytes = 2i64.to_le_bytes()[..size].to_vec();
        let lora = Lora::kohya().with_bytes(format!("{module}.alpha"), dtype, &[], bytes);
        assert_eq!(lora.merged(&weight(LDM), 1.), expected, "{dtype}");
    }
}

#[test]
fn the_config_beside_a_file_of_peft_states_its_alpha() {
    let module = format!("base_model.model.unet.{DIFFUSERS}");
    let peft = Lora::plain(format!("{module}.lora_A.weight"), format!("{module}.lora_B.weight"));
    let (name, folder) = (weight(LDM), tempfile::TempDir::new().unwrap());
    let path = folder.path().join("adapter_model.safetensors");
    std::fs::write(&path, peft.bytes()).unwrap();
    let read = || merged(&[(std::sync::Arc::new(open(&path).unwrap()), both(1.))], &name);
    assert_eq!(read(), peft.merged(&name, 1.));
    // The rank is 4.
    std::fs::write(folder.path().join("adapter_config.json"), r#"{"lora_alpha": 2, "r": 4}"#).unwrap();
    assert_eq!(read(), peft.merged(&name, 0.5));
}

#[test]
fn a_module_may_have_an_alpha_of_its_own_in_the_metadata_of_peft() {
    let module = format!("unet.{DIFFUSERS}");
    let peft = Lora::plain(format!("{module}.lora_A.weight"), format!("{module}.lora_B.weight"));
    let config = r#"{"unet.lora_alpha": 9, "unet.alpha_pattern": {"attn2.to_v": 2, "v": 7}}"#;
    let ours = peft.with_metadata("lora_adapter_metadata", config).merged(&weight(LDM), 1.);
    assert_eq!(ours, Lora::kohya().merged(&weight(LDM), 0.5));
}
