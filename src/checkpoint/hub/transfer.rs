//! One file's bytes: fetched in as many parts as it takes, then checked.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, ensure};
use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::client::{About, Client};
use super::shelf::cannot_write;
use super::trouble::Trouble;
use crate::files::sha256;
use crate::interrupt::{self, Interrupted};

/// Tries in a row that bring nothing.
const MOST_VAIN_TRIES: usize = 3;

/// Between two tries, and two looks at a lock.
const PAUSE: Duration = Duration::from_millis(500);

/// Read at a time, in bytes.
const PIECE: usize = 1 << 18;

/// A file on its way.
pub(super) struct Transfer<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) url: &'a str,
    pub(super) about: &'a About,
}

impl Transfer<'_> {
    /// Fetches the file to `blob`, unless it is there; `report` is told how many bytes there are so far. Its
    /// lock comes back: while that is open, other programs leave the blob alone.
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

    /// Fetches what is missing, however often the connection breaks.
    fn fill(&self, part: &Path, report: &mut dyn FnMut(u64)) -> Result<()> {
        let mut vain = 0;
        loop {
            let before = length(part);
            let Err(error) = self.go_on(part, report) else { return Ok(()) };
            interrupt::check()?;
            vain = if length(part) > before { 0 } else { vain + 1 };
            let is_brief = error.downcast_ref().is_some_and(Trouble::is_brief);
            if !is_brief || vain == MOST_VAIN_TRIES {
                return Err(error);
            }
            sleep(PAUSE);
        }
    }

    /// One request, from the end of what is there.
    fn go_on(&self, part: &Path, report: &mut dyn FnMut(u64)) -> Result<()> {
        let file = open(part)?;
        let mut done = length(part);
        if self.about.size.is_none_or(|size| done > size) {
            done = 0;
        } else if self.about.size == Some(done) {
            return Ok(());
        }
        let response = self.client.bytes(self.url, done).inspect_err(|trouble| {
            if trouble.is_past_the_end() {
                let _ = file.set_len(0);
            }
        })?;
        done = if continues(&response, done)? { done } else { 0 };
        if length(part) > done {
            file.set_len(done).with_context(|| cannot_write(part))?;
        }
        self.copy(response, file, done, &mut |done| report(done)).map_err(|error| full(error, part))
    }

    fn copy(&self, response: Response<Body>, mut file: File, start: u64, report: &mut dyn FnMut(u64)) -> Result<()> {
        let mut body = response.into_body().into_reader();
        let mut piece = vec![0; PIECE];
        let mut done = start;
        report(done);
        loop {
            interrupt::check()?;
            let n = body.read(&mut piece).map_err(|error| Trouble::from(ureq::Error::from(error)))?;
            if n == 0 {
                break;
            }
            file.write_all(&piece[..n])?;
            done += n as u64;
            report(done);
        }
        let is_short = self.about.size.is_some_and(|size| done < size);
        ensure!(!is_short, Trouble::Broken("it ended too early".into()));
        Ok(())
    }

    /// Deletes what is not what the hub announced.
    fn check(&self, part: &Path) -> Result<()> {
        let About { etag, size, .. } = self.about;
        let fault = match size.filter(|size| *size != length(part)) {
            Some(size) => Some(format!("has {} bytes instead of {size}", length(part))),
            // A short name is git's, which also hashes other things.
            None if etag.len() != 64 => None,
            None => Some(sha256::of_file(part, &|| interrupt::check().is_ok())?.ok_or(Interrupted)?)
                .filter(|sum| *sum != etag.to_ascii_lowercase())
                .map(|sum| format!("has the sha256 {sum} instead of {etag}")),
        };
        let Some(fault) = fault else { return Ok(()) };
        fs::remove_file(part).with_context(|| cannot_write(part))?;
        Err(anyhow!("what came from {} {fault} and was deleted; try again", self.url))
    }
}

/// Waits until no other program fetches the same.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| cannot_write(path))?;
    // Some network drives have no locks: better to go on.
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

/// Whether an answer starts where it was asked to, and not at the file's start.
fn continues(response: &Response<Body>, done: u64) -> Result<bool, Trouble> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(false);
    }
    let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
    let is_next = range.is_some_and(|range| range.starts_with(&format!("bytes {done}-")));
    if is_next { Ok(true) } else { Err(Trouble::Strange("other bytes than those asked for".into())) }
}

/// Errors of the disk get the file's name; others have what they need.
fn full(error: Error, part: &Path) -> Error {
    match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            let folder = part.parent().unwrap_or(part).display();
            anyhow!("the disk of '{folder}' is full; make room, or set HF_HOME to a folder on another disk")
        }
        Some(_) => error.context(cannot_write(part)),
        None => error,
    }
}
