//! The steps row: the real number of steps and of UNet passes.

use super::somewhere;

#[track_caller]
fn says(flags: &[&str], expected: &[&str]) {
    assert_eq!(somewhere(flags.iter().copied()).values("steps"), expected);
}

#[test]
fn the_actual_number_of_steps_is_listed() {
    says(&["--ddim_steps", "30"], &["ddim: 31 instead of 30 (31 UNet passes per picture)"]);
    says(&["--ddim_steps", "60", "--plms"], &["plms: 63 instead of 60 (64 UNet passes per picture)"]);
    says(&["--ddim_steps", "30", "--dpm_solver"], &["dpm_solver: 30 (30 UNet passes per picture)"]);
}

#[test]
fn samplers_of_second_order_evaluate_twice() {
    says(&["--ddim_steps", "20", "--sampler", "heun"], &["heun: 20 (39 UNet passes per picture)"]);
    let karras = ["--ddim_steps", "20", "--sampler", "dpm2", "--schedule", "karras"];
    says(&karras, &["dpm2 karras: 20 (39 UNet passes per picture)"]);
}

#[test]
fn shortcuts_are_listed() {
    let expected = [
        "ddim: 10 (10 UNet passes per picture), --guidance_interval 0,0.5",
        "ddim: 10 (10 UNet passes per picture), --guidance_interval 0,0.5, --deepcache 3,1",
    ];
    let flags = ["--ddim_steps", "10", "--guidance_interval", "0,0.5", "--sweep", "deepcache=1,\"3,1\""];
    says(&flags, &expected);
}

#[test]
fn every_sampler_of_a_sweep_has_a_line() {
    let expected = ["ddim: 10 (10 UNet passes per picture)", "euler_a: 10 (10 UNet passes per picture)"];
    says(&["--ddim_steps", "10", "--sweep", "sampler=ddim,euler_a", "--sweep", "seed=1,2"], &expected);
}
