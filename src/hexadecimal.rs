//! Hashes as people compare them.

use sha2::{Digest, Sha256};

/// The digits of a sha256.
pub fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
