//! The end of a run: its last messages and its result.

use super::End;
use super::pipeline::Drawn;
use super::writer::Made;
use crate::human::duration;
use crate::interrupt::Interrupted;
use crate::job::Job;
use crate::job::tasks::Remaining;
use crate::outdir::Overview;
use crate::progress::Progress;
use crate::timings::Timings;
use anyhow::{Context, Result};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reports how a run ended: the last event, the closing line, and the results on standard output. `start`: the work that
/// there was at the start.
///
/// # Errors
/// The error of drawing, unless Ctrl-C caused it; or if standard output cannot be written.
pub fn report(
    job: &Job,
    start: Remaining,
    drawn: Result<Drawn>,
    timings: &Timings,
    progress: &Progress,
) -> Result<End> {
    let Drawn { made, error } = drawn?;
    let end = match error {
        None => End::Finished,
        Some(error) if error.is::<Interrupted>() && made.pictures < start.n_pictures => End::Interrupted,
        Some(error) if error.is::<Interrupted>() => End::Finished,
        Some(error) => return Err(error),
    };
    progress.event(&json!({ "event": "end", "finished": end == End::Finished }));
    match end {
        End::Finished => progress.closing(&finished(job, start, &made, timings.elapsed())),
        End::Interrupted => progress.stopped(&interrupted(job, start, &made)),
    }
    print_results(job, end, timings)?;
    Ok(end)
}

/// Reports a run that Ctrl-C stopped before anything was drawn.
pub fn interrupted_early(progress: &Progress) {
    progress.stopped("Interrupted: nothing was drawn yet.");
}

/// Prints the results that belong on standard output.
fn print_results(job: &Job, end: End, timings: &Timings) -> Result<()> {
    let mut results = if job.output.timings { timings.table() } else { String::new() };
    if end == End::Finished {
        results += &format!("Your samples are ready and waiting for you here: \n{}\n", job.output.outdir.display());
    }
    std::io::stdout().write_all(results.as_bytes()).context("writing to standard output")
}

/// Returns what was made, for a run that drew everything.
fn finished(job: &Job, start: Remaining, made: &Made, elapsed: Duration) -> String {
    let (total, seconds) = (start.n_finished + start.n_pictures, duration(elapsed.as_secs_f64()));
    let mut sentence = match start.first {
        Some(first) if start.n_finished > 0 => format!(
            "Resumed at picture {} of {}, when {} there: {} more {} in {seconds}",
            first + 1,
            job.images.n_pictures(),
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
    if let Some(shard) = job.run.shard {
        let grids = if matches!(job.output.overview, Some(Overview::Grids(_))) { " and writes their grid" } else { "" };
        sentence += &format!(
            ". This is shard {shard} only: when all {} are done, --collect with the same --outdir checks their pictures{grids}",
            shard.of
        );
    }
    sentence + "."
}

/// Returns how far a run came that Ctrl-C stopped, and how to resume it.
fn interrupted(job: &Job, start: Remaining, made: &Made) -> String {
    if job.images.replay.is_some() {
        return "Interrupted: the picture was not redrawn.".into();
    }
    let (n, total, done) = (start.n_finished + made.pictures, start.n_finished + start.n_pictures, done(job));
    let shard = job.run.shard.map_or(String::new(), |shard| format!(" of shard {shard}"));
    let mut sentence = format!("Interrupted: {n} of {}{shard} {done}", pictures(total));
    if let Some(flags) = &job.run.flags_to_resume {
        let with = if flags.is_empty() { String::new() } else { format!(" with {flags}") };
        sentence += &format!("; the same command{with} draws {}", if n > 0 { "the rest" } else { "them" });
    }
    sentence + "."
}

fn done(job: &Job) -> &'static str {
    if job.output.saves_samples { "saved" } else { "drawn" }
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
