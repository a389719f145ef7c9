//! The HTML page that lists all pictures of a run (`--index`).

use super::page::{jpeg, json};
use super::shrink::shrunk;
use super::{Record, open, record};
use anyhow::Result;
use base64::prelude::{BASE64_STANDARD, Engine};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rayon::prelude::*;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// The page with its style and script, and a placeholder for the pictures.
const TEMPLATE: &str = include_str!("index.html");
const PLACEHOLDER: &str = "{{pictures}}";

/// The longest side of a thumbnail, in pixels.
const LONGEST: usize = 256;
/// The number of pictures up to which thumbnails have that size: a page of about 60 MB. More get smaller ones.
const MANY: usize = 4000;
/// The number of pictures that are in memory at the same time.
const CHUNK: usize = 64;

/// The characters of a path that have a meaning in a URL.
const RESERVED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'\\');

/// A picture of the page.
#[derive(Serialize)]
struct Entry {
    /// The path of the file, relative to the page, as a URL.
    url: String,
    width: usize,
    height: usize,
    /// The thumbnail, as a data URL of a JPEG file.
    thumbnail: String,
    prompt: String,
    negative_prompt: String,
    seed: Option<u32>,
    /// AUTOMATIC1111's `parameters` text.
    parameters: String,
}

/// Writes a page that shows the pictures `files` of `folder`, in order, with their prompts and settings, as far as their metadata
/// have them. Thumbnails are embedded; the pictures themselves are linked. The page loads nothing from elsewhere.
///
/// Text is never part of the markup: it is embedded as JSON without `<`, and displayed as text.
///
/// # Errors
/// If a picture cannot be read, or writing fails.
pub fn index(out: &mut impl Write, folder: &Path, files: &[&str]) -> Result<()> {
    let shrinkage = (files.len() as f64 / MANY as f64).sqrt().max(1.);
    let longest = ((LONGEST as f64 / shrinkage) as usize).max(16);
    let (before, after) = TEMPLATE.split_once(PLACEHOLDER).expect("the template has the placeholder");
    write!(out, "{before}[")?;
    for (i, chunk) in files.chunks(CHUNK).enumerate() {
        let entries: Vec<Entry> = chunk.par_iter().map(|file| entry(folder, file, longest)).collect::<Result<_>>()?;
        for (j, entry) in entries.iter().enumerate() {
            write!(out, "{}\n{}", if i + j > 0 { "," } else { "" }, json(entry)?)?;
        }
    }
    write!(out, "]{after}")?;
    Ok(())
}

fn entry(folder: &Path, file: &str, longest: usize) -> Result<Entry> {
    let path = folder.join(file);
    let picture = open(&path)?;
    let factor = picture.width.max(picture.height).div_ceil(longest);
    let thumbnail = BASE64_STANDARD.encode(jpeg(&shrunk(&picture, factor))?);
    // A picture without metadata is shown without text.
    let record = record(&path).ok();
    let text = |text: fn(&Record) -> String| record.as_ref().map(text).unwrap_or_default();
    Ok(Entry {
        url: utf8_percent_encode(file, RESERVED).to_string(),
        width: picture.width,
        height: picture.height,
        thumbnail: format!("data:image/jpeg;base64,{thumbnail}"),
        prompt: text(|record| record.prompt.clone()),
        negative_prompt: text(|record| record.negative_prompt.clone()),
        seed: record.as_ref().map(|record| record.origin.seed),
        parameters: text(Record::parameters),
    })
}
