//! SHA-256 of files and bytes, as 64 lower-case hexadecimal digits.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The number of bytes read at a time.
const CHUNK: usize = 1 << 20;

/// Returns the SHA-256 of a file, or `None` if `keep_going`, called before each chunk of 1 MiB, returns `false`.
///
/// # Errors
/// If the file cannot be opened or read.
pub fn of_file(path: &Path, keep_going: &dyn Fn() -> bool) -> Result<Option<String>> {
    of_file_from(path, 0, keep_going)
}

/// Returns the SHA-256 of a file without its first `start` bytes, as [`of_file`] does.
///
/// # Errors
/// If the file cannot be opened or read.
pub(crate) fn of_file_from(path: &Path, start: u64, keep_going: &dyn Fn() -> bool) -> Result<Option<String>> {
    let cannot = || format!("cannot read '{}'", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    file.seek(SeekFrom::Start(start)).with_context(cannot)?;
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    while keep_going() {
        match file.read(&mut chunk).with_context(cannot)? {
            0 => return Ok(Some(hex(hash))),
            n => hash.update(&chunk[..n]),
        }
    }
    Ok(None)
}

/// Returns the SHA-256 of bytes.
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// Finishes a hash and returns it in hexadecimal.
pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
