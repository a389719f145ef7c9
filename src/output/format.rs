//! `--format`: the kinds of picture files, and where in them a record is kept.
//!
//! PNG has text chunks: `parameters`, in the words of the well-known web UI, and `txt2img`, the record as JSON. JPEG and
//! WebP have EXIF: `UserComment` and `ImageDescription` hold the same.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use exif::experimental::Writer;
use exif::{Field, In, Tag, Value};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::{Picture, Record};

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

/// The chunk with the record.
const KEYWORD: &str = "txt2img";
/// The chunk with the web UI's text.
const PARAMETERS: &str = "parameters";
/// JPEG's, of 100.
const QUALITY: u8 = 95;
/// What a JPEG file can hold of EXIF, less what EXIF itself takes.
const MOST_EXIF: usize = 65_000;
/// What EXIF calls UTF-16.
const UNICODE: &[u8] = b"UNICODE\0";

impl Format {
    /// Every format, with its name, which is also how its files end.
    pub const ALL: [(&'static str, Format); 3] = [("png", Format::Png), ("jpg", Format::Jpg), ("webp", Format::WebP)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// That of a picture's file, by its first bytes.
    ///
    /// # Errors
    /// When the file cannot be read, or is none of these.
    pub fn of(path: &Path) -> Result<Self> {
        let name = path.display();
        let mut start = [0; 12];
        File::open(path)
            .and_then(|mut file| file.read_exact(&mut start))
            .with_context(|| format!("reading '{name}'"))?;
        match &start {
            [0x89, b'P', b'N', b'G', ..] => Ok(Format::Png),
            [0xff, 0xd8, ..] => Ok(Format::Jpg),
            [b'R', b'I', b'F', b'F', ..] => Ok(Format::WebP),
            _ => bail!("'{name}' is no picture that can be read; give a PNG, JPEG or WebP file"),
        }
    }

    /// A file's bytes, with what the picture remembers.
    ///
    /// # Errors
    /// When the picture is larger than the format allows.
    pub fn encode(self, picture: &Picture, record: Option<&Record>) -> Result<Vec<u8>> {
        let &Picture { width, height, ref rgb } = picture;
        ensure!(rgb.len() == 3 * width * height, "a picture of {width}x{height} pixels has {} values", rgb.len());
        if self == Format::Png {
            return png(picture, record);
        }
        let exif = record.map(|record| exif(record, self)).transpose()?.flatten();
        let mut bytes = vec![];
        match self {
            Format::WebP => write(WebPEncoder::new_lossless(&mut bytes), picture, exif)?,
            _ => write(JpegEncoder::new_with_quality(&mut bytes, QUALITY), picture, exif)?,
        }
        Ok(bytes)
    }
}

fn write(mut encoder: impl ImageEncoder, picture: &Picture, exif: Option<Vec<u8>>) -> Result<()> {
    if let Some(exif) = exif {
        encoder.set_exif_metadata(exif)?;
    }
    let (width, height) = (picture.width.try_into()?, picture.height.try_into()?);
    Ok(encoder.write_image(&picture.rgb, width, height, ExtendedColorType::Rgb8)?)
}

fn png(picture: &Picture, record: Option<&Record>) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, picture.width.try_into()?, picture.height.try_into()?);
    encoder.set_color(png::ColorType::Rgb);
    // 4 ms for 512x512 pixels; higher levels take up to 60 ms and save a tenth at most.
    encoder.set_deflate_compression(png::DeflateCompression::Level(1));
    encoder.set_filter(png::Filter::Adaptive);
    if let Some(record) = record {
        for (keyword, text) in [(PARAMETERS, record.parameters()), (KEYWORD, serde_json::to_string(record)?)] {
            // The older chunk, which more programs read, has no other letters.
            match text.chars().all(|c| u32::from(c) < 256) {
                true => encoder.add_text_chunk(keyword.into(), text)?,
                false => encoder.add_itxt_chunk(keyword.into(), text)?,
            }
        }
    }
    encoder.write_header()?.write_image_data(&picture.rgb)?;
    Ok(bytes)
}

/// The record as EXIF; none where it is longer than the format has room for.
fn exif(record: &Record, format: Format) -> Result<Option<Vec<u8>>> {
    let parameters = record.parameters();
    let comment = UNICODE.iter().copied().chain(parameters.encode_utf16().flat_map(u16::to_be_bytes)).collect();
    let json = serde_json::to_string(record)?.into_bytes();
    let fields = [
        Field { tag: Tag::UserComment, ifd_num: In::PRIMARY, value: Value::Undefined(comment, 0) },
        Field { tag: Tag::ImageDescription, ifd_num: In::PRIMARY, value: Value::Ascii(vec![json]) },
    ];
    let (mut writer, mut bytes) = (Writer::new(), Cursor::new(vec![]));
    fields.iter().for_each(|field| writer.push_field(field));
    writer.write(&mut bytes, false).context("writing EXIF")?;
    let bytes = bytes.into_inner();
    Ok((format != Format::Jpg || bytes.len() <= MOST_EXIF).then_some(bytes))
}

/// What a picture's file remembers.
///
/// # Errors
/// When it cannot be read, is no picture, or remembers nothing that this program wrote.
pub fn record(path: &Path) -> Result<Record> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("opening '{name}'"))?;
    ensure!(file.metadata().is_ok_and(|about| about.is_file()), "'{name}' is no file; give a picture of this program");
    let json = json(BufReader::new(file)).with_context(|| format!("'{name}' cannot be read"))?;
    let json =
        json.with_context(|| format!("'{name}' does not say how it was drawn; give a picture of this program"))?;
    let record: Record = serde_json::from_str(&json)
        .map_err(|error| anyhow!("'{name}' says how it was drawn in words that are not this program's ({error})"))?;
    record.origin.check().with_context(|| format!("'{name}'"))?;
    Ok(record)
}

fn json(mut file: impl BufRead + Seek) -> Result<Option<String>> {
    if file.fill_buf()?.starts_with(b"\x89PNG") {
        let reader = png::Decoder::new(file).read_info()?;
        let info = reader.info();
        let plain = info.uncompressed_latin1_text.iter().find(|chunk| chunk.keyword == KEYWORD);
        let utf8 = info.utf8_text.iter().find(|chunk| chunk.keyword == KEYWORD);
        return match (plain, utf8) {
            (Some(chunk), _) => Ok(Some(chunk.text.clone())),
            (None, Some(chunk)) => Ok(Some(chunk.get_text()?)),
            (None, None) => Ok(None),
        };
    }
    let exif = match exif::Reader::new().read_from_container(&mut file) {
        Ok(exif) => exif,
        Err(exif::Error::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let field = exif.get_field(Tag::ImageDescription, In::PRIMARY);
    Ok(field.and_then(|field| match &field.value {
        Value::Ascii(lines) => lines.first().map(|line| String::from_utf8_lossy(line)).map(Cow::into_owned),
        _ => None,
    }))
}
