//! JPEG: the `parameters` text in EXIF, and the record in comments, as it may exceed the 64 KiB of EXIF.

use super::{Picture, Texts, exif, write};
use anyhow::Result;
use image::codecs::jpeg::JpegEncoder;
use std::io::{Cursor, Read};
use std::iter;

/// The JPEG quality, of 100.
const QUALITY: u8 = 95;

/// The marker of a comment segment.
const COMMENT: u8 = 0xfe;
/// The markers of application segments, which come first.
const APPLICATIONS: std::ops::RangeInclusive<u8> = 0xe0..=0xef;
/// The marker of the segment that the pixels follow.
const SCAN: u8 = 0xda;

/// The prefix of the comments whose contents, concatenated, are the record.
const PREFIX: &[u8] = b"txt2img ";
/// The largest content of a segment, in bytes, besides its length.
const MOST_BYTES: usize = u16::MAX as usize - 2;
/// The prefix of EXIF in a segment.
const EXIF: &[u8] = b"Exif\0\0";
/// The number of bytes in which the segments before the pixels are sought.
const MOST_READ: u64 = 1 << 28;

/// Encodes a picture with its texts.
pub fn encode(picture: &Picture, Texts { parameters, record }: Texts) -> Result<Vec<u8>> {
    // A text that does not fit is omitted; the record has the same facts.
    let exif = exif::encode(Texts { parameters, record: None })?.filter(|exif| fits(exif));
    let mut bytes = vec![];
    write(JpegEncoder::new_with_quality(&mut bytes, QUALITY), picture, exif)?;
    if let Some(record) = record {
        let at = segments(&bytes).find(|segment| !APPLICATIONS.contains(&segment.marker)).map_or(2, |other| other.at);
        bytes.splice(at..at, comments(record.as_bytes()));
    }
    Ok(bytes)
}

/// Returns whether EXIF has room for the `parameters` text.
pub fn has_room(parameters: String) -> Result<bool> {
    let exif = exif::encode(Texts { parameters: Some(parameters), record: None })?;
    Ok(exif.is_none_or(|exif| fits(&exif)))
}

fn fits(exif: &[u8]) -> bool {
    EXIF.len() + exif.len() <= MOST_BYTES
}

/// Splits a text into comment segments.
fn comments(text: &[u8]) -> Vec<u8> {
    let segment = |part: &[u8]| {
        let length = (2 + PREFIX.len() + part.len()) as u16; // at most MOST_BYTES + 2
        [&[0xff, COMMENT], &length.to_be_bytes()[..], PREFIX, part].concat()
    };
    text.chunks(MOST_BYTES - PREFIX.len()).flat_map(segment).collect()
}

/// Reads the texts from the segments before the pixels.
pub fn texts(file: impl Read) -> Result<Texts> {
    let mut bytes = vec![];
    file.take(MOST_READ).read_to_end(&mut bytes)?;
    let comments = segments(&bytes).filter(|segment| segment.marker == COMMENT);
    let ours: Vec<&[u8]> = comments.filter_map(|comment| comment.content.strip_prefix(PREFIX)).collect();
    if ours.is_empty() {
        return exif::texts(Cursor::new(bytes));
    }
    Ok(Texts { record: Some(String::from_utf8_lossy(&ours.concat()).into_owned()), parameters: None })
}

struct Segment<'a> {
    /// The offset in the file.
    at: usize,
    marker: u8,
    content: &'a [u8],
}

/// Returns the segments before the pixels, up to the first that is incomplete.
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
