//! Ctrl-C: once to stop tidily, twice to stop at once.
#![cfg(unix)]

mod support;

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::{Run, TestRun, read_png};

const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a run, which goes on while the test does.
fn start(run: &TestRun, args: &[&str]) -> Child {
    let Run(mut command) = run.quick(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_millis(5));
    }
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

/// Exit code 130 and no words.
#[track_caller]
fn ends_interrupted(child: Child) {
    let output = child.wait_with_output().unwrap();
    let said = support::stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(!said.contains("panicked") && !said.contains("Error"), "{said}");
    assert_eq!(support::stdout(&output), "");
}

#[test]
fn one_interrupt_keeps_the_pictures_and_draws_their_grid() {
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
fn an_interrupt_before_the_first_picture_leaves_none() {
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
