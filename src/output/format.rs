//! `--format`: the kinds of picture files, and where in them a record is kept.
//!
//! Each file says the same twice: in the words of the well-known web UI, for programs that read those, and as the
//! record's JSON. PNG has text chunks for them, WebP has EXIF, and JPEG has EXIF and comments.

mod exif;
mod jpg;
mod png;
mod webp;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use image::{ExtendedColorType, ImageEncoder};

use super::{Picture, Record};
use crate::by_name::ByName;

/// A kind of picture file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Without loss.
    Png,
    /// Small.
    Jpg,
    /// Without loss, and smaller than PNG.
    WebP,
}

/// What a file says of its picture.
#[derive(Default)]
struct Texts {
    /// The web UI's words.
    parameters: Option<String>,
    /// The record, as JSON.
    record: Option<String>,
}

/// Files end in these names.
impl ByName for Format {
    const ALL: &'static [(&'static str, Self)] = &[("png", Format::Png), ("jpg", Format::Jpg), ("webp", Format::WebP)];
}

impl Format {
    /// That of a picture's file, by its first bytes.
    ///
    /// # Errors
    /// When the file cannot be read, or is none of these.
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

    /// A file's bytes, with what the picture remembers.
    ///
    /// # Errors
    /// When the picture is larger than the format allows.
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

    /// Returns whether a file has room for the web UI's text beside the record: JPEG has 64 KiB for it.
    ///
    /// # Errors
    /// When the text cannot be encoded.
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

/// What a picture's file remembers.
///
/// # Errors
/// When it cannot be read, is no picture, or remembers nothing that this program wrote.
pub fn record(path: &Path) -> Result<Record> {
    let name = path.display();
    let texts = Format::of(path)?.texts(open(path)?).with_context(|| format!("'{name}' cannot be read"))?;
    let json = match texts {
        Texts { record: Some(json), .. } => json,
        Texts { parameters: Some(_), .. } => {
            bail!(
                "'{name}' has a parameters text, which says too little to draw it again, and no metadata of this program; give its settings as flags"
            )
        }
        _ => bail!("'{name}' does not say how it was drawn; give a picture made by txt2img"),
    };
    let record: Record = serde_json::from_str(&json)
        .map_err(|error| anyhow!("'{name}' has metadata that this program cannot read ({error})"))?;
    record.origin.check().with_context(|| format!("'{name}'"))?;
    Ok(record)
}

fn open(path: &Path) -> Result<BufReader<File>> {
    let opening = || format!("opening '{}'", path.display());
    // Asked before opening, which would wait at a pipe.
    let about = fs::metadata(path).with_context(opening)?;
    ensure!(about.is_file(), "'{}' is not a file; give a picture made by txt2img", path.display());
    Ok(BufReader::new(File::open(path).with_context(opening)?))
}

/// Has the picture written, with EXIF if there is any.
fn write(mut encoder: impl ImageEncoder, picture: &Picture, exif: Option<Vec<u8>>) -> Result<()> {
    if let Some(exif) = exif {
        encoder.set_exif_metadata(exif)?;
    }
    let (width, height) = (picture.width.try_into()?, picture.height.try_into()?);
    Ok(encoder.write_image(&picture.rgb, width, height, ExtendedColorType::Rgb8)?)
}
