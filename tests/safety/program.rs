//! `--safety` and `--safety_ckpt`, in the program.

use crate::folder;
use crate::support::{TestRun, read_png, stderr};
use serde_json::Value;
use std::fs::read;

/// Nine pictures, what was said, and which of them the report calls flagged.
fn nine(flags: &[&str]) -> (TestRun, String, Vec<bool>) {
    let run = TestRun::new();
    let many = ["--n_iter", "9", "--report", "report.json", "--skip_grid", "--skip_watermark"];
    let said = stderr(&run.quick([&many[..], flags].concat()).ok());
    let report: Value = serde_json::from_slice(&read(run.path("report.json")).unwrap()).unwrap();
    let flagged = report["pictures"].as_array().unwrap().iter().map(|picture| picture["safety"]["flagged"] == true);
    let flagged = flagged.collect();
    (run, said, flagged)
}

fn levels(run: &TestRun, i: usize) -> Vec<u8> {
    read_png(&run.path(&format!("out/samples/{i:05}.png"))).rgb
}

#[test]
fn flagged_pictures_are_black_or_blurred_or_told_and_others_as_they_were() {
    let folder = folder();
    let at = ["--safety_ckpt", folder.path().to_str().unwrap()];
    let (plain, said, none) = nine(&["--safety", "off"]);
    assert!(!said.contains("Note: ") && !none.contains(&true));
    for action in ["replace", "black", "blur", "flag"] {
        let (run, said, flagged) = nine(&[&at[..], &["--safety", action]].concat());
        assert!(flagged.contains(&true), "of nine pictures none is flagged");
        for (i, flagged) in flagged.iter().enumerate() {
            let (was, is) = (levels(&plain, i), levels(&run, i));
            let expected = match (flagged, action) {
                (true, "replace" | "black") => is.iter().all(|level| *level == 0),
                (true, "blur") => is != was,
                _ => is == was,
            };
            assert!(expected, "{action}, picture {i}");
            let told = said.contains(&format!("Note: picture {} is flagged by the safety checker: ", i + 1));
            assert_eq!(told, *flagged, "{said}");
        }
    }
}

#[test]
fn a_checker_that_is_asked_for_must_be_there() {
    let run = TestRun::new();
    run.quick(["--safety", "flag", "--safety_ckpt", "someone/checker"])
        .fails_with("HF_HUB_OFFLINE is set and 'config.json' of 'someone/checker' is not in the cache");
    run.quick(["--safety", "flag", "--safety_ckpt", "nowhere.safetensors"])
        .fails_with("give its folder with --safety_ckpt");
    run.quick(["--safety", "blur", "--safety_ckpt", "."]).fails_with("'.' lacks model.safetensors");
}

#[test]
fn without_a_checker_there_is_a_word_and_no_check() {
    let run = TestRun::new();
    let mut args = vec!["--outdir", "out", "--skip_watermark", "--H", "64", "--W", "64", "--ddim_steps", "2"];
    args.extend(["--n_samples", "1", "--n_iter", "1"]);
    let (config, ckpt) = (crate::fixture("nano.yaml"), crate::fixture("nano.ckpt"));
    args.extend(["--config", config.to_str().unwrap(), "--ckpt", ckpt.to_str().unwrap()]);
    let said = stderr(&run.alone(&args).ok());
    assert!(said.starts_with("Note: pictures are not checked for safety, as the checker cannot be had ("), "{said}");
    assert_eq!(said.lines().count(), 1);
    // The demo model needs none.
    args.truncate(args.len() - 4);
    args.extend(["--ckpt", "demo"]);
    assert_eq!(stderr(&run.alone(&args).ok()), "");
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
    with(&other, &["--resume"]).fails_with("the run in 'out' is another: the safety checker is another");
    with(&other, &["--resume", "--dry_run"]).fails_with("the run in 'out' is another: the safety checker is another");
    with(&moved, &["--resume"]).ok();
    with(&moved, &["--resume", "--dry_run"]).ok();
}
