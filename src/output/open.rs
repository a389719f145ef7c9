//! Reading picture files: PNG, JPEG and WebP.

use super::Picture;
use anyhow::{Error, Result, anyhow, ensure};
use image::{ImageError, ImageFormat, ImageReader};
use mozjpeg::{ColorSpace, Decompress};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Seek};
use std::panic::catch_unwind;
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

fn read(mut from: impl BufRead + Seek) -> Result<Picture> {
    let unreadable = |error| anyhow!("cannot be read: {error}");
    let reader = ImageReader::new(&mut from).with_guessed_format().map_err(unreadable)?;
    let format = reader.format();
    let rgb = reader.decode().map_err(unfit)?.into_rgb8();
    let mut picture = Picture { width: rgb.width() as usize, height: rgb.height() as usize, rgb: rgb.into_raw() };
    if format == Some(ImageFormat::Jpeg) {
        let mut bytes = vec![];
        from.rewind().and_then(|()| from.read_to_end(&mut bytes)).map_err(unreadable)?;
        let exact = jpeg(&bytes).filter(|rgb| rgb.len() == picture.rgb.len());
        exact.into_iter().for_each(|rgb| picture.rgb = rgb);
    }
    Ok(picture)
}

/// Decodes a JPEG file as libjpeg does: 3 · width · height levels. Returns `None` if libjpeg cannot convert it to RGB, as if
/// it is in CMYK.
fn jpeg(bytes: &[u8]) -> Option<Vec<u8>> {
    let decode = || -> io::Result<Vec<u8>> {
        let image = Decompress::new_mem(bytes)?;
        if matches!(image.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut rows = image.rgb()?;
        let rgb: Vec<[u8; 3]> = rows.read_scanlines()?;
        rows.finish()?;
        Ok(rgb.into_flattened())
    };
    // Errors of libjpeg come as panics, which print nothing.
    catch_unwind(decode).ok()?.ok()
}

fn unfit(error: ImageError) -> Error {
    match error {
        ImageError::Unsupported(_) => anyhow!("is not a readable picture; give a PNG, JPEG or WebP file"),
        ImageError::Limits(_) => anyhow!("is too large"),
        error => anyhow!("is a damaged picture ({})", error.to_string().lines().next().unwrap_or_default()),
    }
}
