//! Atomic files, hashes, and the capabilities of file systems.
//!
//! [`sha256`] hashes files and bytes, and `hash_cache` keeps the hashes of large files between runs; `atomic` creates files that appear whole or not at all, and [`FileSystem`] detects
//! what a file system supports of that.

pub(crate) mod atomic;
mod file_system;
pub(crate) mod hash_cache;
pub mod sha256;

pub use file_system::FileSystem;

use std::env;
use std::path::PathBuf;

/// Returns the user's cache folder: `XDG_CACHE_HOME`, or `.cache` in the home folder.
pub(crate) fn user_cache() -> Option<PathBuf> {
    let set = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    set.or_else(|| Some(env::home_dir()?.join(".cache")))
}
