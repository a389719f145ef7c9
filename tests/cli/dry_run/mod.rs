//! `--dry_run`: the plan of a run, which loads, draws and writes nothing.

mod files;
mod inventory;
mod memory;
mod model;
mod prompts;
mod steps;

use crate::support::fixture;
use std::ffi::OsString;
use std::path::Path;
use txt2img::args::Args;
use txt2img::commands::dry_run::{Report, dry_run};
use txt2img::job::Job;

/// Returns the job of these flags.
fn job<'a>(flags: impl IntoIterator<Item = &'a str>) -> Job {
    let words = ["txt2img"].into_iter().chain(flags).map(OsString::from);
    Job::from_args(&Args::try_from_words(words).unwrap()).unwrap()
}

/// Returns the plan of the demo model with these flags and this OUTDIR.
fn demo<'a>(outdir: &'a Path, flags: impl IntoIterator<Item = &'a str>) -> Report {
    let start = ["--ckpt", "demo", "--outdir", outdir.to_str().unwrap()];
    dry_run(&job(start.into_iter().chain(flags))).unwrap()
}

/// Returns the plan of the demo model with these flags and an OUTDIR that does not exist.
fn somewhere<'a>(flags: impl IntoIterator<Item = &'a str>) -> Report {
    demo("/nowhere/at/all".as_ref(), flags)
}

/// Returns the plan, or the error, of a checkpoint with the small model's config.
fn nano(ckpt: &Path) -> anyhow::Result<Report> {
    let (config, ckpt) = (fixture("nano.yaml"), ckpt.to_str().unwrap());
    dry_run(&job(["--config", config.to_str().unwrap(), "--ckpt", ckpt, "--outdir", "/nowhere/at/all"]))
}

#[test]
fn a_plan_is_a_table_of_what_and_value() {
    let text = somewhere(["--ddim_steps", "30"]).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.contains(&"model        demo, built in"), "{text}");
    assert!(lines.contains(&"steps        ddim: 31 instead of 30 (31 UNet passes per picture)"), "{text}");
    let names = lines.iter().map(|line| line.split("  ").next().unwrap());
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            "model",
            "size",
            "sha256",
            "layout",
            "parameters",
            "not read",
            "prediction",
            "noise",
            "weights",
            "scaling",
            "steps",
            "words cut",
            "pictures",
            "iterations",
            "batches",
            "pixels",
            "first file",
            "last file",
            "grid",
            "file system",
            "computes",
            "memory",
            "disk"
        ]
    );
}
