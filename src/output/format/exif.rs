//! EXIF metadata: the `parameters` text in `UserComment`, as AUTOMATIC1111 stores it, and the record in
//! `ImageDescription`.

use super::Texts;
use anyhow::{Context, Result};
use exif::experimental::Writer;
use exif::{Error, Exif, Field, In, Reader, Tag, Value};
use std::io::{BufRead, Cursor, Seek};

/// EXIF's prefix of UTF-16 text.
const UNICODE: &[u8] = b"UNICODE\0";

/// Encodes the texts as EXIF; `None` if there are none.
pub fn encode(texts: Texts) -> Result<Option<Vec<u8>>> {
    let field = |tag, value| Field { tag, ifd_num: In::PRIMARY, value };
    let comment = texts.parameters.map(|text| field(Tag::UserComment, Value::Undefined(utf16(&text), 0)));
    let record = texts.record.map(|json| field(Tag::ImageDescription, Value::Ascii(vec![ascii(&json).into_bytes()])));
    let fields: Vec<Field> = comment.into_iter().chain(record).collect();
    if fields.is_empty() {
        return Ok(None);
    }
    let (mut writer, mut bytes) = (Writer::new(), Cursor::new(vec![]));
    fields.iter().for_each(|field| writer.push_field(field));
    writer.write(&mut bytes, false).context("writing EXIF")?;
    Ok(Some(bytes.into_inner()))
}

fn utf16(text: &str) -> Vec<u8> {
    UNICODE.iter().copied().chain(text.encode_utf16().flat_map(u16::to_be_bytes)).collect()
}

/// Escapes `json` to ASCII, as EXIF requires.
fn ascii(json: &str) -> String {
    let mut units = [0; 2];
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c.is_ascii() {
            true => escaped.push(c),
            // In JSON, other characters occur in strings only.
            false => escaped.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    escaped
}

/// Reads the texts from the EXIF of a JPEG or WebP file.
pub fn texts(mut file: impl BufRead + Seek) -> Result<Texts> {
    match Reader::new().read_from_container(&mut file) {
        Ok(exif) => Ok(Texts { parameters: comment(&exif), record: description(&exif) }),
        Err(Error::NotFound(_)) => Ok(Texts::default()),
        Err(error) => Err(error.into()),
    }
}

fn comment(exif: &Exif) -> Option<String> {
    let Value::Undefined(bytes, _) = &exif.get_field(Tag::UserComment, In::PRIMARY)?.value else { return None };
    let (units, _) = bytes.strip_prefix(UNICODE)?.as_chunks();
    let units: Vec<u16> = units.iter().copied().map(u16::from_be_bytes).collect();
    Some(String::from_utf16_lossy(&units))
}

fn description(exif: &Exif) -> Option<String> {
    let Value::Ascii(lines) = &exif.get_field(Tag::ImageDescription, In::PRIMARY)?.value else { return None };
    Some(String::from_utf8_lossy(lines.first()?).into_owned())
}
