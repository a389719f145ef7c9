//! What people look at: captions, the index page, `--show`, colours, `--verbose` and `--quiet`.

use crate::support::{TestRun, notes, read_png, stderr, stdout};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn captions_are_below_the_pictures_of_a_grid() {
    let run = TestRun::new();
    run.quick(["--n_samples", "2"]).ok();
    run.quick(["--n_samples", "2", "--caption"]).ok();
    let (plain, captioned) = (read_png(&run.path("out/grid-0000.png")), read_png(&run.path("out/grid-0001.png")));
    let higher = captioned.height - plain.height;
    assert!(captioned.width == plain.width && higher > 8, "{higher}");
    // The pictures are the same, and dark letters are on the white strip below.
    let rows = |picture: &txt2img::output::Picture, rows: std::ops::Range<usize>| {
        picture.rgb[3 * picture.width * rows.start..3 * picture.width * rows.end].to_vec()
    };
    assert!(rows(&captioned, 0..66) == rows(&plain, 0..66));
    let strip = rows(&captioned, 66..captioned.height - 2);
    assert!(strip.contains(&255) && strip.iter().filter(|level| **level < 100).count() > 30);
    assert!(notes(&run.quick(["--caption", "--skip_grid"]).ok()).contains("--caption has no effect with --skip_grid"));
}

/// Returns the pictures that an index page lists.
fn listed(run: &TestRun, page: &str) -> Vec<serde_json::Value> {
    let page = fs::read_to_string(run.path(page)).unwrap();
    let (_, json) = page.split_once("id=\"pictures\">").unwrap();
    serde_json::from_str(json.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn the_index_lists_all_pictures_with_their_settings() {
    let run = TestRun::new().file("p.txt", "a red ball\n</script><b>&\n");
    let flags = ["--from-file", "p.txt", "--skip_grid", "--format", "jpg"];
    let output = run.quick([&flags[..], &["--index"]].concat()).ok();
    assert!(stderr(&output).contains("saved in ") && stderr(&output).contains(", and index-0000.html."));
    let pictures = listed(&run, "out/index-0000.html");
    assert_eq!(pictures.len(), 2);
    assert_eq!(pictures[0]["url"], "samples/00000.jpg");
    assert_eq!(pictures[1]["prompt"], "</script><b>&");
    assert_eq!((&pictures[0]["width"], &pictures[0]["seed"]), (&64.into(), &42.into()));
    assert!(pictures[0]["thumbnail"].as_str().unwrap().starts_with("data:image/jpeg;base64,"));
    assert!(pictures[0]["parameters"].as_str().unwrap().contains("Sampler: DDIM"));
}

#[test]
fn the_index_of_a_longer_run_replaces_the_shorter_one() {
    let run = TestRun::new();
    run.quick(["--index"]).ok();
    run.quick(["--index", "--n_iter", "2", "--resume"]).ok();
    assert_eq!(listed(&run, "out/index-0000.html").len(), 2);
    run.has_files(["grid-0000.png", "grid-0001.png", "index-0000.html", "samples/00000.png", "samples/00001.png"]);
}

#[test]
fn collect_makes_the_index_of_a_run_in_shards() {
    let run = TestRun::new();
    for shard in ["0/2", "1/2"] {
        run.quick(["--n_iter", "2", "--shard", shard, "--index"]).ok();
    }
    assert!(!run.path("out/index-0000.html").exists());
    run.alone(["--outdir", "out", "--collect", "--index"]).ok();
    assert_eq!(listed(&run, "out/index-0000.html").len(), 2);
}

#[test]
fn without_pictures_there_is_no_index() {
    let run = TestRun::new();
    let said = notes(&run.quick(["--index", "--skip_save"]).ok());
    assert!(said.contains("--index has no effect with --skip_save"), "{said}");
    run.has_files(["grid-0000.png"]);
}

#[test]
fn show_needs_a_terminal() {
    let said = notes(&TestRun::new().quick(["--show"]).ok());
    assert!(said.contains("--show has no effect, because standard output is not a terminal"), "{said}");
}

#[test]
fn colours_are_for_terminals_unless_asked_for() {
    let run = TestRun::new();
    let said = |flags: &[&str]| stderr(&run.quick(flags).0.output().unwrap());
    assert!(!said(&["--seed", "-1"]).contains('\x1b'));
    assert!(said(&["--seed", "-1", "--color", "always"]).contains("note:\x1b[0m"));
    assert!(said(&["--ckpt", "none", "--color=always"]).contains("error:\x1b[0m checkpoint 'none' does not exist"));
    // Also of errors that clap prints.
    assert!(said(&["--color", "always", "--H", "x"]).contains("\x1b["));
    assert!(!said(&["--color", "never", "--H", "x"]).contains('\x1b'));
}

#[test]
fn verbose_prints_the_plan_before_drawing() {
    let said = stderr(&TestRun::new().quick(["--verbose", "--threads", "1", "--precision", "full"]).ok());
    for line in
        ["layout       ckpt", "prediction   eps", "steps        ddim: 2", "computes     on cpu in f32, ", "memory   "]
    {
        assert!(said.contains(&format!("\n{line}")) || said.starts_with(line), "{line}: {said}");
    }
    assert!(said.contains(", 1 thread\n") && said.contains("1 picture saved in"), "{said}");
    TestRun::new().misuse(["--verbose", "--quiet"]);
}

#[test]
fn variables_are_defaults_of_the_model_and_the_folder() {
    let run = TestRun::new();
    let flags =
        ["--H", "64", "--W", "64", "--steps", "2", "--n_iter", "1", "-n", "1", "--safety", "off", "--skip_grid"];
    let mut command = run.alone(flags);
    command.0.env("TXT2IMG_OUTDIR", "pictures").env("TXT2IMG_CKPT", "demo");
    assert!(!stderr(&command.ok()).contains("no --ckpt given"));
    assert!(run.path("pictures/samples/00000.png").exists());
    // A picture to redraw names its model, and an empty variable names nothing.
    let mut command = run.alone(["--replay", "pictures/samples/00000.png", "--outdir", "again", "--safety", "off"]);
    command.0.env("TXT2IMG_CKPT", "none").env("TXT2IMG_OUTDIR", "");
    assert!(stderr(&command.ok()).contains("redrawn: identical"));
    let mut command = run.alone([&flags[..], &["--ckpt", "none", "--outdir", "out"]].concat());
    command.0.env("TXT2IMG_CKPT", "demo").env("TXT2IMG_OUTDIR", "pictures");
    command.fails_with("'none' does not exist");
}

#[test]
fn a_program_with_cuda_beside_takes_over_if_it_starts() {
    let run = TestRun::new();
    fs::copy(env!("CARGO_BIN_EXE_txt2img"), run.path("txt2img")).unwrap();
    let other = |script: &str| {
        let path = run.path("txt2img-cuda");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let prints = |device: &str| {
        let mut command = std::process::Command::new(run.path("txt2img"));
        command.args(["--ckpt", "none", "--device", device]).current_dir(run.path(""));
        let output = command.output().unwrap();
        stdout(&output) + &stderr(&output)
    };
    if cfg!(feature = "cuda") {
        return;
    }
    other("echo with CUDA: \"$@\"");
    assert_eq!(prints("auto"), "with CUDA: --ckpt none --device auto\n");
    assert!(prints("cpu").starts_with("error: checkpoint 'none'"));
    other("exit 127");
    assert!(prints("auto").starts_with("error: checkpoint 'none'"));
}

#[test]
fn a_program_called_img2img_is_that_one() {
    let run = TestRun::new();
    fs::copy(env!("CARGO_BIN_EXE_txt2img"), run.path("img2img")).unwrap();
    let output = std::process::Command::new(run.path("img2img")).arg("-V").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("img2img "));
}
