//! The download of one file: resumed as often as the connection breaks, then verified.

use super::client::{Client, FileMeta};
use super::error::HubError;
use super::repo_cache::cannot_write;
use crate::files::sha256;
use crate::interrupt::{self, Interrupted};
use anyhow::{Context, Error, Result, anyhow, ensure};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use ureq::Body;
use ureq::http::{Response, StatusCode};

/// The number of consecutive tries without progress after which the download fails.
const MAX_VAIN_TRIES: usize = 3;

/// The pause between tries, and between attempts to lock a file.
const PAUSE: Duration = Duration::from_millis(500);

/// The number of bytes to read at a time.
const BUFFER: usize = 1 << 18;

/// The download of a file.
pub(super) struct Transfer<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) url: &'a str,
    pub(super) meta: &'a FileMeta,
}

impl Transfer<'_> {
    /// Downloads the file to `blob`, unless that exists. Calls `report` with the number of bytes so far. Returns the
    /// lock of the blob: while it is open, other programs leave the blob alone.
    ///
    /// # Errors
    /// If the download fails or does not match its metadata, the disk cannot be written, or after Ctrl-C.
    pub(super) fn run(&self, blob: &Path, report: &mut dyn FnMut(u64)) -> Result<File> {
        let lock = lock(&blob.with_extension("lock"))?;
        if blob.exists() {
            return Ok(lock);
        }
        let part = blob.with_extension("part");
        self.fill(&part, report)?;
        self.check(&part)?;
        fs::rename(&part, blob).with_context(|| cannot_write(blob))?;
        Ok(lock)
    }

    /// Downloads the missing bytes, and retries when the connection breaks.
    fn fill(&self, part: &Path, report: &mut dyn FnMut(u64)) -> Result<()> {
        let mut vain = 0;
        loop {
            let before = length(part);
            let Err(error) = self.resume(part, report) else { return Ok(()) };
            interrupt::check()?;
            vain = if length(part) > before { 0 } else { vain + 1 };
            let is_retryable = error.downcast_ref().is_some_and(HubError::is_retryable);
            if !is_retryable || vain == MAX_VAIN_TRIES {
                return Err(error);
            }
            sleep(PAUSE);
        }
    }

    /// Requests the file from the end of `part` on.
    fn resume(&self, part: &Path, report: &mut dyn FnMut(u64)) -> Result<()> {
        let file = open(part)?;
        let mut done = length(part);
        if self.meta.size.is_none_or(|size| done > size) {
            done = 0;
        } else if self.meta.size == Some(done) {
            return Ok(());
        }
        let response = self.client.bytes(self.url, done).inspect_err(|error| {
            if error.is_bad_range() {
                let _ = file.set_len(0);
            }
        })?;
        done = if continues(&response, done)? { done } else { 0 };
        if length(part) > done {
            file.set_len(done).with_context(|| cannot_write(part))?;
        }
        self.copy(response, file, done, &mut |done| report(done)).map_err(|error| disk_error(error, part))
    }

    /// Appends the response to the file, which has `start` bytes.
    fn copy(&self, response: Response<Body>, mut file: File, start: u64, report: &mut dyn FnMut(u64)) -> Result<()> {
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER];
        let mut done = start;
        report(done);
        loop {
            interrupt::check()?;
            let n = body.read(&mut buffer).map_err(|error| HubError::from(ureq::Error::from(error)))?;
            if n == 0 {
                break;
            }
            file.write_all(&buffer[..n])?;
            done += n as u64;
            report(done);
        }
        let is_short = self.meta.size.is_some_and(|size| done < size);
        ensure!(!is_short, HubError::Disconnected("it ended too early".into()));
        Ok(())
    }

    /// Checks the size and the SHA-256 of the download, and deletes it if they are wrong.
    fn check(&self, part: &Path) -> Result<()> {
        let FileMeta { etag, size, .. } = self.meta;
        let fault = match size.filter(|size| *size != length(part)) {
            Some(size) => Some(format!("has {} bytes instead of {size}", length(part))),
            // Shorter hashes are git's, which cover more than the contents.
            None if etag.len() != 64 => None,
            None => Some(sha256::of_file(part, &|| interrupt::check().is_ok())?.ok_or(Interrupted)?)
                .filter(|sum| *sum != etag.to_ascii_lowercase())
                .map(|sum| format!("has the sha256 {sum} instead of {etag}")),
        };
        let Some(fault) = fault else { return Ok(()) };
        fs::remove_file(part).with_context(|| cannot_write(part))?;
        Err(anyhow!("the download from {} {fault} and was deleted; try again", self.url))
    }
}

/// Waits until no other program downloads this file, and locks it.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| cannot_write(path))?;
    // Other errors are ignored: some network drives have no locks.
    while let Err(TryLockError::WouldBlock) = file.try_lock() {
        interrupt::check()?;
        sleep(PAUSE);
    }
    Ok(file)
}

fn open(part: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(part).with_context(|| cannot_write(part))
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Returns whether a response starts at byte `done`, and not at the file's start.
fn continues(response: &Response<Body>, done: u64) -> Result<bool, HubError> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(false);
    }
    let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
    let is_next = range.is_some_and(|range| range.starts_with(&format!("bytes {done}-")));
    if is_next { Ok(true) } else { Err(HubError::Invalid("other bytes than requested".into())) }
}

/// Adds the path to an error of the disk. Others stay as they are.
fn disk_error(error: Error, part: &Path) -> Error {
    match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            let folder = part.parent().unwrap_or(part).display();
            anyhow!("the disk of '{folder}' is full; free some space, or set HF_HOME to a folder on another disk")
        }
        Some(_) => error.context(cannot_write(part)),
        None => error,
    }
}
