//! The command's flags `--safety` and `--safety_ckpt`.

use super::folder;
use crate::support::{TestRun, notes, read_png, stderr};
use serde_json::Value;
use std::fs::read;

/// Draws nine images, and returns the messages and, from the report, which images are flagged.
fn nine(flags: &[&str]) -> (TestRun, String, Vec<bool>) {
    let run = TestRun::new();
    let many = ["--n_iter", "9", "--report", "report.json", "--skip_grid", "--skip_watermark"];
    let messages = stderr(&run.quick([&many[..], flags].concat()).ok());
    let report: Value = serde_json::from_slice(&read(run.path("report.json")).unwrap()).unwrap();
    let flagged = report["pictures"].as_array().unwrap().iter().map(|picture| picture["safety"]["flagged"] == true);
    let flagged = flagged.collect();
    (run, messages, flagged)
}

fn levels(run: &TestRun, i: usize) -> Vec<u8> {
    read_png(&run.path(&format!("out/samples/{i:05}.png"))).rgb
}

#[test]
fn flagged_images_are_treated_and_reported_and_others_unchanged() {
    let folder = folder();
    let at = ["--safety_ckpt", folder.path().to_str().unwrap()];
    let (unchecked, messages, flagged) = nine(&["--safety", "off"]);
    assert!(!messages.contains("note: ") && !flagged.contains(&true));
    for action in ["replace", "black", "blur", "flag"] {
        let (run, messages, flagged) = nine(&[&at[..], &["--safety", action]].concat());
        assert!(flagged.contains(&true), "none of nine images is flagged");
        for (i, flagged) in flagged.iter().enumerate() {
            let (before, after) = (levels(&unchecked, i), levels(&run, i));
            let expected = match (flagged, action) {
                (true, "replace" | "black") => after.iter().all(|level| *level == 0),
                (true, "blur") => after != before,
                _ => after == before,
            };
            assert!(expected, "{action}, image {i}");
            let is_reported =
                messages.contains(&format!("note: picture {} was flagged by the safety checker and ", i + 1));
            assert_eq!(is_reported, *flagged, "{messages}");
        }
    }
}

#[test]
fn a_missing_checker_is_an_error_if_requested() {
    let run = TestRun::new();
    run.quick(["--safety", "flag", "--safety_ckpt", "someone/checker"])
        .fails_with("HF_HUB_OFFLINE is set and 'config.json' of 'someone/checker' is not in the cache");
    run.quick(["--safety", "flag", "--safety_ckpt", "nowhere.safetensors"])
        .fails_with("give its folder with --safety_ckpt");
    run.quick(["--safety", "blur", "--safety_ckpt", "."]).fails_with("'.' lacks model.safetensors");
}

#[test]
fn a_missing_checker_is_a_note_by_default() {
    let run = TestRun::new();
    let mut args = vec!["--outdir", "out", "--skip_watermark", "--H", "64", "--W", "64", "--ddim_steps", "2"];
    args.extend(["--n_samples", "1", "--n_iter", "1"]);
    let (config, ckpt) = (super::fixture("nano.yaml"), super::fixture("nano.ckpt"));
    args.extend(["--config", config.to_str().unwrap(), "--ckpt", ckpt.to_str().unwrap()]);
    let note = notes(&run.alone(&args).ok());
    assert!(note.starts_with("note: the safety checker is not available ("), "{note}");
    assert_eq!(note.lines().count(), 1);
    // The demo model needs no checker.
    args.truncate(args.len() - 4);
    args.extend(["--ckpt", "demo", "--prompt", "a pink cube"]);
    assert_eq!(notes(&run.alone(&args).ok()), "");
}

#[test]
fn a_run_is_not_resumed_with_another_checker() {
    let (one, other, moved) = (folder(), folder(), folder());
    let path = other.path().join("model.safetensors");
    let mut bytes = read(&path).unwrap();
    let n = bytes.len();
    bytes[n / 2..].iter_mut().step_by(64).for_each(|byte| *byte ^= 16);
    std::fs::write(&path, bytes).unwrap();
    let run = TestRun::new();
    let with = |checker: &tempfile::TempDir, more: &[&str]| {
        run.quick([&["--safety", "flag", "--safety_ckpt", checker.path().to_str().unwrap()], more].concat())
    };
    with(&one, &[]).ok();
    with(&other, &["--resume"]).fails_with("'out' holds a different run (the safety checker changed)");
    with(&other, &["--resume", "--dry_run"]).fails_with("'out' holds a different run (the safety checker changed)");
    with(&moved, &["--resume"]).ok();
    with(&moved, &["--resume", "--dry_run"]).ok();
}
