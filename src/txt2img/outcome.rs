//! The end of a run: its last messages and its result.

use super::End;
use super::pipeline::Outcome;
use super::writer::Written;
use crate::commands::display;
use crate::human::{counted, duration, listed};
use crate::interrupt::Interrupted;
use crate::job::Job;
use crate::job::tasks::Remaining;
use crate::outdir::Overview;
use crate::progress::Progress;
use crate::terminal;
use crate::timings::Timings;
use anyhow::Result;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reports the end of a run: the last event, the closing line, and the results on standard output. `start`: the work that
/// remained at the start.
///
/// # Errors
/// If drawing failed, except by Ctrl-C, or standard output cannot be written.
pub fn report(
    job: &Job,
    start: Remaining,
    outcome: Result<Outcome>,
    timings: &Timings,
    progress: &Progress,
) -> Result<End> {
    let Outcome { written, error } = outcome?;
    let end = match error {
        None => End::Finished,
        Some(error) if error.is::<Interrupted>() && written.pictures < start.n_pictures => End::Interrupted,
        Some(error) if error.is::<Interrupted>() => End::Finished,
        Some(error) => return Err(error),
    };
    progress.event(&json!({ "event": "end", "finished": end == End::Finished }));
    match end {
        End::Finished => progress.closing(&finished(job, start, &written, timings.elapsed())),
        End::Interrupted => progress.closing(&interrupted(job, start, &written)),
    }
    print_results(job, end, timings)?;
    display(job, &written, progress);
    Ok(end)
}

/// Reports a run that Ctrl-C stopped before anything was drawn.
pub fn interrupted_early(progress: &Progress) {
    progress.closing("Interrupted: nothing was drawn yet.");
}

/// Shows or opens what was written, if that is asked for: the overview, or else the first picture.
fn display(job: &Job, written: &Written, progress: &Progress) {
    let files = || written.overviews.iter().chain(&written.first);
    if (job.output.show || job.output.open) && files().next().is_none() {
        return progress.note("--show and --open have no effect, because no pictures are saved");
    }
    if job.output.show {
        files().find(|path| !is_page(path)).into_iter().for_each(|picture| display::show(picture, progress));
    }
    if job.output.open {
        files().find(is_page).or_else(|| files().next()).into_iter().for_each(|file| display::open(file, progress));
    }
}

/// Prints the timings and the original's closing message on standard output.
fn print_results(job: &Job, end: End, timings: &Timings) -> Result<()> {
    let mut results = if job.output.timings { timings.table() } else { String::new() };
    if end == End::Finished {
        results += &format!("Your samples are ready and waiting for you here: \n{}\n", job.output.outdir.display());
    }
    terminal::write_results(results.as_bytes())
}

/// Returns the closing line of a run that drew everything.
fn finished(job: &Job, start: Remaining, written: &Written, elapsed: Duration) -> String {
    let (total, seconds) = (start.n_finished + start.n_pictures, duration(elapsed.as_secs_f64()));
    let mut sentence = match start.first {
        Some(first) if start.n_finished > 0 => {
            let at = match job.run.shard {
                None => format!("at picture {} of {total}", first + 1),
                // The numbers of a shard's pictures have gaps, so they would not fit its counts.
                Some(shard) => format!("shard {shard} of {}", pictures(total)),
            };
            let (were, more) = (were(start.n_finished), written.pictures);
            format!("Resumed {at} ({were} already there): {more} more {} in {seconds}", participle(job))
        }
        None if total > 0 => format!("Nothing left to draw: {} already there", were(total)),
        _ => format!("{} {} in {seconds}", pictures(written.pictures), participle(job)),
    };
    if let Some(files) = file_names(&written.overviews) {
        sentence += &format!(", and {files}");
    }
    if let Some(shard) = job.run.shard {
        let grids = if matches!(job.output.overview, Some(Overview::Grids(_))) { " and write the grid" } else { "" };
        sentence += &format!(
            ". This was shard {shard} only: when all {} have finished, run --collect with the same --outdir to verify the pictures{grids}",
            shard.of
        );
    }
    sentence + "."
}

/// Returns the closing line of a run that Ctrl-C stopped: its progress, and how to resume it.
fn interrupted(job: &Job, start: Remaining, written: &Written) -> String {
    if job.images.replay.is_some() {
        return "Interrupted: the picture was not redrawn.".into();
    }
    let (n, total, done) = (start.n_finished + written.pictures, start.n_finished + start.n_pictures, participle(job));
    let shard = job.run.shard.map_or(String::new(), |shard| format!(" of shard {shard}"));
    let mut sentence = format!("Interrupted: {n} of {}{shard} {done}", pictures(total));
    if let Some(flags) = &job.run.flags_to_resume {
        let with = if flags.is_empty() { String::new() } else { format!(" with {flags}") };
        sentence += &format!("; repeat the command{with} to draw {}", if n > 0 { "the rest" } else { "them" });
    }
    sentence + "."
}

fn participle(job: &Job) -> &'static str {
    if job.output.saves_samples { "saved" } else { "drawn" }
}

fn pictures(n: usize) -> String {
    counted(n, "picture")
}

fn were(n: usize) -> String {
    if n == 1 { "1 picture was".into() } else { format!("{n} pictures were") }
}

/// Lists the names of files: of more than two pictures, the first and the last.
fn file_names(files: &[PathBuf]) -> Option<String> {
    let name = |path: &&PathBuf| path.file_name().unwrap_or(Path::new("").as_os_str()).display().to_string();
    let (pages, pictures): (Vec<_>, Vec<_>) = files.iter().partition(is_page);
    let mut names: Vec<String> = match &pictures[..] {
        [first, _, .., last] => vec![format!("{} to {}", name(first), name(last))],
        few => few.iter().map(name).collect(),
    };
    names.extend(pages.iter().map(name));
    (!names.is_empty()).then(|| listed(&names))
}

/// Returns whether a file is an HTML page.
fn is_page(path: &&PathBuf) -> bool {
    path.extension().is_some_and(|extension| extension == "html")
}
