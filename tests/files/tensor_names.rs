//! The mapping between LDM's and diffusers' tensor names, for all tensors of Stable Diffusion 1.5.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use txt2img::checkpoint::names::{self, Level, Names};

/// Returns the names and shapes in the rows of a table for which `wanted` is true.
fn table(file: &str, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let path = format!("{}/tests/fixtures/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| wanted(line)).map(|line| {
        let columns: Vec<_> = line.split('\t').collect();
        let [.., name, shape, _] = columns[..] else { panic!("{line}") };
        (name.to_string(), shape.to_string())
    });
    rows.collect()
}

fn ldm(prefix: &str) -> BTreeMap<String, String> {
    // Newer transformers do not store position_ids.
    table("sd15_ldm_tensors.tsv", |line| line.starts_with(prefix) && !line.contains("position_ids"))
}

fn diffusers(part: &str) -> BTreeMap<String, String> {
    table("sd15_diffusers_tensors.tsv", |line| line.starts_with(&format!("{part}\t")))
}

/// Asserts that `names` pairs every LDM tensor with a diffusers tensor of the same shape.
fn pairs_up(names: &Names, ldm: &BTreeMap<String, String>, diffusers: &BTreeMap<String, String>) {
    let mut met = BTreeSet::new();
    for (name, shape) in ldm {
        let there = names.get(name).unwrap_or_else(|| panic!("{name} is not listed"));
        let its_shape = diffusers.get(there).unwrap_or_else(|| panic!("{name}: no {there}"));
        assert_eq!(shape.replace("x1x1", ""), its_shape.replace("x1x1", ""), "{name}: {there}");
        assert!(met.insert(there), "{there} is met twice");
    }
    assert_eq!(met.len(), diffusers.len());
    for (name, there) in names {
        assert_eq!(ldm.contains_key(name), diffusers.contains_key(there), "{name}: {there}");
    }
}

#[test]
fn the_unet_of_stable_diffusion_1_5_pairs_up() {
    let tensors = diffusers("unet");
    let has = |name: &str| tensors.contains_key(name);
    let down = names::levels("down_blocks", has);
    let up = names::levels("up_blocks", has);
    assert_eq!(down.iter().map(|level| level.resnets).collect::<Vec<_>>(), [2, 2, 2, 2]);
    assert_eq!(up.iter().map(|level| level.attention).collect::<Vec<_>>(), [false, true, true, true]);
    pairs_up(&names::unet(&down, &up), &ldm("model.diffusion_model."), &tensors);
}

#[test]
fn the_vae_of_stable_diffusion_1_5_pairs_up() {
    let tensors = diffusers("vae");
    let has = |name: &str| tensors.contains_key(name);
    let down = names::levels("encoder.down_blocks", has);
    let up = names::levels("decoder.up_blocks", has);
    pairs_up(&names::vae(&down, &up), &ldm("first_stage_model."), &tensors);
}

#[test]
fn the_text_encoder_of_stable_diffusion_1_5_pairs_up() {
    let tensors = diffusers("text_encoder");
    let mut names = names::text_encoder(names::text_layers(|name| tensors.contains_key(name)));
    names.retain(|name, _| !name.contains("position_ids"));
    pairs_up(&names, &ldm("cond_stage_model."), &tensors);
}

#[test]
fn a_smaller_unet_is_numbered_by_its_own_levels() {
    let level = |resnets, attention| Level { resnets, attention };
    let down = [level(1, true), level(1, true), level(1, false)];
    let up = [level(2, false), level(2, true), level(2, true)];
    let names = names::unet(&down, &up);
    for (ldm, diffusers) in [
        ("input_blocks.0.0.weight", "conv_in.weight"),
        ("input_blocks.1.1.norm.weight", "down_blocks.0.attentions.0.norm.weight"),
        ("input_blocks.2.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight"),
        ("input_blocks.3.0.in_layers.2.weight", "down_blocks.1.resnets.0.conv1.weight"),
        ("input_blocks.5.0.emb_layers.1.bias", "down_blocks.2.resnets.0.time_emb_proj.bias"),
        ("middle_block.1.proj_in.bias", "mid_block.attentions.0.proj_in.bias"),
        ("output_blocks.1.1.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"),
        ("output_blocks.3.2.conv.weight", "up_blocks.1.upsamplers.0.conv.weight"),
        ("output_blocks.5.0.skip_connection.bias", "up_blocks.2.resnets.1.conv_shortcut.bias"),
        ("out.2.bias", "conv_out.bias"),
    ] {
        assert_eq!(names[&format!("model.diffusion_model.{ldm}")], diffusers, "{ldm}");
    }
}

#[test]
fn an_unknown_name_is_in_no_list() {
    let names = names::unet(&[Level { resnets: 1, attention: true }], &[]);
    for unknown in ["input_blocks.1.1.norm.scale", "input_blocks.9.0.in_layers.0.weight", "", "conv_in.weight"] {
        assert_eq!(names.get(&format!("model.diffusion_model.{unknown}")), None, "{unknown}");
    }
}

#[test]
fn old_names_become_new_ones() {
    let attention = "decoder.mid_block.attentions.0";
    for (old, new) in [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")] {
        let renamed = names::new_vae_name(&format!("{attention}.{old}.weight"));
        assert_eq!(renamed, format!("{attention}.{new}.weight"));
        assert_eq!(names::new_vae_name(&renamed), renamed);
    }
    let old = "cond_stage_model.transformer.encoder.layers.0.mlp.fc1.bias";
    let new = "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.bias";
    assert_eq!(names::new_text_name(old), new);
    assert_eq!(names::new_text_name(new), new);
}
