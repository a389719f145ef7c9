//! DeepCache, guidance in an interval and TAESD, and their comparison with pictures drawn without them.

use crate::support::{TestRun, fixture, notes, read_png};
use serde_json::Value;
use std::fs;
use txt2img::output::Distance;

/// Enough steps for shortcuts to matter.
const STEPS: [&str; 2] = ["--ddim_steps", "10"];

fn picture(run: &TestRun, n: usize) -> txt2img::output::Picture {
    read_png(&run.path(&format!("out/samples/{n:05}.png")))
}

#[test]
fn each_shortcut_changes_the_picture_and_no_shortcut_does_not() {
    let run = TestRun::new();
    run.quick(STEPS).ok();
    for flags in [
        ["--deepcache", "3"],
        ["--deepcache", "2,1"],
        ["--guidance_interval", "0,0.5"],
        ["--guidance_interval", "0.5,1"],
    ] {
        run.quick([STEPS, flags].concat()).ok();
    }
    let pictures: Vec<_> = (0..5).map(|n| picture(&run, n)).collect();
    for i in 0..5 {
        assert!(pictures[..i].iter().all(|other| *other != pictures[i]), "{i}");
    }
    run.quick([&STEPS[..], &["--deepcache", "1", "--guidance_interval", "0,1"]].concat()).ok();
    assert!(picture(&run, 5) == pictures[0]);
}

#[test]
fn pictures_are_compared_with_those_without_shortcuts() {
    let run = TestRun::new();
    run.quick(STEPS).ok();
    let report = run.path("report.json");
    let flags = ["--deepcache", "3", "--guidance_interval", "0,0.8", "--compare_exact", "--skip_watermark", "--report"];
    let output = run.quick([&STEPS[..], &flags, &[report.to_str().unwrap()]].concat()).ok();
    run.quick([&STEPS[..], &["--skip_watermark"]].concat()).ok();
    let distance = Distance::new(&picture(&run, 1), &picture(&run, 2));
    let note = format!("picture 1: PSNR {:.1} dB, SSIM {:.3} compared to", distance.psnr, distance.ssim.unwrap());
    assert!(notes(&output).contains(&note), "{note}: {}", notes(&output));
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let compared = &report["pictures"][0]["compared_with_exact"];
    assert!((compared["psnr"].as_f64().unwrap() - distance.psnr).abs() < 1e-9, "{compared}");
    assert!(compared["seconds"]["sampling_the_batch"].as_f64().unwrap() > 0., "{compared}");
}

#[test]
fn previews_are_those_of_the_saved_picture_alone() {
    let run = TestRun::new();
    run.quick(["--ddim_steps", "4", "--deepcache", "2", "--compare_exact", "--save_intermediates", "2"]).ok();
    let previews: Vec<_> = run.files().into_iter().filter(|file| file.starts_with("intermediates/")).collect();
    assert_eq!(previews, ["intermediates/00000-002.png", "intermediates/00000-004.png"]);
}

#[test]
fn taesd_is_compared_with_the_models_own_decoder() {
    let run = TestRun::new();
    let taesd = fixture("taesd/decoder.pth");
    let output = run.quick(["--compare_exact", "--vae", taesd.to_str().unwrap()]).ok();
    assert!(notes(&output).contains("picture 1: PSNR "), "{}", notes(&output));
}

#[test]
fn a_comparison_without_shortcuts_is_noted() {
    let output = TestRun::new().quick(["--compare_exact"]).ok();
    let expected = "--compare_exact has no effect without --deepcache, --guidance_interval or TAESD";
    assert!(notes(&output).contains(expected) && !notes(&output).contains("picture 1"), "{}", notes(&output));
}

#[test]
fn invalid_values_are_refused() {
    let run = TestRun::new();
    for (flags, reason) in [
        (["--deepcache", "0"], "not at least 1, which runs the whole UNet in every step"),
        (["--deepcache", "3,x"], "not one or two whole numbers up to 1000, such as 3 or 3,1"),
        (["--guidance_interval", "0.5"], "not two increasing numbers from 0 to 1, such as 0.2,0.8"),
        (["--guidance_interval", "0.8,0.2"], "not two increasing numbers from 0 to 1"),
        (["--guidance_interval", "-0.5,1"], "not two increasing numbers from 0 to 1"),
        (["--guidance_interval", "nan,1"], "not two increasing numbers from 0 to 1"),
    ] {
        let error = run.misuse(flags);
        assert!(error.contains(reason), "{error}");
    }
    run.args(["--deepcache", "3,12"])
        .is_misuse("--deepcache 3,12 asks for skip connection 12, but the model has only 0 to 5");
    run.args(["--from-file", "-"])
        .reads("{\"prompt\": \"a\", \"deepcache\": 0}")
        .fails_with("--deepcache '0' is not at least 1");
}

#[test]
fn quoted_values_of_a_sweep_may_contain_commas() {
    let run = TestRun::new();
    let axis = "guidance_interval=\"0,1\",\"0,0.5\"";
    run.quick(["--sweep", axis]).ok();
    run.has_files(["samples/00000.png", "samples/00001.png", "sweep-0000.png", "sweep-0000.html"]);
    run.quick(["--sweep", "prompt=5\" nails,\"say \"\"hi\"\", twice\"", "--prompt", "5\" nails", "--dry_run"]).ok();
    run.args(["--sweep", "guidance_interval=\"0,1\"0.5"]).is_misuse("has an unmatched quote, or no comma after one");
    run.args(["--sweep", "guidance_interval=\"0,1"]).is_misuse("has an unmatched quote, or no comma after one");
}
