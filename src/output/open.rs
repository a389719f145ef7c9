//! Reading picture files: PNG, JPEG and WebP.

use super::Picture;
use anyhow::{Error, Result, anyhow, ensure};
use image::{ImageError, ImageReader};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

/// Reads a PNG, JPEG or WebP file. The format is detected from its first bytes.
///
/// # Errors
/// If the file cannot be read, has another format, or is damaged.
pub fn open(path: &Path) -> Result<Picture> {
    file(path).map_err(|error| anyhow!("'{}' {error}", path.display()))
}

/// Decodes the bytes of a PNG, JPEG or WebP file.
///
/// # Errors
/// If the bytes have another format, or are damaged.
pub fn decode(bytes: &[u8]) -> Result<Picture> {
    read(Cursor::new(bytes)).map_err(|error| anyhow!("a picture {error}"))
}

fn file(path: &Path) -> Result<Picture> {
    let unreadable = |error| anyhow!("cannot be read: {error}");
    // Checked before opening, which would block on a pipe.
    ensure!(fs::metadata(path).map_err(unreadable)?.is_file(), "is not a file; give a picture");
    read(BufReader::new(File::open(path).map_err(unreadable)?))
}

fn read(from: impl BufRead + Seek) -> Result<Picture> {
    let unreadable = |error| anyhow!("cannot be read: {error}");
    let rgb = ImageReader::new(from).with_guessed_format().map_err(unreadable)?.decode().map_err(unfit)?.into_rgb8();
    Ok(Picture { width: rgb.width() as usize, height: rgb.height() as usize, rgb: rgb.into_raw() })
}

fn unfit(error: ImageError) -> Error {
    match error {
        ImageError::Unsupported(_) => anyhow!("is not a readable picture; give a PNG, JPEG or WebP file"),
        ImageError::Limits(_) => anyhow!("is too large"),
        error => anyhow!("is a damaged picture ({})", error.to_string().lines().next().unwrap_or_default()),
    }
}
