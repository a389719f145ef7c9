//! File formats of pictures (`--format`) and their metadata.
//!
//! Each file has its metadata twice: as AUTOMATIC1111's `parameters` text, which other programs read, and as the
//! record's JSON. PNG stores them in text chunks, WebP in EXIF, and JPEG in EXIF and comments.

mod exif;
mod jpg;
mod png;
mod webp;

use super::{Picture, Record};
use crate::by_name::ByName;
use anyhow::{Context, Result, anyhow, bail, ensure};
use image::{ExtendedColorType, ImageEncoder};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

/// A file format of pictures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// PNG, lossless.
    Png,
    /// JPEG, lossy and small.
    Jpg,
    /// Lossless WebP, smaller than PNG.
    WebP,
}

/// The metadata of a picture file.
#[derive(Default)]
struct Texts {
    /// AUTOMATIC1111's `parameters` text.
    parameters: Option<String>,
    /// The record, as JSON.
    record: Option<String>,
}

/// The names are also the file extensions.
impl ByName for Format {
    const ALL: &'static [(&'static str, Self)] = &[("png", Format::Png), ("jpg", Format::Jpg), ("webp", Format::WebP)];
}

impl Format {
    /// Detects the format of a picture file from its first bytes.
    ///
    /// # Errors
    /// If the file cannot be read, or has another format.
    pub fn of(path: &Path) -> Result<Self> {
        let (name, mut start) = (path.display(), vec![]);
        open(path)?.take(12).read_to_end(&mut start).with_context(|| format!("reading '{name}'"))?;
        match &start[..] {
            [0x89, b'P', b'N', b'G', ..] => Ok(Format::Png),
            [0xff, 0xd8, ..] => Ok(Format::Jpg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => Ok(Format::WebP),
            _ => bail!("'{name}' is not a readable picture; give a PNG, JPEG or WebP file"),
        }
    }

    /// Encodes a picture with the metadata of `record`, if any.
    ///
    /// # Errors
    /// If the picture is larger than the format allows, or has too few or too many values.
    pub fn encode(self, picture: &Picture, record: Option<&Record>) -> Result<Vec<u8>> {
        let &Picture { width, height, ref rgb } = picture;
        ensure!(rgb.len() == 3 * width * height, "a picture of {width}x{height} pixels has {} values", rgb.len());
        let texts = match record {
            Some(record) => {
                Texts { parameters: Some(record.parameters()), record: Some(serde_json::to_string(record)?) }
            }
            None => Texts::default(),
        };
        match self {
            Format::Png => png::encode(picture, texts),
            Format::Jpg => jpg::encode(picture, texts),
            Format::WebP => webp::encode(picture, texts),
        }
    }

    /// Returns whether a file has room for the `parameters` text: JPEG is limited to 64 KiB.
    ///
    /// # Errors
    /// If the text cannot be encoded.
    pub fn has_room(self, record: &Record) -> Result<bool> {
        match self {
            Format::Jpg => jpg::has_room(record.parameters()),
            Format::Png | Format::WebP => Ok(true),
        }
    }

    fn texts(self, file: impl BufRead + Seek) -> Result<Texts> {
        match self {
            Format::Png => png::texts(file),
            Format::Jpg => jpg::texts(file),
            Format::WebP => exif::texts(file),
        }
    }
}

/// Reads the record of a picture file.
///
/// # Errors
/// If the file cannot be read, is not a picture, or has no valid record of this program.
pub fn record(path: &Path) -> Result<Record> {
    let name = path.display();
    let texts = Format::of(path)?.texts(open(path)?).with_context(|| format!("'{name}' cannot be read"))?;
    let json = match texts {
        Texts { record: Some(json), .. } => json,
        Texts { parameters: Some(_), .. } => {
            bail!(
                "'{name}' has only a parameters text, which is not enough to redraw it, and no txt2img metadata; give its settings as flags"
            )
        }
        _ => bail!("'{name}' contains no metadata; give a picture made by txt2img"),
    };
    let record: Record = serde_json::from_str(&json)
        .map_err(|error| anyhow!("'{name}' has metadata that this version cannot read ({error})"))?;
    record.origin.check().with_context(|| format!("'{name}'"))?;
    Ok(record)
}

fn open(path: &Path) -> Result<BufReader<File>> {
    let opening = || format!("opening '{}'", path.display());
    // Checked before opening, which would block on a pipe.
    let about = fs::metadata(path).with_context(opening)?;
    ensure!(about.is_file(), "'{}' is not a file; give a picture made by txt2img", path.display());
    Ok(BufReader::new(File::open(path).with_context(opening)?))
}

/// Writes the picture with `encoder`, and EXIF if given.
fn write(mut encoder: impl ImageEncoder, picture: &Picture, exif: Option<Vec<u8>>) -> Result<()> {
    if let Some(exif) = exif {
        encoder.set_exif_metadata(exif)?;
    }
    let (width, height) = (picture.width.try_into()?, picture.height.try_into()?);
    Ok(encoder.write_image(&picture.rgb, width, height, ExtendedColorType::Rgb8)?)
}
