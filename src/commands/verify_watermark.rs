//! `--verify_watermark`: no drawing, only a look at pictures that are there.

use crate::output;
use crate::txt2img::End;
use anyhow::{Context, Result, bail};
use std::io::{Write, stdout};
use std::path::PathBuf;

/// Says of each picture which watermark it carries, a line each.
///
/// # Errors
/// After all lines, when one of the files cannot be read.
pub fn verify_watermarks(files: &[PathBuf]) -> Result<End> {
    let mut unread = vec![];
    for file in files {
        match output::verify(file) {
            Ok(mark) => writeln!(stdout(), "{}: {mark}", file.display()).context("writing to standard output")?,
            Err(error) => unread.push(format!("{error:#}")),
        }
    }
    if !unread.is_empty() {
        bail!(unread.join("; "));
    }
    Ok(End::Finished)
}
