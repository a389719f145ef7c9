//! Runs on several devices.

use super::{RICH, are_equal, into};
use crate::support::{TestRun, stdout};
use std::thread::available_parallelism;

#[test]
fn several_devices_draw_the_same_pictures_as_one() {
    if available_parallelism().map_or(1, usize::from) < 2 {
        return println!("skipped: this machine has one core");
    }
    let run = TestRun::new();
    for (outdir, flags) in [("stream", &RICH[..]), ("lines", &["--n_iter", "9", "--seed_mode", "per_image"])] {
        let flags = [flags, &["--ddim_steps", "20"]].concat();
        into(&run, outdir, &flags).ok();
        // With small pictures, `auto` is both halves of the CPU.
        for (suffix, devices) in [("two", "cpu:0,cpu:1"), ("halves", "auto")] {
            let several = format!("{outdir}-of-{suffix}");
            into(&run, &several, &[&flags[..], &["--device", devices]].concat()).ok();
            are_equal(&run, outdir, &several);
        }
    }
}

/// Returns the devices that `--device auto` uses for `--n_iter 4 --ddim_steps 20 --threads 2` with the small model and these
/// flags, on a machine without a GPU.
fn chosen(flags: &[&str]) -> String {
    let run = TestRun::new();
    let common = ["--device", "auto", "--dry_run", "--n_iter", "4", "--ddim_steps", "20", "--threads", "2"];
    let plan = stdout(&run.quick([&common, flags].concat()).ok());
    let line = plan.lines().find(|line| line.starts_with("computes")).unwrap();
    line.trim_start_matches("computes").trim().to_owned()
}

#[test]
fn both_halves_of_the_cpu_draw_small_pictures() {
    if cfg!(feature = "cuda") {
        return println!("skipped: auto may be a GPU");
    }
    assert!(chosen(&[]).starts_with("on cpu (1 of 2) and cpu (2 of 2) in "), "{}", chosen(&[]));
    for one in [
        &["--n_iter", "3"][..],
        &["--ddim_steps", "19"],
        &["--report", "report.json"],
        &["--progress", "json"],
        &["--compare_exact"],
        &["--n_iter", "4", "--shard", "0/2"],
        &["--threads", "1"],
        &["--H", "1024", "--W", "1024"],
        &["--n_samples", "256"],
        &["--low_memory"],
        &["--fname", "{prompt}.png"],
        &["--device", "cpu"],
    ] {
        assert!(chosen(one).starts_with("on cpu in "), "{one:?}: {}", chosen(one));
    }
}

#[test]
fn missing_devices_are_named() {
    let run = TestRun::new();
    into(&run, "out", &["--device", "cpu:60000"]).fails_with("--device cpu:60000: core 60000 is not available; use");
    let reason = if cfg!(feature = "cuda") { "there is no such GPU" } else { "this txt2img was built without CUDA" };
    into(&run, "out", &["--device", "cpu,cuda:99"]).fails_with(&format!("--device cuda:99: {reason}"));
    let message = run.misuse(["--device", "cpu:0-0", "--threads", "1"]);
    assert!(message.contains("--threads cannot be combined with a --device that names cores"), "{message}");
}

#[test]
fn devices_are_distinguished_by_name() {
    let run = TestRun::new();
    for (devices, reason) in [
        ("cpu,cpu", "cpu and cpu overlap"),
        ("cpu:0-3,cpu:2-5", "cpu:0-3 and cpu:2-5 overlap"),
        ("cpu:1,cpu", "cpu:1 and cpu overlap"),
        ("auto,cpu", "auto chooses the devices itself"),
        ("cpu:3-1", "the range cpu:3-1 is reversed; write cpu:1-3"),
        ("cpu:", "expected auto"),
        (",", "expected auto"),
    ] {
        run.misuse(["--device", devices]).contains(reason).then_some(()).expect(reason);
    }
}
