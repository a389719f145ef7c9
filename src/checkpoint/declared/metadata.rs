//! The model's conventions in the metadata of a `.safetensors` file.

use super::{Declared, Stated};
use crate::checkpoint::safetensors::LENGTH;
use crate::config::Prediction;
use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The largest header to read, in bytes; the limit of the safetensors library.
const MAX_HEADER: u64 = 100_000_000;

/// The key of the prediction type in Stability AI's metadata standard, "ModelSpec".
const PREDICTION: &str = "modelspec.prediction_type";

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: Option<BTreeMap<String, Value>>,
}

/// Reads what the metadata states. Missing and unreadable metadata state nothing, since the format does not restrict
/// them.
///
/// # Errors
/// If the prediction type is not supported.
pub(super) fn read_metadata(file: &Path) -> Result<Declared> {
    let Some(metadata) = entries(file) else { return Ok(Declared::default()) };
    let prediction = match metadata.get(PREDICTION).and_then(Value::as_str) {
        None | Some("") => None,
        Some(name) => match Prediction::from_any_name(name) {
            Some(prediction) => Some(Stated::new(prediction, format!("metadata '{PREDICTION}'"))),
            None => bail!("predicts '{name}' (metadata '{PREDICTION}'), which is not supported; eps and v are"),
        },
    };
    Ok(Declared { prediction, ..Declared::default() })
}

/// Reads the metadata of a `.safetensors` file, if there are any and they are valid.
pub(in crate::checkpoint) fn entries(file: &Path) -> Option<BTreeMap<String, Value>> {
    header(file)?.metadata
}

/// Reads the length of the header, in bytes, from the start of a `.safetensors` file.
pub(in crate::checkpoint) fn header_length(file: &mut File) -> io::Result<u64> {
    let mut length = [0; LENGTH];
    file.read_exact(&mut length)?;
    Ok(u64::from_le_bytes(length))
}

/// Reads the part of the header that is needed, if it is valid.
fn header(file: &Path) -> Option<Header> {
    let mut file = File::open(file).ok()?;
    let length = header_length(&mut file).ok().filter(|length| *length <= MAX_HEADER)?;
    let mut text = vec![];
    file.take(length).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}
