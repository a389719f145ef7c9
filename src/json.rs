//! Reads small JSON files.

use anyhow::{Result, ensure};
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The maximum size of a file in bytes. Configs of models have a few KiB; the limit protects from endless files such as
/// /dev/zero.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a JSON file.
///
/// # Errors
/// If the file cannot be read, is not a file, is larger than 1 MiB, or is not valid JSON of type `T`.
pub(crate) fn read_file<T: DeserializeOwned>(path: &Path) -> Result<T> {
    // Checked before opening, which would block on a pipe.
    ensure!(fs::metadata(path)?.is_file(), "it is not a file");
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    ensure!(text.len() as u64 <= MAX_BYTES, "it has more than {MAX_BYTES} bytes");
    Ok(serde_json::from_str(&text)?)
}
