//! Runs on several devices.

use super::{RICH, are_equal, into};
use crate::support::TestRun;
use std::thread::available_parallelism;

#[test]
fn several_devices_draw_the_same_pictures_as_one() {
    if available_parallelism().map_or(1, usize::from) < 2 {
        return println!("skipped: this machine has one core");
    }
    let run = TestRun::new();
    for (outdir, flags) in [("stream", &RICH[..]), ("lines", &["--n_iter", "9", "--seed_mode", "per_image"])] {
        into(&run, outdir, flags).ok();
        let several = format!("{outdir}-of-two");
        into(&run, &several, &[flags, &["--device", "cpu:0,cpu:1"]].concat()).ok();
        are_equal(&run, outdir, &several);
    }
}

#[test]
fn missing_devices_are_named() {
    let run = TestRun::new();
    into(&run, "out", &["--device", "cpu:60000"]).fails_with("--device cpu:60000: core 60000 is not available; use");
    let reason = if cfg!(feature = "cuda") { "there is no such GPU" } else { "this txt2img was built without CUDA" };
    into(&run, "out", &["--device", "cpu,cuda:99"]).fails_with(&format!("--device cuda:99: {reason}"));
    let both = ["--device", "cpu:0-0", "--threads", "1"];
    into(&run, "out", &both).fails_with("--threads cannot be combined with a --device that names cores");
}

#[test]
fn devices_are_distinguished_by_name() {
    let run = TestRun::new();
    for (devices, reason) in [
        ("cpu,cpu", "cpu and cpu overlap"),
        ("cpu:0-3,cpu:2-5", "cpu:0-3 and cpu:2-5 overlap"),
        ("cpu:1,cpu", "cpu:1 and cpu overlap"),
        ("auto,cpu", "auto stands for one device"),
        ("cpu:3-1", "expected auto, cpu, cuda or cuda:N, or several"),
        ("cpu:", "expected auto"),
        (",", "expected auto"),
    ] {
        run.misuse(["--device", devices]).contains(reason).then_some(()).expect(reason);
    }
}
