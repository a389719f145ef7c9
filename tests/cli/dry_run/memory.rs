//! Estimates of memory, disk space and work.

use super::somewhere;
use crate::support::fixture;
use txt2img::commands::dry_run::Report;

/// Returns the bytes in a row such as `about 500 MB, …`.
fn about(plan: &Report, what: &str) -> f64 {
    let words: Vec<&str> = plan.values(what)[0].split([' ', ',']).collect();
    let unit = match words[2] {
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        other => panic!("{other}"),
    };
    words[1].parse::<f64>().unwrap() * unit
}

#[test]
fn the_estimate_for_the_demo_model_is_close_to_measurements() {
    // Measured peaks of runs with one picture.
    for (side, measured) in [("256", 175e6), ("512", 346e6), ("1024", 1058e6)] {
        let plan = somewhere(["--n_iter", "1", "--n_samples", "1", "--H", side, "--W", side]);
        let ratio = about(&plan, "memory") / measured;
        assert!((0.85..1.18).contains(&ratio), "{side}: {ratio}");
    }
}

#[test]
fn disk_space_is_proportional_to_pixels() {
    let disk = |n| about(&somewhere(["--skip_grid", "--n_iter", n, "--n_samples", "1"]), "disk");
    assert_eq!((disk("10") / disk("1")).round(), 10.);
}

#[test]
fn half_precision_takes_no_more_memory() {
    let memory = |precision| about(&somewhere(["--precision", precision]), "memory");
    assert!(memory("autocast") <= memory("full"));
}

#[test]
fn little_memory_is_less_memory() {
    // Large enough that decoding takes most of it, whatever type this CPU keeps weights in.
    let memory = |flags: &[&str]| about(&somewhere([&["--H", "1024", "--W", "1024"], flags].concat()), "memory");
    assert!(memory(&["--low_memory"]) < 0.7 * memory(&[]));
}

#[test]
fn each_device_has_a_model_of_its_own() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return println!("skipped: this machine has one core");
    }
    let memory = |device| about(&somewhere(["--device", device, "--H", "256", "--W", "256"]), "memory");
    let twice = memory("cpu:0,cpu:1") / memory("cpu:0");
    assert!((1.3..2.).contains(&twice), "{twice}");
}

#[test]
fn a_grid_needs_memory_for_its_own_pictures_only() {
    let memory = |n| about(&somewhere(["--H", "512", "--W", "512", "--n_samples", "1", "--n_iter", n]), "memory");
    assert_eq!(memory("1000000"), memory("256"));
}

#[test]
fn taesd_decodes_tall_pictures_in_bands() {
    let taesd = fixture("taesd/decoder.pth");
    let memory = |h, w| about(&somewhere(["--vae", taesd.to_str().unwrap(), "--H", h, "--W", w]), "memory");
    assert!(memory("4096", "256") < 0.8 * memory("256", "4096"));
}

#[test]
fn the_models_own_decoder_is_counted_beside_taesd() {
    let taesd = fixture("taesd/decoder.pth");
    let memory = |flags: &[&str]| about(&somewhere([&["--vae", taesd.to_str().unwrap()], flags].concat()), "memory");
    assert!(memory(&["--compare_exact"]) > memory(&[]));
}

#[test]
fn the_estimate_does_not_depend_on_the_order_of_sizes() {
    let taesd = fixture("taesd/decoder.pth");
    let memory = |heights| about(&somewhere(["--vae", taesd.to_str().unwrap(), "--sweep", heights]), "memory");
    assert_eq!(memory("H=256,2048"), memory("H=2048,256"));
}
