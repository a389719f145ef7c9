//! The scripts in `tests/article`, with the demo model and small pictures.

use crate::support::{TestRun, stderr, stdout};
use std::env;
use std::path::Path;
use std::process::{Command, Output};

/// Returns a command that runs a script in the folder of `run`, with 2 steps and the program on the PATH.
fn command(run: &TestRun, script: &str, flags: &[&str]) -> Command {
    let programs = Path::new(env!("CARGO_BIN_EXE_txt2img")).parent().unwrap().to_owned();
    let path = env::var_os("PATH").unwrap();
    let path = env::join_paths([programs].into_iter().chain(env::split_paths(&path))).unwrap();
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/article").join(script));
    command.args(["--outdir", "out", "--ddim_steps", "2"]).args(flags).current_dir(run.path(""));
    command.env_remove("TXT2IMG").env("PATH", path).env("CKPT", "demo");
    command
}

#[track_caller]
fn run(run: &TestRun, script: &str, settings: &[(&str, &str)], flags: &[&str]) -> Output {
    let output = command(run, script, flags).envs(settings.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{script}: {}", stderr(&output));
    output
}

const SMALL: [&str; 4] = ["--H", "64", "--W", "64"];

#[track_caller]
fn pictures(run: &TestRun) -> usize {
    run.files().iter().filter(|file| file.starts_with("samples/")).count()
}

#[test]
fn a_single_picture() {
    let test = TestRun::new();
    run(&test, "single.sh", &[], &SMALL);
    test.has_files(["samples/00000.png", "samples/00001.png"]); // n_iter is 2
}

#[test]
fn the_program_may_be_elsewhere() {
    let test = TestRun::new();
    let program = [("TXT2IMG", env!("CARGO_BIN_EXE_txt2img")), ("PATH", "/usr/bin:/bin")];
    let output = command(&test, "single.sh", &SMALL).envs(program).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_wide_picture() {
    let test = TestRun::new();
    run(&test, "wide.sh", &[], &["--W", "128", "--H", "64"]);
    let picture = crate::support::read_png(&test.path("out/samples/00000.png"));
    assert_eq!((picture.width, picture.height), (128, 64));
}

#[test]
fn pictures_in_bulk() {
    let test = TestRun::new().file("prompts.txt", "a red ball\na blue cube\na green cone\na ring\n");
    run(&test, "bulk.sh", &[], &SMALL);
    assert_eq!(pictures(&test), 12);
    assert!(test.path("out/grid-0000.png").exists());
}

#[test]
fn the_benchmarks_table() {
    let test = TestRun::new();
    let table = stdout(&run(&test, "benchmark.sh", &[], &SMALL));
    let ours = table.lines().last().unwrap();
    let seconds = ours.split('|').filter(|cell| cell.trim().ends_with(" s")).count();
    assert!(ours.starts_with("| this machine (") && seconds == 3, "{table}");
    assert!(table.contains("A100") && table.lines().count() == 5, "{table}");
    assert_eq!(pictures(&test), 3);
}

#[test]
fn comparisons() {
    for (script, settings, cells) in [
        ("wording.sh", [("", ""); 2], 15),
        ("scale.sh", [("", ""); 2], 7),
        ("samplers.sh", [("STEPS", "1,2"), ("", "")], 10),
        ("size.sh", [("WIDTHS", "64,72"), ("HEIGHTS", "64,80")], 4),
    ] {
        let test = TestRun::new();
        let settings: Vec<_> = settings.into_iter().filter(|(name, _)| !name.is_empty()).collect();
        run(&test, script, &settings, &SMALL);
        assert_eq!(pictures(&test), cells, "{script}");
        assert!(test.path("out/sweep-0000.png").exists() && test.path("out/sweep-0000.html").exists(), "{script}");
    }
}
