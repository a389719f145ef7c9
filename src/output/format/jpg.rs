//! JPEG: EXIF for the web UI's words, comments for the record, which is longer than EXIF may be here.

use std::io::{Cursor, Read};
use std::iter;

use anyhow::Result;
use image::codecs::jpeg::JpegEncoder;

use super::{Picture, Texts, exif, write};

/// Of 100.
const QUALITY: u8 = 95;

/// The segment with a comment.
const COMMENT: u8 = 0xfe;
/// The segments that stand first, those of applications.
const APPLICATIONS: std::ops::RangeInclusive<u8> = 0xe0..=0xef;
/// The segment that pixels follow.
const SCAN: u8 = 0xda;

/// How our comments begin; one after another they are the record.
const OURS: &[u8] = b"txt2img ";
/// In a segment, besides the two of its length.
const MOST_BYTES: usize = u16::MAX as usize - 2;
/// How EXIF begins in a segment.
const EXIF: &[u8] = b"Exif\0\0";
/// Longer than the segments before the pixels are.
const MOST_READ: u64 = 1 << 28;

pub fn encode(picture: &Picture, Texts { parameters, record }: Texts) -> Result<Vec<u8>> {
    // What does not fit is in the record as well.
    let exif = exif::encode(Texts { parameters, record: None })?.filter(|exif| fits(exif));
    let mut bytes = vec![];
    write(JpegEncoder::new_with_quality(&mut bytes, QUALITY), picture, exif)?;
    if let Some(record) = record {
        let at = segments(&bytes).find(|segment| !APPLICATIONS.contains(&segment.marker)).map_or(2, |other| other.at);
        bytes.splice(at..at, comments(record.as_bytes()));
    }
    Ok(bytes)
}

/// Returns whether EXIF has room for the web UI's text.
pub fn has_room(parameters: String) -> Result<bool> {
    let exif = exif::encode(Texts { parameters: Some(parameters), record: None })?;
    Ok(exif.is_none_or(|exif| fits(&exif)))
}

fn fits(exif: &[u8]) -> bool {
    EXIF.len() + exif.len() <= MOST_BYTES
}

/// A text as segments.
fn comments(text: &[u8]) -> Vec<u8> {
    let segment = |part: &[u8]| {
        let length = (2 + OURS.len() + part.len()) as u16; // at most MOST_BYTES + 2
        [&[0xff, COMMENT], &length.to_be_bytes()[..], OURS, part].concat()
    };
    text.chunks(MOST_BYTES - OURS.len()).flat_map(segment).collect()
}

/// What the segments before the pixels say.
pub fn texts(file: impl Read) -> Result<Texts> {
    let mut bytes = vec![];
    file.take(MOST_READ).read_to_end(&mut bytes)?;
    let comments = segments(&bytes).filter(|segment| segment.marker == COMMENT);
    let ours: Vec<&[u8]> = comments.filter_map(|comment| comment.content.strip_prefix(OURS)).collect();
    if ours.is_empty() {
        return exif::texts(Cursor::new(bytes));
    }
    Ok(Texts { record: Some(String::from_utf8_lossy(&ours.concat()).into_owned()), parameters: None })
}

struct Segment<'a> {
    /// Where it begins.
    at: usize,
    marker: u8,
    content: &'a [u8],
}

/// Those before the pixels, as far as the file is whole.
fn segments(file: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    let mut next = 2;
    iter::from_fn(move || {
        let at = next;
        let &[0xff, marker, high, low] = file.get(at..)?.first_chunk()? else { return None };
        next = at + 2 + usize::from(u16::from_be_bytes([high, low]));
        let content = file.get(at + 4..next)?;
        (marker != SCAN).then_some(Segment { at, marker, content })
    })
}
