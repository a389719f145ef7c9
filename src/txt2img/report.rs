//! `--report`: the file, settings, timings and safety result of each picture, as JSON.

use super::worker::{Comparison, Rendered};
use crate::files::atomic::{self, folder_of};
use crate::human::counted;
use crate::job::Job;
use crate::outdir::suffixed;
use crate::progress::Progress;
use crate::safety::Verdict;
use anyhow::{Context, Error, Result, anyhow, ensure};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf, absolute};
use tempfile::NamedTempFile;

/// The report of a run, if it has one. It gets its name when it is complete.
pub struct Report(Option<Open>);

/// A report under its temporary name.
struct Open {
    /// The path that it will get.
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    /// Whether it has no entries yet.
    is_empty: bool,
    /// Whether it replaces that of an earlier process of the run.
    replaces: bool,
    /// Whether it lacks entries of finished pictures.
    is_incomplete: bool,
}

impl Report {
    /// Checks that the report's path is free, or has a report that may be replaced, without writing anything.
    ///
    /// # Errors
    /// If there is anything else, or the path does not name a file.
    pub fn check_free(job: &Job) -> Result<()> {
        let Some(path) = &job.output.report else { return Ok(()) };
        // A file, a folder, a device or a link, even a broken one.
        let is_free = fs::symlink_metadata(path).is_err() || job.run.resume && read_report(path).is_some();
        ensure!(is_free, "{}: it exists already; name another", cannot(path));
        ensure!(path.file_name().is_some(), "{}: that is not a file name", cannot(path));
        Ok(())
    }

    /// Checks like [`Self::check_free`], and that the report can be written.
    ///
    /// # Errors
    /// If the report cannot be written.
    pub fn check(job: &Job) -> Result<()> {
        Self::check_free(job)?;
        let Some(path) = &job.output.report else { return Ok(()) };
        let folder = folder_of(path);
        let is_in_outdir = || Ok::<_, Error>(absolute(&job.output.outdir)?.starts_with(absolute(folder)?));
        // OUTDIR is created later, with the folders above it.
        if !folder.exists() && is_in_outdir().with_context(|| cannot(path))? {
            return Ok(());
        }
        create_temporary(path).map(drop)
    }

    /// Creates the report of the run with the ID `run`. When resuming, entries of `finished` pictures are copied from the
    /// previous report; `n_finished`: the number of those that belong to this process. Adds a note if some have no entries.
    ///
    /// # Errors
    /// If the report cannot be written, or one of another run is in its place.
    pub fn create(
        job: &Job,
        run: &str,
        finished: &HashSet<usize>,
        n_finished: usize,
        progress: &Progress,
    ) -> Result<Self> {
        let Some(path) = &job.output.report else { return Ok(Self(None)) };
        let previous = read_report(path).filter(|_| job.run.resume);
        let is_ours = previous.as_ref().is_none_or(|(id, _)| id == run);
        ensure!(is_ours, "{}: the report there belongs to a different run; name another file", cannot(path));
        let previous = previous.map(|(_, pictures)| pictures);
        let mut file = BufWriter::new(create_temporary(path)?);
        write!(file, "{{\"run\": \"{run}\", \"pictures\": [").with_context(|| cannot(path))?;
        let replaces = previous.is_some();
        let number = |picture: &Value| picture["number"].as_u64().map(|number| number as usize);
        // Pictures that are drawn again get new entries.
        let mut copied = previous.unwrap_or_default();
        copied.retain(|picture| number(picture).is_some_and(|number| finished.contains(&number)));
        // A process that was killed leaves no report.
        let is_incomplete = copied.len() < n_finished;
        if is_incomplete {
            let n = counted(n_finished - copied.len(), "picture");
            let path = path.display();
            progress.note(&format!(
                "the report '{path}' will lack {n} that an earlier process saved, and not count as finished"
            ));
        }
        let mut open = Open { path: path.clone(), file, is_empty: true, replaces, is_incomplete };
        copied.iter().try_for_each(|picture| open.add(picture))?;
        Ok(Self(Some(open)))
    }

    /// Adds the entry of a picture. `file`: its path, if it was saved.
    ///
    /// # Errors
    /// If the report cannot be written.
    pub fn add(&mut self, rendered: &Rendered, file: Option<&Path>, verdict: Option<&Verdict>) -> Result<()> {
        match &mut self.0 {
            Some(open) => open.add(&entry(rendered, file, verdict)),
            None => Ok(()),
        }
    }

    /// Completes the report and gives it its name, or a similar one if that was taken meanwhile. `is_finished`: whether all
    /// pictures of this process were drawn.
    ///
    /// # Errors
    /// If the report cannot be written.
    pub fn end(self, is_finished: bool, progress: &Progress) -> Result<()> {
        let Some(Open { path, mut file, replaces, is_incomplete, .. }) = self.0 else { return Ok(()) };
        writeln!(file, "\n], \"finished\": {}}}", is_finished && !is_incomplete).with_context(|| cannot(&path))?;
        let file = file.into_inner().map_err(|error| error.into_error()).with_context(|| cannot(&path))?;
        atomic::sync(file.as_file()).with_context(|| cannot(&path))?;
        let persisted = if replaces { atomic::persist_replacing(file, &path) } else { persist(file, &path, progress) };
        persisted.with_context(|| cannot(&path))
    }
}

impl Open {
    fn add(&mut self, picture: &Value) -> Result<()> {
        let separator = if self.is_empty { "\n" } else { ",\n" };
        self.is_empty = false;
        write!(self.file, "{separator}{picture}").with_context(|| cannot(&self.path))
    }
}

/// Renames a report to `path`, or to the first free name with -2, -3, … added.
fn persist(mut file: NamedTempFile, path: &Path, progress: &Progress) -> io::Result<()> {
    let mut name = path.to_owned();
    let mut n = 1;
    while let Some(unnamed) = atomic::persist_new(file, &name)? {
        (file, n) = (unnamed, n + 1);
        name = suffixed(path, &format!("-{n}"));
    }
    if n > 1 {
        let (path, name) = (path.display(), name.display());
        progress.note(&format!("'{path}' was created meanwhile; the report was written to '{name}'"));
    }
    Ok(())
}

/// Creates the temporary file of a report.
fn create_temporary(path: &Path) -> Result<NamedTempFile> {
    let folder = folder_of(path);
    let shown = folder.display();
    ensure!(folder.exists(), "{}: the folder '{shown}' is missing; create it, or name another file", cannot(path));
    ensure!(folder.is_dir(), "{}: '{shown}' is a file, not a folder; name another", cannot(path));
    // The error itself names the temporary file, which means nothing to the user.
    atomic::create_locked_temporary(folder).map_err(|error| anyhow!("{}: {}", cannot(path), reason(&error)))
}

/// Returns the operating system's message of an error.
fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or(error.kind().to_string(), |code| io::Error::from_raw_os_error(code).to_string())
}

/// Returns the ID of the run and the entries of a report, or `None` if the file is not a report.
fn read_report(path: &Path) -> Option<(Value, Vec<Value>)> {
    let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    let mut report: Value = serde_json::from_slice(&is_file.then(|| fs::read(path))?.ok()?).ok()?;
    report.get("finished")?.as_bool()?;
    match report.get_mut("pictures")?.take() {
        Value::Array(pictures) => Some((report["run"].take(), pictures)),
        _ => None,
    }
}

/// Returns the entry of a picture.
fn entry(rendered: &Rendered, file: Option<&Path>, verdict: Option<&Verdict>) -> Value {
    let [sampling, decoding] = rendered.seconds;
    json!({
        "file": file.map(|file| file.display().to_string()),
        "number": rendered.number,
        "record": rendered.record,
        "seconds": { "sampling_the_batch": sampling, "decoding": decoding },
        "safety": verdict.map(|verdict| json!({
            "flagged": verdict.flagged,
            "concepts": verdict.concepts,
            "special_care": verdict.special_care,
        })),
        "not_numbers_from": rendered.non_finite.map(|stage| stage.to_string()),
        "compared_with_exact": rendered.comparison.as_ref().map(|Comparison { distance, seconds: [sampling, decoding] }| json!({
            // JSON has no infinity, which equal pictures have.
            "psnr": distance.psnr.is_finite().then_some(distance.psnr),
            "ssim": distance.ssim,
            "seconds": { "sampling_the_batch": sampling, "decoding": decoding },
        })),
    })
}

/// Returns the start of error messages.
fn cannot(path: &Path) -> String {
    format!("cannot write the report '{}'", path.display())
}
