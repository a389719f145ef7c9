//! `--report`: what became of each picture, as JSON.

use super::worker::Rendered;
use crate::files::atomic::{self, folder_of};
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

/// A report that is being written, or none: it appears as a whole, at the end.
pub struct Report(Option<Open>);

struct Open {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    is_first: bool,
    /// Whether it takes the place of the last one.
    replaces: bool,
    /// Whether there are pictures that it does not know.
    lacks_some: bool,
}

impl Report {
    /// Whether one may be where it is wanted; nothing is written.
    ///
    /// # Errors
    /// When there is something that it must not replace.
    pub fn look(job: &Job) -> Result<()> {
        let Some(path) = &job.output.report else { return Ok(()) };
        // Whatever it is: a file, a folder, a device.
        let is_free = fs::symlink_metadata(path).is_err() || job.run.resume && pictures(path).is_some();
        ensure!(is_free, "{}: it is there already; name another", cannot(path));
        ensure!(path.file_name().is_some(), "{}: that is not a file name", cannot(path));
        Ok(())
    }

    /// The same, and whether it can be written there.
    pub fn check(job: &Job) -> Result<()> {
        Self::look(job)?;
        let Some(path) = &job.output.report else { return Ok(()) };
        let folder = folder_of(path);
        let will_be = || Ok::<_, Error>(absolute(&job.output.outdir)?.starts_with(absolute(folder)?));
        // OUTDIR comes later, and the folders that it is in.
        if !folder.exists() && will_be().with_context(|| cannot(path))? {
            return Ok(());
        }
        begun(path).map(drop)
    }

    /// Of a run that goes on, it says also what the last report said of pictures that are `finished`. run: its id.
    /// n_finished: how many of them are this process's.
    ///
    /// # Errors
    /// When a report is wanted where none can be written, or where that of another run is.
    pub fn begin(job: &Job, run: &str, finished: &HashSet<usize>, n_finished: usize) -> Result<Self> {
        let Some(path) = &job.output.report else { return Ok(Self(None)) };
        let last = pictures(path).filter(|_| job.run.resume);
        let is_ours = last.as_ref().is_none_or(|(whose, _)| whose == run);
        ensure!(is_ours, "{}: what is there is not of this run; name another", cannot(path));
        let last = last.map(|(_, pictures)| pictures);
        let mut file = BufWriter::new(begun(path)?);
        write!(file, "{{\"run\": \"{run}\", \"pictures\": [").with_context(|| cannot(path))?;
        let replaces = last.is_some();
        let number = |picture: &Value| picture["number"].as_u64().map(|number| number as usize);
        // What is drawn again is told of again.
        let mut kept = last.unwrap_or_default();
        kept.retain(|picture| number(picture).is_some_and(|number| finished.contains(&number)));
        // After some ends there is no last report.
        let lacks_some = kept.len() < n_finished;
        let mut open = Open { path: path.clone(), file, is_first: true, replaces, lacks_some };
        kept.iter().try_for_each(|picture| open.add(picture))?;
        Ok(Self(Some(open)))
    }

    /// Adds a picture. file: where it is, if it was saved.
    pub fn add(&mut self, drawn: &Rendered, file: Option<&Path>, verdict: Option<&Verdict>) -> Result<()> {
        match &mut self.0 {
            Some(open) => open.add(&entry(drawn, file, verdict)),
            None => Ok(()),
        }
    }

    /// The file gets its name, or one like it, if that was taken meanwhile. is_finished: whether all pictures were drawn
    /// that were asked for.
    pub fn end(self, is_finished: bool, progress: &Progress) -> Result<()> {
        let Some(Open { path, mut file, replaces, lacks_some, .. }) = self.0 else { return Ok(()) };
        writeln!(file, "\n], \"finished\": {}}}", is_finished && !lacks_some).with_context(|| cannot(&path))?;
        let file = file.into_inner().map_err(|error| error.into_error()).with_context(|| cannot(&path))?;
        atomic::sync(file.as_file()).with_context(|| cannot(&path))?;
        let put = if replaces { atomic::persist_replacing(file, &path) } else { put(file, &path, progress) };
        put.with_context(|| cannot(&path))
    }
}

impl Open {
    fn add(&mut self, picture: &Value) -> Result<()> {
        let separator = if self.is_first { "\n" } else { ",\n" };
        self.is_first = false;
        write!(self.file, "{separator}{picture}").with_context(|| cannot(&self.path))
    }
}

/// Gives a report its name, or the first free one of those with -2, -3, … added.
fn put(mut file: NamedTempFile, path: &Path, progress: &Progress) -> io::Result<()> {
    let mut name = path.to_owned();
    let mut n = 1;
    while let Some(taken) = atomic::persist_new(file, &name)? {
        (file, n) = (taken, n + 1);
        name = suffixed(path, &format!("-{n}"));
    }
    if n > 1 {
        let (path, name) = (path.display(), name.display());
        progress.note(&format!("'{path}' was created meanwhile; the report was written to '{name}'"));
    }
    Ok(())
}

fn begun(path: &Path) -> Result<NamedTempFile> {
    let folder = folder_of(path);
    let shown = folder.display();
    ensure!(folder.exists(), "{}: the folder '{shown}' is missing; create it, or name another file", cannot(path));
    ensure!(folder.is_dir(), "{}: '{shown}' is a file, not a folder; name another", cannot(path));
    // Without the name of the unfinished file, which an error of that file has in it.
    atomic::create_locked_temporary(folder).map_err(|error| anyhow!("{}: {}", cannot(path), reason(&error)))
}

/// What the system says of an error.
fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or(error.kind().to_string(), |code| io::Error::from_raw_os_error(code).to_string())
}

/// Of which run a report of ours is, and what it says, if the file is one.
fn pictures(path: &Path) -> Option<(Value, Vec<Value>)> {
    let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    let mut report: Value = serde_json::from_slice(&is_file.then(|| fs::read(path))?.ok()?).ok()?;
    report.get("finished")?.as_bool()?;
    match report.get_mut("pictures")?.take() {
        Value::Array(pictures) => Some((report["run"].take(), pictures)),
        _ => None,
    }
}

fn entry(drawn: &Rendered, file: Option<&Path>, verdict: Option<&Verdict>) -> Value {
    let [sampling, decoding] = drawn.seconds;
    json!({
        "file": file.map(|file| file.display().to_string()),
        "number": drawn.number,
        "record": drawn.record,
        "seconds": { "sampling_the_batch": sampling, "decoding": decoding },
        "safety": verdict.map(|verdict| json!({
            "flagged": verdict.flagged,
            "concepts": verdict.concepts,
            "special_care": verdict.special_care,
        })),
        "not_numbers_from": drawn.non_finite.map(|stage| stage.to_string()),
    })
}

fn cannot(path: &Path) -> String {
    format!("cannot write the report '{}'", path.display())
}
