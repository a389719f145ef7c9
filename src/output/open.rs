//! Reading picture files: PNG, JPEG and WebP.

use super::Picture;
use anyhow::{Context, Error, Result, anyhow, ensure};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage};
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
    file(path, read).map_err(|error| anyhow!("'{}' {error}", path.display()))
}

/// Reads a PNG, JPEG or WebP file, and turns it upright as its EXIF orientation says.
///
/// # Errors
/// As for [`open`].
pub fn open_upright(path: &Path) -> Result<Picture> {
    upright(open(path)?, path)
}

/// Reads the transparency of a PNG or WebP file, as a picture that is black where the file's is transparent.
///
/// # Errors
/// As for [`open`], or if the file has no transparency.
pub fn open_alpha(path: &Path) -> Result<Picture> {
    file(path, alpha).map_err(|error| anyhow!("'{}' {error}", path.display()))
}

/// Turns a picture read from a file upright as the file's EXIF orientation says.
///
/// # Errors
/// If the file cannot be read.
pub fn upright(picture: Picture, path: &Path) -> Result<Picture> {
    let unreadable = |error| anyhow!("'{}' cannot be read: {error}", path.display());
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(unreadable)?;
    let orientation = reader.into_decoder().and_then(|mut decoder| decoder.orientation());
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let Picture { width, height, rgb } = picture;
    let rgb = RgbImage::from_raw(width as u32, height as u32, rgb).with_context(|| format!("'{}'", path.display()))?;
    let mut image = DynamicImage::from(rgb);
    image.apply_orientation(orientation);
    Ok(picture_of(image))
}

/// Decodes the bytes of a PNG, JPEG or WebP file.
///
/// # Errors
/// If the bytes have another format, or are damaged.
pub fn decode(bytes: &[u8]) -> Result<Picture> {
    read(Cursor::new(bytes)).map_err(|error| anyhow!("a picture {error}"))
}

fn file(path: &Path, read: fn(BufReader<File>) -> Result<Picture>) -> Result<Picture> {
    let unreadable = |error| anyhow!("cannot be read: {error}");
    // Checked before opening, which would block on a pipe.
    ensure!(fs::metadata(path).map_err(unreadable)?.is_file(), "is not a file; give a picture");
    read(BufReader::new(File::open(path).map_err(unreadable)?))
}

fn read(mut from: impl BufRead + Seek) -> Result<Picture> {
    let unreadable = |error| anyhow!("cannot be read: {error}");
    let reader = ImageReader::new(&mut from).with_guessed_format().map_err(unreadable)?;
    let format = reader.format();
    let mut picture = picture_of(reader.decode().map_err(unfit)?);
    if format == Some(ImageFormat::Jpeg) {
        let mut bytes = vec![];
        from.rewind().and_then(|()| from.read_to_end(&mut bytes)).map_err(unreadable)?;
        ensure!(is_complete_jpeg(&bytes), "is a damaged picture (it ends early)");
        let exact = jpeg(&bytes).filter(|rgb| rgb.len() == picture.rgb.len());
        exact.into_iter().for_each(|rgb| picture.rgb = rgb);
    }
    Ok(picture)
}

fn alpha(from: BufReader<File>) -> Result<Picture> {
    let reader = ImageReader::new(from).with_guessed_format().map_err(|error| anyhow!("cannot be read: {error}"))?;
    let image = reader.decode().map_err(unfit)?;
    ensure!(image.color().has_alpha(), "has no alpha channel; give the region as a file with --mask FILE");
    let rgba = image.into_rgba8();
    let rgb = rgba.pixels().flat_map(|pixel| [pixel[3]; 3]).collect();
    Ok(Picture { width: rgba.width() as usize, height: rgba.height() as usize, rgb })
}

fn picture_of(image: DynamicImage) -> Picture {
    let rgb = image.into_rgb8();
    Picture { width: rgb.width() as usize, height: rgb.height() as usize, rgb: rgb.into_raw() }
}

/// Returns whether the end of the image follows its data, which decoders do not insist on. A thumbnail's end comes before.
fn is_complete_jpeg(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    let (start_of_scan, end_of_image) = (last(0xda), last(0xd9));
    start_of_scan < end_of_image
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
        ImageError::Limits(_) => anyhow!("is too large to be read, more than 512 MB; scale it down"),
        error => anyhow!("is a damaged picture ({})", error.to_string().lines().next().unwrap_or_default()),
    }
}
