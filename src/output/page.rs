//! The HTML page of a sweep, with a slider for each axis.

use super::Picture;
use super::axis::{Axis, ensure_complete};
use super::shrink::{shrunk, shrunk_length};
use anyhow::Result;
use base64::prelude::{BASE64_STANDARD, Engine};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde::Serialize;
use std::io::Write;

/// The page with its style and script, and a placeholder for the sweep.
const TEMPLATE: &str = include_str!("page.html");
const PLACEHOLDER: &str = "{{sweep}}";

/// The JPEG quality of the pictures, of 100.
const QUALITY: u8 = 90;
/// The approximate size limit of the page, in bytes. Browsers open such pages quickly, and mail and chat accept them.
const MAX_SIZE: usize = 64_000_000;
/// The number of pictures that are encoded to estimate the size of all.
const SAMPLES: usize = 16;

/// Writes a self-contained page: a slider for each axis, and the picture at their position.
///
/// `pictures` are in row-major order: a column for every value of `columns`, a row for every value of `rows`. They are
/// embedded as JPEG files. If the page would exceed about 64 MB, all pictures are reduced by the same factor.
///
/// Text is never part of the markup: it is embedded as JSON without `<`, and displayed as text.
///
/// # Errors
/// If a picture is missing or damaged, or writing fails.
pub fn page(
    out: &mut impl Write,
    title: &str,
    columns: &Axis,
    rows: Option<&Axis>,
    pictures: &[Picture],
) -> Result<()> {
    ensure_complete(columns, rows, pictures)?;
    let factor = factor(pictures)?;
    let (before, after) = TEMPLATE.split_once(PLACEHOLDER).expect("the template has the placeholder");
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

/// Returns JSON for a `<script>` element, without `<`, so that it contains neither `</script` nor `<!--`.
pub(super) fn json(value: &(impl Serialize + ?Sized)) -> Result<String> {
    // In JSON, `<` occurs in strings only.
    Ok(serde_json::to_string(value)?.replace('<', "\\u003c"))
}

/// Returns the smallest factor to reduce the pictures by for the page to stay within `MAX_SIZE`.
fn factor(pictures: &[Picture]) -> Result<usize> {
    let longest = pictures.iter().map(|picture| picture.width.max(picture.height)).max().unwrap_or(1);
    for factor in 1..longest {
        if size(pictures, factor)? <= MAX_SIZE as f64 {
            return Ok(factor);
        }
    }
    Ok(longest)
}

/// Estimates the size of all pictures in the page, in bytes, from a sample.
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

/// Returns a sample of the pictures, spread over all rows and columns.
fn sample(pictures: &[Picture]) -> impl Iterator<Item = &Picture> {
    // Multiples of the golden ratio are evenly spread and follow no regular pattern.
    let spread = |i| (i as f64 * 0.618_033_988_749_895).fract() * pictures.len() as f64;
    let all = pictures.len() <= SAMPLES;
    (0..pictures.len().min(SAMPLES)).map(move |i| &pictures[if all { i } else { spread(i) as usize }])
}

/// Returns a picture as a JPEG file.
pub(super) fn jpeg(picture: &Picture) -> Result<Vec<u8>> {
    let mut jpeg = vec![];
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).write_image(
        &picture.rgb,
        picture.width.try_into()?,
        picture.height.try_into()?,
        ExtendedColorType::Rgb8,
    )?;
    Ok(jpeg)
}
