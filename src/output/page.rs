//! The pictures of a sweep as a page for the browser, a slider for each axis.

use std::io::Write;

use anyhow::Result;
use base64::prelude::{BASE64_STANDARD, Engine};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde::Serialize;

use super::Picture;
use super::axis::{Axis, ensure_complete};
use super::shrink::{shrunk, shrunk_length};

/// What the browser sees: page, style and script, and a place for the sweep.
const TEMPLATE: &str = include_str!("page.html");
const PLACE: &str = "{{sweep}}";

const QUALITY: u8 = 90;
/// Of the page, in bytes: what browsers open at once, and mail and chat may still carry.
const MAX_SIZE: usize = 64_000_000;
/// How many pictures are encoded to tell the size of all.
const SAMPLES: usize = 16;

/// Writes a page that needs nothing but itself: a slider for each axis, and the picture they point at.
///
/// The pictures come row by row, a column for every value of the first axis, a row for every value of the second. They
/// are within the page as JPEG files, one written after another. Where the page would have more than about 64 MB,
/// they are smaller: every pixel is the mean of a square of them, and the square is the same for all pictures.
///
/// Text is never part of the page's markup: it travels as JSON, with no `<` in it, and is shown as text.
pub fn page(
    out: &mut impl Write,
    title: &str,
    columns: &Axis,
    rows: Option<&Axis>,
    pictures: &[Picture],
) -> Result<()> {
    ensure_complete(columns, rows, pictures)?;
    let factor = factor(pictures)?;
    let (before, after) = TEMPLATE.split_once(PLACE).expect("the template has a place for the sweep");
    write!(out, "{before}{{\"title\":{},\n\"columns\":{},\n", json(title)?, json(columns)?)?;
    write!(out, "\"rows\":{},\n\"pictures\":[", json(&rows)?)?;
    for (i, picture) in pictures.iter().enumerate() {
        let separator = if i > 0 { "," } else { "" };
        let jpeg = BASE64_STANDARD.encode(jpeg(&shrunk(picture, factor))?);
        let &Picture { width, height, .. } = picture;
        write!(
            out,
            "{separator}\n{{\"width\":{width},\"height\":{height},\"src\":\"data:image/jpeg;base64,{jpeg}\"}}"
        )?;
    }
    write!(out, "]}}{after}")?;
    Ok(())
}

/// JSON for a `<script>`, which any `</script` would end and `<!--` confuse.
fn json(value: &(impl Serialize + ?Sized)) -> Result<String> {
    // In JSON, `<` is never anything but part of a string.
    Ok(serde_json::to_string(value)?.replace('<', "\\u003c"))
}

/// How much smaller the pictures must be for the page to stay below its size.
fn factor(pictures: &[Picture]) -> Result<usize> {
    let longest = pictures.iter().map(|picture| picture.width.max(picture.height)).max().unwrap_or(1);
    for factor in 1..longest {
        if size(pictures, factor)? <= MAX_SIZE as f64 {
            return Ok(factor);
        }
    }
    Ok(longest)
}

/// About how many bytes all pictures take, judged by a few.
fn size(pictures: &[Picture], factor: usize) -> Result<f64> {
    let pixels =
        |picture: &Picture| shrunk_length(picture.width, factor) as f64 * shrunk_length(picture.height, factor) as f64;
    let (mut sample_size, mut sample_pixels) = (0., 0.);
    for picture in sample(pictures) {
        sample_size += jpeg(&shrunk(picture, factor))?.len() as f64 * 4. / 3.;
        sample_pixels += pixels(picture);
    }
    Ok(sample_size / sample_pixels * pictures.iter().map(pixels).sum::<f64>())
}

/// A few pictures from all rows and all columns.
fn sample(pictures: &[Picture]) -> impl Iterator<Item = &Picture> {
    // Steps of the golden ratio keep clear of each other and of any regular pattern.
    let spread = |i| (i as f64 * 0.618_033_988_749_895).fract() * pictures.len() as f64;
    let all = pictures.len() <= SAMPLES;
    (0..pictures.len().min(SAMPLES)).map(move |i| &pictures[if all { i } else { spread(i) as usize }])
}

fn jpeg(picture: &Picture) -> Result<Vec<u8>> {
    let mut jpeg = vec![];
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).write_image(
        &picture.rgb,
        picture.width.try_into()?,
        picture.height.try_into()?,
        ExtendedColorType::Rgb8,
    )?;
    Ok(jpeg)
}
