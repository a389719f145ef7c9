//! Moving averages (EMA) of the UNet's weights.

use super::{Model, Weights, changed_config, nano_yaml, weights};
use crate::support::{TestRun, fixture, stderr};
use txt2img::checkpoint::ema;

const UNET: &str = "model.diffusion_model.";

fn is_unet(name: &str) -> bool {
    name.starts_with(UNET)
}

/// Returns the small model's weights, with those of the UNet halved.
fn halved() -> Weights {
    let half = |(name, (shape, values)): (String, (Vec<usize>, Vec<f32>))| {
        let values = if is_unet(&name) { values.iter().map(|x| 0.5 * x).collect() } else { values };
        (name, (shape, values))
    };
    weights().into_iter().map(half).collect()
}

/// Returns the small model's weights with averages that are half as large.
fn with_averages() -> Weights {
    let averages = halved().into_iter().filter(|(name, _)| is_unet(name));
    let mut all = weights();
    all.extend(averages.map(|(name, tensor)| (ema::name(&name), tensor)));
    all.insert("model_ema.decay".into(), (vec![], vec![0.9999]));
    all
}

fn without_plain(mut weights: Weights) -> Weights {
    weights.retain(|name, _| !is_unet(name));
    weights
}

/// Draws with a model and a config; returns the picture's file and the standard error.
fn drawn(model: &Model, yaml: &str) -> (Vec<u8>, String) {
    let run = TestRun::new().file("config.yaml", yaml);
    let output = run
        .small(["--config", "config.yaml", "--outdir", "out", "--skip_grid", "--no_metadata", "--safety", "off"])
        .0
        .arg("--ckpt")
        .arg(&model.path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    (std::fs::read(run.path("out/samples/00000.png")).unwrap(), stderr(&output))
}

fn plain_yaml() -> String {
    std::fs::read_to_string(fixture("nano.yaml")).unwrap()
}

#[test]
fn averages_are_named_without_dots() {
    let name = ema::name("model.diffusion_model.input_blocks.0.0.weight");
    assert_eq!(name, "model_ema.diffusion_modelinput_blocks00weight");
}

#[test]
fn a_config_with_use_ema_draws_with_the_averages() {
    let (halved, averaged) = (Model::file(&halved()), Model::file(&with_averages()));
    let expected = drawn(&halved, &plain_yaml()).0;
    // LDM's classes default to True if the line is missing.
    for yaml in [nano_yaml("use_ema: False", "use_ema: True"), nano_yaml("use_ema: False", "")] {
        assert!(drawn(&averaged, &yaml).0 == expected);
    }
    assert!(drawn(&averaged, &plain_yaml()).0 == drawn(&Model::file(&weights()), &plain_yaml()).0);
}

#[test]
fn a_model_of_averages_alone_is_drawn_with_them() {
    let expected = drawn(&Model::file(&halved()), &plain_yaml()).0;
    let (picture, said) = drawn(&Model::file(&without_plain(with_averages())), &plain_yaml());
    assert!(picture == expected);
    assert!(said.contains("note: the checkpoint has only EMA (moving average) UNet weights"), "{said}");
}

#[test]
fn averages_that_are_asked_for_and_missing_are_noted() {
    let plain = Model::file(&weights());
    let (picture, said) = drawn(&plain, &nano_yaml("use_ema: False", "use_ema: True"));
    assert!(picture == drawn(&plain, &plain_yaml()).0);
    assert!(said.contains("note: use_ema is True in the config (the default), but the checkpoint has no"), "{said}");
}

#[test]
fn a_missing_average_is_named() {
    let mut weights = with_averages();
    let missing = ema::name("model.diffusion_model.out.2.bias");
    weights.remove(&missing).unwrap();
    let model = Model::file(&weights);
    let run = TestRun::new().file("config.yaml", nano_yaml("use_ema: False", "use_ema: True"));
    let path = model.path.to_str().unwrap();
    run.small(["--config", "config.yaml", "--ckpt", path, "--safety", "off"])
        .fails_with(&format!("it has no tensor '{missing}'"));
}

#[test]
fn the_choice_is_told_with_what_made_it() {
    let averaged = Model::file(&with_averages());
    let config = changed_config("use_ema: False", "use_ema: True");
    for (config, use_ema) in [(&config, true), (&super::nano_config(), false)] {
        let stated = averaged.conventions_with(config).use_ema;
        assert_eq!((stated.value, &*stated.by), (use_ema, "config"));
    }
}
