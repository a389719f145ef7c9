//! `--report`: what became of each picture, as JSON.

use super::run::Drawn;
use crate::job::Job;
use crate::output;
use crate::safety::Verdict;
use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A report that is being written, or none: it appears as a whole, at the end.
pub struct Report(Option<Open>);

struct Open {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    is_first: bool,
}

impl Report {
    /// # Errors
    /// When a report is wanted where none can be written.
    pub fn begin(job: &Job) -> Result<Self> {
        let Some(path) = &job.report else { return Ok(Self(None)) };
        // Whatever it is: a file, a folder, a device.
        ensure!(fs::symlink_metadata(path).is_err(), "{}: it is there already; name another", cannot(path));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = output::unfinished(folder).map_err(|error| anyhow!("{}: {}", cannot(path), error.kind()))?;
        let mut file = BufWriter::new(file);
        file.write_all(b"{\"pictures\": [").with_context(|| cannot(path))?;
        Ok(Self(Some(Open { path: path.clone(), file, is_first: true })))
    }

    /// Adds a picture. file: where it is, if it was saved.
    pub fn add(&mut self, drawn: &Drawn, file: Option<&Path>, verdict: Option<&Verdict>) -> Result<()> {
        let Some(open) = &mut self.0 else { return Ok(()) };
        let separator = if open.is_first { "\n" } else { ",\n" };
        open.is_first = false;
        let entry = entry(drawn, file, verdict);
        write!(open.file, "{separator}{entry}").with_context(|| cannot(&open.path))
    }

    /// The file gets its name. is_finished: whether all pictures are in it that were asked for.
    pub fn end(self, is_finished: bool) -> Result<()> {
        let Some(Open { path, mut file, .. }) = self.0 else { return Ok(()) };
        writeln!(file, "\n], \"finished\": {is_finished}}}").with_context(|| cannot(&path))?;
        let file = file.into_inner().map_err(|error| error.into_error()).with_context(|| cannot(&path))?;
        file.persist_noclobber(&path).map_err(|error| error.error).with_context(|| cannot(&path))?;
        Ok(())
    }
}

fn entry(drawn: &Drawn, file: Option<&Path>, verdict: Option<&Verdict>) -> Value {
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
        "not_numbers_from": drawn.broken.map(|stage| stage.to_string()),
    })
}

fn cannot(path: &Path) -> String {
    format!("cannot write the report '{}'", path.display())
}
