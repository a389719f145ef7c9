//! The steps that are made, and what they cost.

use super::somewhere;

#[track_caller]
fn says(flags: &[&str], expected: &[&str]) {
    assert_eq!(somewhere(flags.iter().copied()).of("steps"), expected);
}

#[test]
fn steps_are_those_that_will_be_made() {
    says(&["--ddim_steps", "30"], &["ddim: 30 asked, 31 made, 31 UNet passes a picture"]);
    says(&["--ddim_steps", "60", "--plms"], &["plms: 60 asked, 63 made, 64 UNet passes a picture"]);
    says(&["--ddim_steps", "30", "--dpm_solver"], &["dpm_solver: 30 asked, 30 made, 30 UNet passes a picture"]);
}

#[test]
fn samplers_of_second_order_ask_twice() {
    says(&["--ddim_steps", "20", "--sampler", "heun"], &["heun: 20 asked, 20 made, 39 UNet passes a picture"]);
    let karras = ["--ddim_steps", "20", "--sampler", "dpm2", "--schedule", "karras"];
    says(&karras, &["dpm2 karras: 20 asked, 20 made, 39 UNet passes a picture"]);
}

#[test]
fn every_sampler_of_a_sweep_has_a_line() {
    let expected =
        ["ddim: 10 asked, 10 made, 10 UNet passes a picture", "euler_a: 10 asked, 10 made, 10 UNet passes a picture"];
    says(&["--ddim_steps", "10", "--sweep", "sampler=ddim,euler_a", "--sweep", "seed=1,2"], &expected);
}
