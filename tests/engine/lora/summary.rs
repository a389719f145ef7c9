//! Summaries of LoRA files.

use super::{Lora, open, reference};
use crate::support::fixture;
use std::fs;
use txt2img::files::sha256;

#[test]
fn a_summary_names_kinds_ranks_and_modules() {
    for (name, expected) in [
        (
            "lora_kohya",
            "LoRA of ranks 3 to 4 and alpha 2 for sd_v1; changes 12 modules in the text encoder, 84 modules in \
             attention",
        ),
        (
            "locon",
            "LoCon and LoRA of ranks 3 to 4 and alpha 1; changes 12 modules in the text encoder, 84 modules in \
             attention, 48 modules elsewhere in the UNet",
        ),
    ] {
        assert_eq!(reference(name).summary().to_string(), expected);
    }
    let starts = |name: &str, start: &str| {
        let summary = reference(name).summary().to_string();
        assert!(summary.starts_with(start), "{summary}");
    };
    starts("dora_in", "DoRA of ");
    starts("loha", "LoHa of ");
    starts("lokr", "LoKr of ");
    starts("full_diff", "full difference; changes ");
    assert!(!reference("lora_no_alpha").summary().to_string().contains("alpha"));
}

#[test]
fn modules_that_the_model_lacks_are_counted() {
    let lora = Lora::kohya()
        .with("lora_unet_down_blocks_3_attentions_0_proj_in.lora_down.weight", &[1, 1])
        .with("lora_unet_down_blocks_3_attentions_0_proj_in.lora_up.weight", &[1, 1])
        .with("lora_te_text_model_encoder_layers_9_mlp_fc1.alpha", &[1])
        .with("some.other\ntensor", &[1]);
    let file = lora.open().unwrap();
    assert_eq!((file.summary().matched(), file.summary().n_unmatched()), ([0, 1, 0], 3));
    let summary = file.summary().to_string();
    assert!(summary.ends_with("; ignores 3 modules that the model lacks (some.other tensor, …)"), "{summary}");
}

#[test]
fn base_model_and_trigger_words_come_from_the_metadata() {
    let lora = Lora::kohya()
        .with_metadata("ss_output_name", "pink\ncube")
        .with_metadata("modelspec.architecture", "stable-diffusion-v1/lora")
        .with_metadata("ss_tag_frequency", r#"{"10_x": {"cube": 9, "pink\ncube": 20, "black": 3, "": 99}, "c": 5}"#);
    let file = lora.open().unwrap();
    assert_eq!(file.metadata()["ss_output_name"], "pink\ncube");
    assert_eq!(file.summary().base_model(), Some("stable-diffusion-v1/lora"));
    assert_eq!(file.summary().triggers(), ["pink cube", "cube", "black"]);
    let summary = file.summary().to_string();
    assert!(summary.contains(" for stable-diffusion-v1/lora; changes "), "{summary}");
    assert!(summary.ends_with("; most frequent training tags: pink cube, cube, black"), "{summary}");
    assert!(Lora::kohya().with_metadata("ss_tag_frequency", "[").open().unwrap().summary().triggers().is_empty());
}

#[test]
fn the_hash_is_that_of_the_web_ui() {
    let path = fixture("lora/peft.safetensors");
    let bytes = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert_eq!(open(&path).unwrap().hash(), sha256::of_bytes(&bytes[8 + header..])[..12]);
    let stated = "0123456789ABCDEF".repeat(4);
    assert_eq!(Lora::kohya().with_metadata("sshs_model_hash", stated).open().unwrap().hash(), "0123456789ab");
    let plain = Lora::kohya().open().unwrap();
    for other in ["", "0123", "not a hash at all"] {
        let file = Lora::kohya().with_metadata("sshs_model_hash", other).open().unwrap();
        assert_eq!(file.hash(), plain.hash(), "{other:?}");
    }
    let torch = fixture("lora/small.pt");
    assert_eq!(open(&torch).unwrap().hash(), sha256::of_bytes(&fs::read(&torch).unwrap())[..12]);
    // The format counts, not the extension.
    let renamed = super::Saved::new(&fs::read(&torch).unwrap());
    assert_eq!(renamed.open().unwrap().hash(), sha256::of_bytes(&fs::read(&torch).unwrap())[..12]);
}
