//! The SHA-256 of a model.

use super::weight_files;
use crate::files::hash_cache::HashCache;
use crate::files::sha256;
use anyhow::{Result, ensure};
use std::path::Path;

/// Returns the SHA-256 of a model, or `None` if `keep_going`, called before each chunk of 1 MiB, returns `false`. The hashes of
/// large files are kept in the user's cache folder.
///
/// The hash of a file is that of its bytes. The hash of a diffusers folder is that of the lines `sha256sum` prints for the
/// files the model is read from, sorted by their names within the folder.
///
/// # Errors
/// If a file cannot be read, or the folder holds no weights.
pub fn model_sha256(path: &Path, keep_going: &dyn Fn() -> bool) -> Result<Option<String>> {
    let cache = HashCache::of_user();
    if path.is_dir() { of_folder(path, &cache, keep_going) } else { cache.of_file(path, keep_going) }
}

fn of_folder(folder: &Path, cache: &HashCache, keep_going: &dyn Fn() -> bool) -> Result<Option<String>> {
    let files = weight_files(folder);
    let no_weights = "holds no weights (unet/, vae/, text_encoder/); give a diffusers folder";
    ensure!(!files.is_empty(), "'{}' {no_weights}", folder.display());
    let mut lines = String::new();
    for name in files {
        let Some(sum) = cache.of_file(&folder.join(&name), keep_going)? else { return Ok(None) };
        lines += &format!("{sum}  {name}\n");
    }
    Ok(Some(sha256::of_bytes(lines.as_bytes())))
}
