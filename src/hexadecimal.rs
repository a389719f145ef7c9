//! Hexadecimal digests.

use sha2::{Digest, Sha256};

/// Returns a SHA-256 digest as 64 lower-case hexadecimal digits.
pub fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
