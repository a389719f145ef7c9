//! Which file it is.

use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// The SHA-256 of all that is read, in lower-case hexadecimal.
///
/// # Errors
/// When reading fails.
pub fn sha256(mut from: impl Read) -> io::Result<String> {
    let (mut hash, mut bytes) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match from.read(&mut bytes)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => hash.update(&bytes[..n]),
        }
    }
}
