//! What tells one model from another: sha256, in hexadecimal.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::checkpoint;
use crate::hexadecimal::hexadecimal;

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// Of a file's bytes. Of a diffusers folder: of the lines that `sha256sum` prints of the files its model is read from,
/// sorted by their names within the folder. None if `goes_on`, asked before every piece, says no.
///
/// # Errors
/// When something cannot be read, or the folder holds no model.
pub fn sha256(path: &Path, goes_on: &dyn Fn() -> bool) -> Result<Option<String>> {
    if path.is_dir() { of_folder(path, goes_on) } else { of_file(path, goes_on) }
}

/// Of bytes.
pub fn sha256_of(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

fn of_folder(folder: &Path, goes_on: &dyn Fn() -> bool) -> Result<Option<String>> {
    let files = checkpoint::weight_files(folder);
    let unfit = "holds no weights (unet/, vae/, text_encoder/); give a diffusers folder";
    ensure!(!files.is_empty(), "'{}' {unfit}", folder.display());
    let mut lines = String::new();
    for name in files {
        let Some(sum) = of_file(&folder.join(&name), goes_on)? else { return Ok(None) };
        lines += &format!("{sum}  {name}\n");
    }
    Ok(Some(sha256_of(lines.as_bytes())))
}

fn of_file(path: &Path, goes_on: &dyn Fn() -> bool) -> Result<Option<String>> {
    let cannot = || format!("cannot read '{}'", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE]);
    while goes_on() {
        match file.read(&mut piece).with_context(cannot)? {
            0 => return Ok(Some(hexadecimal(hash))),
            n => hash.update(&piece[..n]),
        }
    }
    Ok(None)
}
