//! `--verify_watermark`: reads the watermarks of existing pictures.

use crate::output;
use crate::terminal;
use crate::txt2img::End;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// Prints a line for each picture with the watermark that it carries.
///
/// # Errors
/// If a file cannot be read, after the lines of all others.
pub fn verify_watermarks(files: &[PathBuf]) -> Result<End> {
    let mut errors = vec![];
    for file in files {
        match output::verify(file) {
            Ok(mark) => terminal::write_results(format!("{}: {mark}\n", file.display()).as_bytes())?,
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    if !errors.is_empty() {
        bail!(errors.join("; "));
    }
    Ok(End::Finished)
}
