//! `--resume`, `--collect` and shards: in the end, the files are those of an uninterrupted run.

mod devices;
mod extend;
mod kills;
mod messages;
mod refusals;
mod shards;

use crate::support::{TestCommand, TestRun, files_below};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// The flags of a run with several batches, wildcards and a grid.
const RICH: [&str; 8] =
    ["--n_samples", "3", "--n_iter", "4", "--wildcards", "--prompt", "a {red|blue|green} {ball|cube}", "--plms"];

/// Returns the files of a folder by name, except journals.
fn content(run: &TestRun, outdir: &str) -> BTreeMap<String, Vec<u8>> {
    let outdir = run.path(outdir);
    let is_own = |file: &String| file.starts_with("run") && file.ends_with(".jsonl");
    let files = files_below(&outdir).into_iter().filter(|file| !is_own(file));
    files.map(|file| (file.clone(), fs::read(outdir.join(file)).unwrap())).collect()
}

/// Asserts that both folders have the same files with the same content.
#[track_caller]
fn are_equal(run: &TestRun, one: &str, other: &str) {
    let (one, other) = (content(run, one), content(run, other));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    let different: Vec<_> = one.keys().filter(|file| one[*file] != other[*file]).collect();
    assert!(different.is_empty(), "{different:?}");
    assert!(one.len() > 2);
}

/// Prepares a quick run into a folder.
fn into(run: &TestRun, outdir: &str, flags: &[&str]) -> TestCommand {
    run.quick([&["--outdir", outdir], flags].concat())
}

fn start(mut run: TestCommand) -> Child {
    run.0.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Prepares the same run with `--resume`.
fn resume(run: &TestRun, outdir: &str, flags: &[&str]) -> TestCommand {
    into(run, outdir, &[flags, &["--resume"]].concat())
}

fn wait_for(run: &TestRun, file: &str) {
    while !run.path(file).exists() {
        sleep(Duration::from_millis(1));
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Returns the lines of a folder's journal.
fn journal(run: &TestRun, outdir: &str) -> Vec<String> {
    let text = fs::read_to_string(run.path(outdir).join("run.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}
