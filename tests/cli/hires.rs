//! The second pass for large pictures: `--hires`.

use crate::support::{TestRun, notes, read_png, stderr, stdout};
use std::fs;
use txt2img::output::Picture;

const TWICE: [&str; 4] = ["--hires", "2", "--skip_watermark", "--skip_grid"];

fn picture(run: &TestRun, n: usize) -> Picture {
    read_png(&run.path(&format!("out/samples/{n:05}.png")))
}

fn size(run: &TestRun, n: usize) -> (usize, usize) {
    let Picture { width, height, .. } = picture(run, n);
    (width, height)
}

#[test]
fn pictures_have_the_size_of_the_second_pass() {
    let run = TestRun::new();
    let common = ["--skip_watermark", "--skip_grid"];
    for hires in ["1", "1.5", "128x96", "2"] {
        run.quick([&["--hires", hires], &common[..]].concat()).ok();
    }
    assert_eq!([0, 1, 2, 3].map(|n| size(&run, n)), [(64, 64), (96, 96), (128, 96), (128, 128)]);
    run.quick(common).ok();
    assert!(picture(&run, 4) == picture(&run, 0), "--hires 1 is no second pass");
}

#[test]
fn every_option_of_the_second_pass_counts() {
    let run = TestRun::new();
    let options: [&[&str]; 6] = [
        &[],
        &["--hires_strength", "0.5"],
        &["--hires_steps", "3"],
        &["--hires_sampler", "heun"],
        &["--hires_upscaler", "latent-bicubic"],
        &["--hires_upscaler", "lanczos"],
    ];
    for flags in options {
        run.quick([&TWICE[..], &["--ddim_steps", "4"], flags].concat()).ok();
    }
    for (n, flags) in options.iter().enumerate().skip(1) {
        assert!(picture(&run, n) != picture(&run, 0), "{flags:?}");
        let said = notes(&run.args(["--replay", &format!("out/samples/{n:05}.png")]).ok());
        assert!(said.contains("identical"), "{flags:?}: {said}");
    }
    let text = fs::read(run.path("out/samples/00002.png")).unwrap();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("Size: 64x64"));
    assert!(text.contains("Denoising strength: 0.75, Hires upscale: 2, Hires steps: 3, Hires upscaler: Latent, "));
}

#[test]
fn images_with_seeds_of_their_own_are_drawn_alike_in_any_batch() {
    let run = TestRun::new();
    let flags = [&TWICE[..], &["--seed_mode", "per_image", "--sampler", "euler_a"]].concat();
    run.quick([&flags[..], &["--n_samples", "2"]].concat()).ok();
    run.quick([&flags[..], &["--seed", "43"]].concat()).ok();
    assert!(picture(&run, 2) == picture(&run, 1));
}

#[test]
fn all_batches_share_the_noise_of_both_passes_with_fixed_code() {
    let run = TestRun::new();
    run.quick([&TWICE[..], &["--fixed_code", "--n_iter", "2"]].concat()).ok();
    assert!(picture(&run, 0) == picture(&run, 1));
}

#[test]
fn previews_of_the_second_pass_follow_those_of_the_first() {
    let run = TestRun::new();
    run.quick([&TWICE[..], &["--save_intermediates", "1"]].concat()).ok();
    let files: Vec<_> = run.files().into_iter().filter(|file| file.starts_with("intermediates/")).collect();
    assert_eq!(files.len(), 4, "{files:?}");
}

#[test]
fn the_steps_of_the_second_pass_are_told_apart() {
    let run = TestRun::new();
    let events = stderr(&run.quick([&TWICE[..], &["--progress", "json"]].concat()).ok());
    let steps: Vec<&str> = events.lines().filter(|line| line.contains(r#""event":"step""#)).collect();
    assert_eq!(steps.len(), 4);
    assert!(steps.iter().enumerate().all(|(i, step)| step.contains(r#""pass":2"#) == (i >= 2)), "{steps:?}");
}

#[test]
fn the_plan_names_the_second_pass_and_the_final_size() {
    let run = TestRun::new();
    let plan = stdout(&run.quick([&TWICE[..], &["--ddim_steps", "5", "--dry_run"]].concat()).ok());
    assert!(plan.contains("steps        ddim: 5 (5 UNet passes per picture)\n"), "{plan}");
    let second = "steps        second pass, ddim: the last 5 of 6 (5 UNet passes per picture)\n";
    assert!(plan.contains(second), "{plan}");
    assert!(plan.contains("pixels       128x128\n"), "{plan}");
}

#[test]
fn a_run_with_another_second_pass_is_not_resumed() {
    let run = TestRun::new();
    run.quick([&TWICE[..], &["--n_iter", "2"]].concat()).ok();
    run.quick([&TWICE[..], &["--n_iter", "2", "--hires_steps", "3", "--resume"]].concat()).fails_with("--hires_steps");
    run.quick(["--skip_watermark", "--skip_grid", "--n_iter", "2", "--resume"]).fails_with("--hires");
}

#[test]
fn second_passes_that_cannot_be_drawn_are_refused() {
    let run = TestRun::new().file("in.png", fs::read("models/demo/pink-cube.png").unwrap());
    for (flags, reason) in [
        (&["--hires", "2", "--init-img", "in.png"][..], "--hires 2 cannot be combined with --init-img"),
        (
            &["--hires", "100"],
            "--hires 100 makes a picture of 25600×25600 pixels, whose sides must be between 8 and 8192",
        ),
        (&["--hires", "2", "--hires_strength", "0"], "--hires_strength 0 must be above 0 and at most 1"),
        (
            &["--hires", "1.01"],
            "--hires 1.01 does not enlarge 256×256 pixels, because sizes are rounded down to multiples of 8",
        ),
        (&["--hires", "64x64"], "--hires 64x64 is smaller than the first pass, of 256×256 pixels"),
        (&["--hires", "100x200"], "--hires 100x200 is not in multiples of 8"),
        (&["--hires", "2", "--hires_strength", "2"], "--hires_strength 2 must be above 0 and at most 1"),
        (
            &["--hires", "2", "--hires_strength", "0.01"],
            "--hires_strength 0.01 is too low for 50 steps: they would be the last of more than 1000; give at least 0.05",
        ),
        (&["--hires", "2", "--hires_steps", "-1"], "--hires_steps -1 is not between 0"),
    ] {
        run.alone([&["--outdir", "out", "--ckpt", "demo"][..], flags].concat()).is_misuse(reason);
    }
    assert!(!run.path("out").exists());
    for bad in ["0.5", "2x", "x", "0x64", "inf", "1e30"] {
        let said = run.misuse(["--hires", bad]);
        assert!(said.contains("neither a number from 1 to 1024, such as 1.5, nor a size"), "{said}");
    }
    let said = notes(&run.quick(["--hires_strength", "0.5"]).ok());
    assert!(said.contains("--hires_strength has no effect without a second pass (--hires)"), "{said}");
}
