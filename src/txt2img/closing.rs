//! What people are told at the end of a run, on standard error.

use crate::dry_run::duration;
use crate::job::Job;
use crate::outdir::Overview;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a process made of its part of a run.
#[derive(Default)]
pub struct Made {
    /// Pictures that it drew, and saved unless they are not to be.
    pub pictures: usize,
    /// Grids, sheets and pages that it wrote.
    pub overviews: Vec<PathBuf>,
}

/// What a process found when it began.
#[derive(Clone, Copy)]
pub struct Start {
    /// Pictures of its part that were there.
    pub n_finished: usize,
    /// Pictures of its part that were not.
    pub n_left: usize,
    /// The first of those, from 0.
    pub first: Option<usize>,
}

impl Start {
    fn total(&self) -> usize {
        self.n_finished + self.n_left
    }
}

/// Returns what was made, for a run that drew everything.
pub fn finished(job: &Job, start: Start, made: &Made, elapsed: Duration) -> String {
    let (total, seconds) = (start.total(), duration(elapsed.as_secs_f64()));
    let mut sentence = match start.first {
        Some(first) if start.n_finished > 0 => format!(
            "Resumed at picture {} of {}, when {} there: {} more {} in {seconds}",
            first + 1,
            job.n_pictures(),
            were(start.n_finished),
            made.pictures,
            done(job)
        ),
        None if total > 0 => format!("Nothing was left to draw: {} there already", were(total)),
        _ => format!("{} {} in {seconds}", pictures(made.pictures), done(job)),
    };
    if let Some(files) = named(&made.overviews) {
        sentence += &format!(", and {files}");
    }
    if let Some(shard) = job.shard {
        let grids = if matches!(job.overview, Some(Overview::Grids(_))) { " and writes their grid" } else { "" };
        sentence += &format!(
            ". This is shard {shard} only: when all {} are done, --collect with the same --outdir checks their pictures{grids}",
            shard.of
        );
    }
    sentence + "."
}

/// Returns how far a run came that Ctrl-C stopped, and how to go on. `start` is `None` if nothing was begun.
pub fn interrupted(job: &Job, start: Option<Start>, made: &Made) -> String {
    let Some(start) = start else { return "Interrupted: nothing was drawn yet.".into() };
    if job.replay.is_some() {
        return "Interrupted: the picture was not drawn again.".into();
    }
    let (n, total, done) = (start.n_finished + made.pictures, start.total(), done(job));
    let shard = job.shard.map_or(String::new(), |shard| format!(" of shard {shard}"));
    let mut sentence = format!("Interrupted: {n} of {}{shard} {done}", pictures(total));
    if let Some(flags) = &job.flags_to_resume {
        let with = if flags.is_empty() { String::new() } else { format!(" with {flags}") };
        sentence += &format!("; the same command{with} draws {}", if n > 0 { "the rest" } else { "them" });
    }
    sentence + "."
}

fn done(job: &Job) -> &'static str {
    if job.saves_samples { "saved" } else { "drawn" }
}

fn pictures(n: usize) -> String {
    if n == 1 { "1 picture".into() } else { format!("{n} pictures") }
}

fn were(n: usize) -> String {
    if n == 1 { "1 picture was".into() } else { format!("{n} pictures were") }
}

/// The names of files, the middle ones left out where there are many.
fn named(files: &[PathBuf]) -> Option<String> {
    let name = |path: &PathBuf| path.file_name().unwrap_or(Path::new("").as_os_str()).display().to_string();
    match files {
        [] => None,
        [file] => Some(name(file)),
        [one, other] => Some(format!("{} and {}", name(one), name(other))),
        [first, .., last] => Some(format!("{} to {}", name(first), name(last))),
    }
}
