//! Ctrl-C: the first stops the run cleanly, the second at once.

use crate::support::{TestCommand, TestRun, fixture, read_png};
use candle_core::{pickle, safetensors};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The longest time to wait for anything.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Starts a run in the background.
fn start(run: &TestRun, args: &[&str]) -> Child {
    let TestCommand(mut command) = run.quick(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < TIMEOUT);
        sleep(Duration::from_millis(5));
    }
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

/// Asserts exit code 130, nothing on standard output and no error; returns the standard error.
#[track_caller]
fn ends_interrupted(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let message = crate::support::stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(!message.contains("panicked") && !message.contains("Error"), "{message}");
    assert_eq!(crate::support::stdout(&output), "");
    message
}

/// Interrupts a run as soon as `file` exists.
#[track_caller]
fn interrupted(run: &TestRun, args: &[&str], file: &str) -> String {
    let child = start(run, args);
    wait_for(|| run.path(file).exists());
    interrupt(&child);
    ends_interrupted(child)
}

#[test]
fn an_interrupted_run_reports_progress_and_how_to_resume() {
    let run = TestRun::new();
    let message = interrupted(&run, &["--n_iter", "100000"], "out/samples/00000.png");
    let n = fs::read_dir(run.path("out/samples")).unwrap().count();
    let rest = "of 100000 pictures saved; repeat the command with --resume to draw the rest.\n";
    assert!(message.ends_with(&format!("Interrupted: {n} {rest}")), "{message}");
    // The second run counts earlier pictures, and its command has --resume already.
    let message = interrupted(&run, &["--n_iter", "100000", "--resume"], &format!("out/samples/{n:05}.png"));
    let n = fs::read_dir(run.path("out/samples")).unwrap().count();
    let rest = "of 100000 pictures saved; repeat the command to draw the rest.\n";
    assert!(message.ends_with(&format!("Interrupted: {n} {rest}")), "{message}");
}

#[test]
fn the_closing_line_of_an_interrupted_run_is_true() {
    for (flags, file, end) in [
        (
            &["--ddim_steps", "1000", "--n_samples", "8"][..],
            "out/samples",
            "0 of 8 pictures saved; repeat the command with --resume to draw them.",
        ),
        (
            &["--n_iter", "100000", "--skip_save"],
            "out/.txt2img-aside",
            "of 100000 pictures drawn; repeat the command with --resume to draw the rest.",
        ),
        (
            &["--n_iter", "100000", "--shard", "1/2"],
            "out/samples/00001.png",
            "of 50000 pictures of shard 1/2 saved; repeat the command with --resume to draw the rest.",
        ),
        (
            &["--n_iter", "100000", "--quiet"],
            "out/samples/00000.png",
            "of 100000 pictures saved; repeat the command with --resume to draw the rest.",
        ),
    ] {
        let run = TestRun::new();
        let child = start(&run, flags);
        let (folder, name) = file.rsplit_once('/').unwrap();
        let begins = |entry: fs::DirEntry| entry.file_name().to_str().unwrap().starts_with(name);
        wait_for(|| {
            fs::read_dir(run.path(folder)).is_ok_and(|mut entries| entries.any(|entry| begins(entry.unwrap())))
        });
        wait_for(|| run.path("out").join("run.jsonl").exists() || flags.contains(&"--shard"));
        sleep(Duration::from_millis(100));
        interrupt(&child);
        let message = ends_interrupted(child);
        assert!(message.contains("Interrupted: ") && message.ends_with(&format!("{end}\n")), "{flags:?}: {message}");
    }
}

#[test]
fn a_random_seed_is_part_of_the_advice_to_resume() {
    let run = TestRun::new();
    let message = interrupted(&run, &["--n_iter", "100000", "--seed", "-1"], "out/samples/00000.png");
    let seed = message.lines().find_map(|line| line.strip_prefix("note: the random seed is ")).unwrap();
    let end = format!("pictures saved; repeat the command with --seed {seed} --resume to draw the rest.\n");
    assert!(message.ends_with(&end), "{message}");
}

#[test]
fn one_interrupt_keeps_the_pictures_and_writes_their_grid() {
    let run = TestRun::new();
    let child = start(&run, &["--n_iter", "100000", "--n_rows", "1"]);
    wait_for(|| run.path("out/samples/00002.png").exists());
    interrupt(&child);
    ends_interrupted(child);
    let files = run.files();
    assert_eq!(files[0], "grid-0000.png");
    let samples = files.len() - 1;
    assert!((0..samples).all(|i| files[1 + i] == format!("samples/{i:05}.png")), "{files:?}");
    let grid = read_png(&run.path("out/grid-0000.png"));
    assert_eq!(grid.height, samples * (64 + 2) + 2);
    files.iter().for_each(|file| drop(read_png(&run.path("out").join(file))));
}

#[test]
fn an_interrupt_before_the_first_picture_writes_nothing() {
    let run = TestRun::new();
    let child = start(&run, &["--ddim_steps", "1000", "--n_samples", "8"]);
    wait_for(|| run.path("out/samples").exists());
    interrupt(&child);
    ends_interrupted(child);
    run.has_files([]);
}

#[test]
fn two_interrupts_end_the_run_within_a_step() {
    let run = TestRun::new();
    let child = start(&run, &["--H", "2048", "--W", "2048", "--n_samples", "2"]);
    wait_for(|| run.path("out/samples").exists());
    let start = Instant::now();
    interrupt(&child);
    sleep(Duration::from_millis(300)); // two signals at once are one
    interrupt(&child);
    ends_interrupted(child);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    run.has_files([]);
}

/// Writes the small model in a file with `more` additional bytes, as a sparse file.
fn write_long_model(path: &Path, more: u64) {
    let tensors = pickle::read_all_with_key(fixture("nano.ckpt"), Some("state_dict")).unwrap();
    safetensors::save(&tensors.into_iter().collect::<HashMap<_, _>>(), path).unwrap();
    let bytes = fs::read(path).unwrap();
    let (length, rest) = bytes.split_at(8);
    let (header, tensors) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let mut header: Value = serde_json::from_slice(header).unwrap();
    let offsets = [tensors.len() as u64, tensors.len() as u64 + more];
    header["padding"] = json!({ "dtype": "U8", "shape": [more], "data_offsets": offsets });
    let header = header.to_string().into_bytes();
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], &header, tensors].concat()).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() + more).unwrap();
}

#[test]
fn pictures_drawn_before_the_model_is_hashed_contain_its_hash() {
    let run = TestRun::new();
    write_long_model(&run.path("long.safetensors"), 1 << 30);
    let flags = ["--ckpt", "long.safetensors", "--n_iter", "100", "--progress", "json", "--report", "report.json"];
    let mut child = start(&run, &flags);
    let mut message = BufReader::new(child.stderr.take().unwrap()).lines();
    message.find(|line| line.as_ref().unwrap().contains(r#""event":"batch""#)).unwrap().unwrap();
    interrupt(&child);
    let message: Vec<_> = message.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{message:?}");
    let report: Value = serde_json::from_slice(&fs::read(run.path("report.json")).unwrap()).unwrap();
    let pictures = report["pictures"].as_array().unwrap();
    assert!(!pictures.is_empty());
    assert!(pictures.iter().all(|picture| picture["record"]["model_hash"].as_str().unwrap().len() == 64));
}
