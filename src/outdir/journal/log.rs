//! The file of a journal: complete lines, appended and synced one at a time.

use super::record::LogRecord;
use crate::files::atomic::{sync, sync_folder};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

/// The beginnings of all lines.
const BEGINNINGS: [&[u8]; 5] = [br#"{"begun":"#, br#"{"of":"#, br#"{"promised":"#, br#"{"done":"#, br#"{"ended":"#];

/// Opens a journal for reading and appending, and creates it if it is missing.
///
/// # Errors
/// If the path is not a regular file, or the file cannot be created or opened.
pub fn open(path: &Path) -> Result<File> {
    // Opening a pipe would block, and a link may lead anywhere.
    let is_file = path.symlink_metadata().map_or(true, |metadata| metadata.is_file());
    ensure!(is_file, "'{}' is not a file; move it away or choose another --outdir", path.display());
    let file =
        OpenOptions::new().create(true).append(true).read(true).open(path).with_context(|| cannot_write(path))?;
    sync_folder(path).with_context(|| cannot_write(path))?;
    Ok(file)
}

/// Appends a record to the journal `path`, open as `file`, and flushes it to disk.
///
/// # Errors
/// If the disk fails or is full.
pub fn append(path: &Path, file: &mut File, record: &LogRecord) -> Result<()> {
    let mut append = || -> Result<()> {
        let mut line = serde_json::to_string(record)?;
        line.push('\n');
        file.write_all(line.as_bytes())?;
        Ok(sync(file)?)
    };
    append().with_context(|| cannot_write(path))
}

/// Returns the bytes of a journal, none if it is missing.
///
/// # Errors
/// If it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(missing) if missing.kind() == ErrorKind::NotFound => Ok(vec![]),
        text => text.with_context(|| format!("cannot read '{}'", path.display())),
    }
}

/// Parses the complete lines of a journal. A torn line at the end is ignored.
///
/// # Errors
/// If a line is not a record.
pub fn records(text: &[u8]) -> impl Iterator<Item = serde_json::Result<LogRecord>> {
    text[..complete(text)].split_inclusive(|byte| *byte == b'\n').map(serde_json::from_slice)
}

/// Cuts off the line at the end of a journal that was torn by a kill or a power cut, once all other lines are known to
/// be records and the torn one begins like a record. `file` must be locked exclusively.
///
/// # Errors
/// If the file is not a journal, which leaves it unchanged, or cannot be read or cut.
pub fn truncate_torn_line(path: &Path, file: &File) -> Result<()> {
    let text = fs::read(path)?;
    let (lines, torn) = text.split_at(complete(&text));
    if torn.is_empty() {
        return Ok(());
    }
    records(lines).try_for_each(|record| record.map(drop)).with_context(|| not_a_journal(path))?;
    let begins_as_a_record =
        BEGINNINGS.iter().any(|beginning| torn.starts_with(beginning) || beginning.starts_with(torn));
    // After a power cut, bytes that did not reach the disk may read as zeros.
    let is_blank = torn.iter().all(|byte| *byte == 0);
    ensure!(is_blank || begins_as_a_record, "{}", not_a_journal(path));
    Ok(file.set_len(lines.len() as u64)?)
}

/// Returns the error of a file that is not a journal.
pub fn not_a_journal(path: &Path) -> String {
    format!("'{}' is not a run journal of txt2img; move it away or choose another --outdir", path.display())
}

/// Returns the error of a journal that cannot be written.
pub fn cannot_write(path: &Path) -> String {
    format!("cannot write '{}'", path.display())
}

/// Returns the number of bytes in complete lines.
fn complete(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1)
}
