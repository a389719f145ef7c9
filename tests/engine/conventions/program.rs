//! Runs of the program with models that declare conventions.

use super::{Model, marked, nano_yaml, weights};
use crate::support::{TestRun, fixture, read_png};
use serde_json::json;
use std::path::Path;
use txt2img::args::Args;
use txt2img::commands::dry_run::{self, Report};
use txt2img::job::Job;
use txt2img::output::{self, Picture};

/// Returns the flags that draw with a model.
fn flags(ckpt: &Path) -> Vec<String> {
    let (config, ckpt) = (fixture("nano.yaml"), ckpt.to_str().unwrap());
    let flags = ["--config", config.to_str().unwrap(), "--ckpt", ckpt, "--outdir", "out", "--safety", "off"];
    flags.map(String::from).into()
}

fn picture(ckpt: &Path) -> Picture {
    let run = TestRun::new();
    run.small(flags(ckpt)).ok();
    read_png(&run.path("out/samples/00000.png"))
}

fn dry_run(ckpt: &Path) -> Report {
    let words = ["txt2img".to_string()].into_iter().chain(flags(ckpt)).map(Into::into);
    dry_run::dry_run(&Job::from_args(&Args::try_from_words(words).unwrap()).unwrap()).unwrap()
}

#[test]
fn a_model_of_v_prediction_draws_another_picture() {
    let plain = picture(&fixture("nano.ckpt"));
    let scheduler = json!({"prediction_type": "v_prediction"});
    for model in [
        Model::file(&marked(&["v_pred"])),
        Model::folder(&weights()).with_json("scheduler/scheduler_config.json", scheduler),
    ] {
        let drawn = picture(&model.path);
        let apart = plain.rgb.iter().zip(&drawn.rgb).filter(|(a, b)| a.abs_diff(**b) > 8).count();
        assert!(apart * 4 > plain.rgb.len(), "only {apart} values differ");
    }
}

#[test]
fn a_flag_states_the_prediction_of_a_model_that_does_not() {
    let flag = ["--prediction", "v"].map(String::from);
    let (nano, marked) = (fixture("nano.ckpt"), Model::file(&marked(&["v_pred"])));
    let run = TestRun::new();
    run.small([flags(&nano), flag.to_vec()].concat()).ok();
    let ours = run.path("out/samples/00000.png");
    assert!(read_png(&ours) == picture(&marked.path));
    assert_eq!(output::record(&ours).unwrap().prediction.as_deref(), Some("v"));
    run.small([flags(&nano), vec!["--resume".into()]].concat()).fails_with("--prediction was \"v\", is now none");

    run.small([flags(&marked.path), ["--prediction", "eps"].map(String::from).to_vec()].concat())
        .fails_with("--prediction eps contradicts the model, which predicts v (tensor 'v_pred'); leave it out");
}

#[test]
fn a_dry_run_tells_what_is_stated_and_where() {
    let nano = dry_run(&fixture("nano.ckpt"));
    assert_eq!(nano.values("prediction"), ["eps (the default)"]);
    assert_eq!(nano.values("noise"), ["stored in the checkpoint (tensor 'alphas_cumprod')"]);
    assert_eq!(nano.values("weights"), ["not averaged (config)"]);
    assert_eq!(nano.values("scaling"), ["0.18215 (config)"]);

    let marked = Model::file(&marked(&["v_pred", "ztsnr"]));
    let marked = dry_run(&marked.path);
    assert_eq!(marked.values("prediction"), ["v (tensor 'v_pred')"]);
    assert_eq!(
        marked.values("noise"),
        ["stored in the checkpoint (tensor 'alphas_cumprod'; zero terminal SNR: tensor 'ztsnr')"]
    );

    let scheduler = json!({
        "prediction_type": "v_prediction", "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02
    });
    let folder = Model::folder(&weights())
        .with_json("scheduler/scheduler_config.json", scheduler)
        .with_json("vae/config.json", json!({"scaling_factor": 0.2}));
    let folder = dry_run(&folder.path);
    assert_eq!(folder.values("prediction"), ["v (scheduler/scheduler_config.json)"]);
    assert_eq!(folder.values("noise"), ["evenly spaced in β, 0.0001 to 0.02 (scheduler/scheduler_config.json)"]);
    assert_eq!(folder.values("scaling"), ["0.2 (vae/config.json)"]);
}

#[test]
fn a_run_is_not_resumed_with_a_model_that_states_something_else() {
    let run = TestRun::new();
    let scheduler = |name| json!({"prediction_type": name});
    let model = Model::folder(&weights()).with_json("scheduler/scheduler_config.json", scheduler("epsilon"));
    run.small(flags(&model.path)).ok();
    let model = model.with_json("scheduler/scheduler_config.json", scheduler("v_prediction"));
    let mut resumed = run.small(flags(&model.path));
    resumed.0.arg("--resume");
    resumed.fails_with("the model");
}

#[test]
fn a_config_that_states_something_unsupported_is_refused() {
    for (line, reason) in [
        ("parameterization: x0", "parameterization 'x0' is not supported; it must be 'eps' or 'v'"),
        ("beta_schedule: exponential", "beta_schedule 'exponential' is unknown"),
        ("timesteps: 500", "timesteps must be 1000"),
        ("scale_by_std: True", "scale_by_std is not supported"),
        ("given_betas: [0.1]", "there are 1 betas, not 1000"),
    ] {
        let yaml = nano_yaml("timesteps: 1000", "").replace("use_ema: False", line);
        let run = TestRun::new().file("config.yaml", yaml);
        run.small(["--config", "config.yaml", "--ckpt", fixture("nano.ckpt").to_str().unwrap()]).fails_with(reason);
    }
    for (from, to, reason) in [
        ("conditioning_key: crossattn", "conditioning_key: concat", "conditioning_key 'concat' is not"),
        ("transformer_depth: 1", "num_classes: 10", "num_classes is not supported"),
        ("transformer_depth: 1", "conv_resample: False", "conv_resample must be true"),
        ("double_z: true", "tanh_out: True", "tanh_out must be false"),
        (
            "target: ldm.modules.encoders.modules.FrozenCLIPEmbedder",
            "target: ldm.modules.encoders.modules.FrozenCLIPEmbedder\n      params: {layer: penultimate}",
            "layer must be last",
        ),
    ] {
        let run = TestRun::new().file("config.yaml", nano_yaml(from, to));
        run.small(["--config", "config.yaml", "--ckpt", fixture("nano.ckpt").to_str().unwrap()]).fails_with(reason);
    }
}

#[test]
fn broken_position_ids_change_nothing() {
    let mut weights = weights();
    let plain = picture(&Model::file(&weights).path);
    let name = "cond_stage_model.transformer.text_model.embeddings.position_ids";
    weights.insert(name.into(), (vec![1, 77], (0..77).map(|i| 0.9 * i as f32).collect()));
    assert!(picture(&Model::file(&weights).path) == plain);
}
