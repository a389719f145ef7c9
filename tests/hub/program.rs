//! Runs of the program with `--ckpt` and `--vae` from a fake hub.

use crate::pretend::Pretend;
use crate::support::{TestRun, fixture, read_png, stderr};

/// Runs the program with this hub; returns its folder and standard error.
fn run(pretend: &Pretend, flags: &[&str]) -> (TestRun, String) {
    let run = TestRun::new();
    let config = fixture("nano.yaml");
    let small = ["--H", "64", "--W", "64", "--ddim_steps", "2", "--n_samples", "1", "--n_iter", "1", "--outdir", "out"];
    let mut command = run.bare([&small[..], &["--config", config.to_str().unwrap()], flags].concat());
    let hub = pretend.seen();
    command.env("HF_ENDPOINT", hub.endpoint).env("HF_HUB_CACHE", hub.cache).env_remove("HF_HUB_OFFLINE");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    (run, stderr(&output))
}

#[test]
fn a_repository_draws_the_same_picture_as_its_file() {
    let nano = std::fs::read(fixture("nano.ckpt")).unwrap();
    let pretend = Pretend::with(&[("README.md", b"nano"), ("nano.ckpt", &nano)]);
    let plain = TestRun::new();
    plain.quick(["--skip_grid"]).ok();
    let expected = read_png(&plain.path("out/samples/00000.png"));
    for flags in [&["--ckpt", "someone/model"][..], &["--ckpt", "someone/model:nano.ckpt", "--vae", "someone/model"]] {
        let (run, _) = run(&pretend, flags);
        assert!(read_png(&run.path("out/samples/00000.png")) == expected, "{flags:?}");
    }
    assert_eq!(pretend.fetched(), 1);
}

#[test]
fn a_lora_of_a_repository_draws_the_same_picture_as_its_file() {
    let lora = std::fs::read(fixture("lora/locon.safetensors")).unwrap();
    let nano = fixture("nano.ckpt");
    let nano = ["--ckpt", nano.to_str().unwrap(), "--safety", "off", "--no_metadata"];
    let drawn = |pretend: &Pretend, name: &str| {
        let (run, _) = run(pretend, &[&nano[..], &["--lora", name]].concat());
        read_png(&run.path("out/samples/00000.png"))
    };
    let usual =
        Pretend::with(&[("README.md", b"x"), ("pytorch_lora_weights.safetensors", &lora), ("b.safetensors", b"x")]);
    let expected = drawn(&usual, &format!("{}=0.5", fixture("lora/locon.safetensors").display()));
    assert!(drawn(&usual, "someone/model=0.5") == expected);
    assert!(drawn(&usual, "someone/model:pytorch_lora_weights.safetensors=0.5") == expected);
    let only = Pretend::with(&[("README.md", b"x"), ("style.safetensors", &lora)]);
    assert!(drawn(&only, "someone/model=0.5") == expected);
}

#[test]
fn json_progress_reports_the_download() {
    let nano = std::fs::read(fixture("nano.ckpt")).unwrap();
    let pretend = Pretend::with(&[("nano.ckpt", &nano)]);
    let (_, message) = run(&pretend, &["--ckpt", "someone/model", "--progress", "json"]);
    let last = message.lines().rfind(|line| line.contains("\"download\"")).unwrap();
    let event: serde_json::Value = serde_json::from_str(last).unwrap();
    let expected =
        serde_json::json!({ "event": "download", "file": "nano.ckpt", "done": nano.len(), "of": nano.len() });
    assert_eq!(event, expected);
}

#[test]
fn an_unavailable_model_is_reported_in_one_sentence() {
    let run = TestRun::new();
    run.alone(["--ckpt", "someone/model"])
        .fails_with("HF_HUB_OFFLINE is set and a checkpoint of 'someone/model' is not in the cache");
    run.alone(["--ckpt", "demo", "--vae", "nowhere.ckpt"]).fails_with("with --vae FILE");
}

#[test]
fn a_dry_run_downloads_no_lora() {
    let run = TestRun::new();
    run.quick(["--lora", "someone/model=0.5", "--dry_run"])
        .fails_with("'someone/model' is not in the cache, and --dry_run downloads nothing; run once without --dry_run");
}
