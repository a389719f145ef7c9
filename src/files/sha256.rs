//! SHA-256 of files and bytes, as 64 lower-case hexadecimal digits.

use anyhow::{Context, Result};
use ring::digest::{Context as Digest, SHA256};
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
            0 => return Ok(Some(hash.finish())),
            n => hash.update(&chunk[..n]),
        }
    }
    Ok(None)
}

/// Returns the SHA-256 of bytes.
pub fn of_bytes(bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hash.finish()
}

/// The SHA-256 of bytes that are given one part after another.
pub(crate) struct Sha256(Digest);

impl Sha256 {
    pub fn new() -> Self {
        Self(Digest::new(&SHA256))
    }

    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes.as_ref());
    }

    pub fn finish(self) -> String {
        self.0.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standard() {
        // FIPS 180-2, appendix B.1, and the empty message.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_bytes(b"abc"), abc);
        assert_eq!(of_bytes(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let mut parts = Sha256::new();
        ["a", "", "bc"].iter().for_each(|part| parts.update(part));
        assert_eq!(parts.finish(), abc);
    }
}
