//! Files that are no LoRAs for Stable Diffusion 1.x, each refused with one sentence.

use super::{DIFFUSERS, LDM, Lora, Saved, both, merged_into, nano_checkpoint, open, weight};
use crate::support::fixture;
use txt2img::checkpoint::Checkpoint;
use txt2img::checkpoint::lora::Loras;

fn module() -> String {
    format!("lora_unet_{}", DIFFUSERS.replace('.', "_"))
}

#[track_caller]
fn refused(lora: Lora, reason: &str) {
    let refusal = lora.refusal();
    assert!(refusal.contains(reason), "{refusal}");
}

#[test]
fn loras_for_other_models_are_refused_by_their_names() {
    for (name, model) in [
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "Stable Diffusion XL"),
        ("lora_unet_add_embedding_linear_1.lora_down.weight", "Stable Diffusion XL"),
        ("unet.down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q.lora_A.weight", "Stable Diffusion XL"),
        ("lora_te_text_model_encoder_layers_22_mlp_fc1.lora_down.weight", "Stable Diffusion 2.x"),
        ("lora_unet_double_blocks_0_img_attn_proj.lora_down.weight", "Flux"),
        ("transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", "Flux"),
        ("transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight", "Stable Diffusion 3 or Flux"),
        ("lora_unet_joint_blocks_0_x_block_attn_proj.lora_down.weight", "Stable Diffusion 3"),
    ] {
        let name = name.replace("layers_22", "layers_12");
        let reason = format!("is a LoRA for {model}; give a LoRA made for Stable Diffusion 1.x");
        refused(Lora::kohya().with(name, &[4, 32]), &reason);
    }
}

#[test]
fn loras_for_other_models_are_refused_by_their_metadata() {
    for (key, base) in [
        ("ss_base_model_version", "sdxl_base_v1-0"),
        ("ss_base_model_version", "sd_v2_768_v"),
        ("modelspec.architecture", "stable-diffusion-xl-v1-base/lora"),
        ("modelspec.architecture", "flux-1-dev/lora"),
    ] {
        let reason = format!("is a LoRA for another model, '{base}' by its metadata; give a LoRA");
        refused(Lora::kohya().with_metadata(key, base), &reason);
    }
    assert!(Lora::kohya().with_metadata("ss_base_model_version", "sd_v1").open().is_ok());
}

#[test]
fn loras_for_other_models_are_refused_by_the_width_of_their_prompts() {
    for (width, model) in [(1024, "Stable Diffusion 2.x"), (2048, "Stable Diffusion XL")] {
        let lora = Lora::default()
            .with(format!("{}.lora_down.weight", module()), &[1, width])
            .with(format!("{}.lora_up.weight", module()), &[64, 1]);
        refused(lora, &format!("is a LoRA for {model}, whose prompts are {width} wide"));
    }
}

#[test]
fn files_of_other_kinds_are_refused() {
    let whole = open(&fixture("nano.ckpt")).err().unwrap().to_string();
    assert!(whole.contains("is a whole checkpoint, not a LoRA; give it with --ckpt"), "{whole}");
    let embedding = Lora::default().with("emb_params", &[8, 768]);
    refused(embedding, "is a textual inversion (a word for a model, not a model), not a LoRA; give a LoRA");
    refused(Lora::default().with("first_stage_model.decoder.conv_in.weight", &[1]), "is a VAE alone, not a LoRA");
    refused(Lora::default().with("control_model.x.weight", &[1]), "is a ControlNet, not a LoRA");
    refused(Lora::default().with("x", &[1]), "has no tensors of a LoRA; give a LoRA");
    refused(
        Lora::default().with(format!("{}.oft_blocks", module()), &[1, 2, 2]),
        "holds OFT modules, which are not supported; LoRA, LoCon",
    );
    refused(
        Lora::default().with(format!("{}.a1.weight", module()), &[1, 2]),
        "holds GLoRA modules, which are not supported",
    );
    refused(Lora::default().with(format!("{}.on_input", module()), &[1]), "holds IA3 modules, which are not supported");
    let folder = open(&fixture("lora")).err().unwrap().to_string();
    assert!(folder.contains("is a folder; give the LoRA file in it"), "{folder}");
    let missing = open(&fixture("lora/none")).err().unwrap().to_string();
    assert!(missing.contains("does not exist; check the path"), "{missing}");
}

#[test]
fn a_file_that_changes_no_module_is_refused() {
    let lora = Lora::default().with("lora_unet_no_such_module.lora_down.weight", &[1, 1]);
    refused(lora, "changes nothing in the model, which has no 'lora_unet_no_such_module'; give a LoRA");
}

#[test]
fn a_truncated_file_is_refused() {
    let bytes = Lora::kohya().bytes();
    for length in [1, 7, 9, 100, bytes.len() - 1] {
        let refusal = Saved::new(&bytes[..length]).refusal();
        assert!(!refusal.is_empty(), "{refusal}");
    }
    assert!(Saved::new(&bytes[..bytes.len() - 1]).refusal().contains("is cut short"));
}

#[test]
fn shapes_that_do_not_fit_are_refused_with_the_module() {
    let (down, up) = (format!("{}.lora_down.weight", module()), format!("{}.lora_up.weight", module()));
    let lora = |down_shape: &[usize], up_shape: &[usize]| {
        Lora::default().with(down.clone(), down_shape).with(up.clone(), up_shape)
    };
    let named = format!("module '{}'", module());
    refused(
        lora(&[4, 48], &[64, 4]),
        &format!(
            "does not fit the model: {named} has 64×48 for a weight of 64×32; give a LoRA made for Stable Diffusion 1.x"
        ),
    );
    refused(lora(&[4, 32], &[64, 3]), &format!("{named} has factors that do not fit each other, 64×3 and 4×32"));
    refused(lora(&[0, 32], &[64, 0]), &format!("{named} has a matrix without elements, 64×0"));
    refused(lora(&[5000, 32], &[64, 5000]), &format!("{named} has rank 5000, but at most 4096 is supported"));
    refused(
        Lora::default().with(down.clone(), &[4, 32]),
        &format!("{named} lacks its 'lora_up.weight'; download it again"),
    );
    refused(Lora::kohya().with(format!("{}.diff_b", module()), &[64]), &format!("{named} has a bias, which the model"));
    refused(
        Lora::kohya().with(format!("{}.dora_scale", module()), &[7]),
        &format!("{named} has norms of 7 for a weight"),
    );
    refused(Lora::kohya().with(format!("{}.diff", module()), &[64, 32]), "which exclude each other");
    refused(Lora::default().with(format!("{}.dora_scale", module()), &[64]), "has no matrices, only an alpha");
    refused(Lora::kohya().with(format!("{}.alpha", module()), &[2]), "has 2 numbers in 'alpha' instead of one");
    refused(Lora::default().with_number(format!("{}.alpha", module()), 1.), "has no matrices, only an alpha");
}

#[test]
fn a_core_with_another_kernel_is_refused() {
    // As large as a 3×3 kernel of other channels.
    let conv = "lora_unet_down_blocks_1_resnets_0_conv1";
    let lora = Lora::default()
        .with(format!("{conv}.lora_down.weight"), &[2, 1])
        .with(format!("{conv}.lora_mid.weight"), &[2, 2, 32, 9])
        .with(format!("{conv}.lora_up.weight"), &[64, 2]);
    refused(lora, "has a core that is no kernel of 64×32×3×3");
}

#[test]
fn one_module_under_two_names_is_refused() {
    let other = format!("unet.{DIFFUSERS}");
    let lora = Lora::kohya().with(format!("{other}.lora_A.weight"), &[4, 32]);
    refused(lora, &format!("changes the same module twice, as '{}' and as '{other}'", module()));
}

#[test]
fn numbers_that_are_nan_or_infinite_are_refused() {
    for number in [f32::NAN, f32::INFINITY] {
        let mut lora = Lora::kohya();
        lora.tensors.values_mut().for_each(|(_, _, bytes)| bytes[20..24].copy_from_slice(&number.to_le_bytes()));
        refused(lora, &format!("module '{}' has numbers that are NaN or infinite; it is damaged", module()));
        let lora = Lora::kohya().with_number(format!("{}.alpha", module()), number);
        refused(lora, "has an alpha that is NaN or infinite");
    }
}

#[test]
fn a_lora_for_another_model_of_this_kind_cannot_be_added() {
    let file = Lora::kohya().open().unwrap();
    let (loras, nano) = (Loras::new([(file.clone(), both(1.))]), nano_checkpoint());
    let mut other = Lora::default();
    for name in nano.names().filter(|name| name.starts_with("model.") || name.starts_with("cond")) {
        let Ok(numbers) = nano.read_f32(name) else { continue };
        other = match name == weight(LDM) {
            true => other.with_numbers(name, &[32, 32], numbers[..32 * 32].to_vec()),
            false => other.with_numbers(name, nano.shape(name).unwrap(), numbers),
        };
    }
    let saved = other.save();
    let error = merged_into(&Checkpoint::open(&saved.path).unwrap(), &loras, &weight(LDM)).unwrap_err();
    let start = format!("'{}' cannot be added to '{}'", file.path().display(), weight(LDM));
    assert_eq!(error.to_string(), start);
}

#[test]
fn a_weight_that_makes_numbers_infinite_is_named() {
    let file = Lora::kohya().open().unwrap();
    for strength in [1e40, f64::NAN, f64::INFINITY] {
        let loras = Loras::new([(file.clone(), both(strength))]);
        let error = merged_into(&nano_checkpoint(), &loras, &weight(LDM)).unwrap_err().to_string();
        let expected =
            format!("'{}' makes '{}' infinite or NaN; give it a smaller weight", file.path().display(), weight(LDM));
        assert_eq!(error, expected);
    }
}

#[test]
fn a_lora_for_an_inpainting_model_is_refused() {
    let lora = Lora::default()
        .with("lora_unet_conv_in.lora_down.weight", &[2, 9, 3, 3])
        .with("lora_unet_conv_in.lora_up.weight", &[32, 2, 1, 1]);
    refused(lora, "is a LoRA for an inpainting model, whose UNet has 9 inputs; give a LoRA made for");
}

#[test]
fn numbers_of_other_types_are_refused() {
    let (down, up) = (format!("{}.lora_down.weight", module()), format!("{}.lora_up.weight", module()));
    let integers = Lora::kohya().with_bytes(down, "I32", &[4, 32], vec![0; 4 * 4 * 32]);
    refused(integers, "holds I32 in 'lora_down.weight', not floating point numbers");
    let unsigned = Lora::kohya().with_bytes(up, "U64", &[64, 4], vec![0; 8 * 64 * 4]);
    refused(unsigned, "holds numbers of an unsupported type in '");
    let alpha = Lora::kohya().with_bytes(format!("{}.alpha", module()), "BOOL", &[], vec![1]);
    refused(alpha, "has Bool in 'alpha', not a number");
}

/// Both products over a core of 1×4096 and 4096×1 elements would have 4096 columns for each row or column of the weight, if
/// they were computed in the wrong order.
#[test]
fn a_core_with_very_unequal_sides_needs_no_more_memory_than_the_weight() {
    let conv = "lora_unet_down_blocks_1_resnets_0_conv1";
    for [p, q] in [[1, 4096], [4096, 1]] {
        let lora = Lora::default()
            .with(format!("{conv}.lora_down.weight"), &[q, 32])
            .with(format!("{conv}.lora_mid.weight"), &[p, q, 3, 3])
            .with(format!("{conv}.lora_up.weight"), &[64, p]);
        let name = "model.diffusion_model.input_blocks.3.0.in_layers.2.weight";
        assert_ne!(lora.merged(name, 1.), nano_checkpoint().read_f32(name).unwrap());
    }
}

#[test]
fn a_name_with_line_breaks_does_not_break_the_error() {
    refused(Lora::default().with("a\nb.lora_down.weight", &[1, 1]), "has no 'a b'; give a LoRA");
}
