//! `--sweep`: each picture equals that of a single run, and errors are reported before a model is loaded.

use crate::support::{TestRun, fixture, read_png};
use txt2img::output;

#[track_caller]
fn sweep(flags: &[&str]) -> TestRun {
    let run = TestRun::new();
    run.quick(flags).ok();
    run
}

#[test]
fn every_cell_equals_a_run_with_its_flags() {
    let prompt = ["--prompt", "a pink cube"];
    let swept = sweep(&[&prompt[..], &["--sweep", "prompt=pink,blue", "--sweep", "scale=1,7.5"]].concat());
    let cells = [("a pink cube", "1"), ("a blue cube", "1"), ("a pink cube", "7.5"), ("a blue cube", "7.5")];
    for (i, (prompt, scale)) in cells.into_iter().enumerate() {
        let single = TestRun::new();
        single.quick(["--prompt", prompt, "--scale", scale]).ok();
        let ours = read_png(&swept.path(&format!("out/samples/0000{i}.png")));
        assert!(ours == read_png(&single.path("out/samples/00000.png")), "{prompt}, {scale}");
    }
}

#[test]
fn every_axis_changes_the_picture() {
    for axis in ["sampler=ddim,dpm_solver", "ddim_steps=1,2", "seed=1,2", "H=64,72", "W=64,72", "ddim_eta=0,1"] {
        let run = sweep(&["--sweep", axis]);
        let picture = |i| read_png(&run.path(&format!("out/samples/0000{i}.png")));
        assert!(picture(0) != picture(1), "{axis}");
    }
}

#[test]
fn ranges_and_negative_prompts_are_swept_too() {
    let run = sweep(&["--sweep", "seed=3-5", "--sweep", "negative_prompt=,blue"]);
    let drawn = |n: usize| read_png(&run.path(&format!("out/samples/{n:05}.png")));
    for (n, seed, negative) in [(0, "3", ""), (2, "5", ""), (3, "3", "blue"), (5, "5", "blue")] {
        let alone = TestRun::new();
        alone.quick(["--seed", seed, "--negative_prompt", negative, "--skip_watermark"]).ok();
        assert!(drawn(n) == read_png(&alone.path("out/samples/00000.png")), "{n}");
    }
    let run = sweep(&["--sweep", "steps=1..3"]);
    assert_eq!(run.files().iter().filter(|file| file.starts_with("samples/")).count(), 3);
}

#[test]
fn a_sweep_writes_pictures_a_sheet_and_a_page() {
    let run = sweep(&["--sweep", "seed=1,2", "--n_samples", "5"]);
    run.has_files(["samples/00000.png", "samples/00001.png", "sweep-0000.png", "sweep-0000.html"]);
    run.quick(["--sweep", "seed=1,2", "--skip_save"]).ok();
    run.quick(["--sweep", "seed=1,2", "--skip_save", "--skip_grid"]).ok();
    assert_eq!(run.files().len(), 6);
}

#[test]
fn sweeps_do_not_affect_the_numbering_of_grids() {
    let run = sweep(&["--sweep", "seed=1,2", "--skip_save"]);
    run.quick(["--skip_save"]).ok();
    assert!(run.path("out/grid-0000.png").exists());
}

#[test]
fn a_random_seed_is_picked_once_for_a_sweep() {
    let run = sweep(&["--seed", "-1", "--sweep", "scale=1,1"]);
    let picture = |i| read_png(&run.path(&format!("out/samples/0000{i}.png")));
    assert!(picture(0) == picture(1));
}

#[test]
fn invalid_sweeps_are_refused_before_the_model_is_read() {
    let many = format!("seed={}", (0..101).map(|i| i.to_string()).collect::<Vec<_>>().join(","));
    let more = format!("scale={}", (0..100).map(|i| i.to_string()).collect::<Vec<_>>().join(","));
    for (axes, reason) in [
        (vec!["outdir=a,b"], "--sweep outdir=… is not supported; NAME can be H, W, ddim_steps, scale"),
        (vec!["scale"], "is not NAME=VALUE,VALUE,…"),
        (vec!["scale=1,,2"], "has an empty value"),
        (vec!["scale=1,x"], "--sweep scale=x: invalid value 'x'"),
        (
            vec!["sampler=ddim,dim"],
            "--sweep sampler=dim: invalid value 'dim' for '--sampler <NAME>' [possible values: ddim, plms,",
        ),
        (vec!["prompt=green,blue"], "--sweep prompt: the first value, 'green', must occur in the prompt"),
        (vec!["scale=5..1"], "--sweep: the range 5..1 does not increase; write FIRST..LAST:STEP"),
        (vec!["seed=1-1000000"], "--sweep: the range 1-1000000 has more than 10000 values"),
        (vec!["scale=1,2", "scale=3,4"], "--sweep scale is given twice"),
        (vec!["scale=1", "seed=1", "W=64"], "at most twice, for the columns and the rows"),
        (vec![&many, &more], "more than 10000 pictures"),
    ] {
        let words = axes.iter().flat_map(|axis| ["--sweep", axis]).chain(["--ckpt", "none.ckpt"]);
        let message = TestRun::new().misuse(words);
        assert!(message.contains(reason), "{axes:?}: {message}");
    }
    TestRun::new().misuse(["--sweep", "scale=1,2", "--from-file", "prompts.txt"]);
    TestRun::new().quick(["--sweep", "W=64,100"]).is_misuse("--sweep W=100: --W 100 is not a multiple of 8");
    TestRun::new().quick(["--sweep", "ddim_steps=5,0"]).is_misuse("--sweep ddim_steps=0: --ddim_steps 0 draws nothing");
}

#[test]
fn models_can_be_swept() {
    let run = TestRun::new().with_nano("m.yaml", "a.ckpt").with_nano("m.yaml", "b.ckpt");
    let flags = ["--config", "m.yaml", "--sweep", "ckpt=a.ckpt,b.ckpt", "--sweep", "seed=1,2"];
    run.quick(flags).ok();
    run.has_files([
        "samples/00000.png",
        "samples/00001.png",
        "samples/00002.png",
        "samples/00003.png",
        "sweep-0000.html",
        "sweep-0000.png",
    ]);
    let record = |n: usize| output::record(&run.path(&format!("out/samples/{n:05}.png"))).unwrap();
    assert_eq!([0, 1, 2, 3].map(|n| record(n).model), ["a", "b", "a", "b"]);
    assert!((0..4).all(|n| record(n).model_hash.is_some()));
    run.quick(["--seed", "2"]).ok();
    let picture = |n: usize| read_png(&run.path(&format!("out/samples/{n:05}.png"))).rgb;
    assert!(picture(2) == picture(4) && picture(3) == picture(4) && picture(0) != picture(2));
    run.quick([&flags[..], &["--resume"]].concat()).ok();
    run.args(["--replay", "out/samples/00003.png", "--config", "m.yaml", "--outdir", "again"]).ok();
    run.quick(["--sweep", "ckpt=a.ckpt,none.ckpt"]).fails_with("checkpoint 'none.ckpt' does not exist");
}

#[test]
fn autoencoders_can_be_swept() {
    let run = TestRun::new();
    let (tiny, own) = (fixture("taesd/decoder.pth"), fixture("nano.ckpt"));
    let (tiny, own) = (tiny.to_str().unwrap(), own.to_str().unwrap());
    run.quick(["--sweep", &format!("vae={tiny},{own}")]).ok();
    run.quick(["--vae", tiny]).ok();
    run.quick::<&str>([]).ok();
    let picture = |n: usize| read_png(&run.path(&format!("out/samples/{n:05}.png"))).rgb;
    assert!(picture(0) == picture(2) && picture(1) == picture(3) && picture(0) != picture(1));
}
