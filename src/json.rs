//! Small JSON files.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Result, ensure};
use serde::de::DeserializeOwned;

/// The largest file that is read. The configs of models have a few KiB; /dev/zero has no end.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a JSON file.
///
/// # Errors
/// If it cannot be read, is not a file, is larger than 1 MiB, or is not valid JSON of this type.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    // Asked before opening, which would wait at a pipe.
    ensure!(fs::metadata(path)?.is_file(), "it is not a file");
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    ensure!(text.len() as u64 <= MAX_BYTES, "it has more than {MAX_BYTES} bytes");
    Ok(serde_json::from_str(&text)?)
}
