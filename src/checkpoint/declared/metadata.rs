//! The metadata in the header of a `.safetensors` file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::{Declared, Stated};
use crate::config::Prediction;

/// The largest header that is read, as in the safetensors library.
const MAX_HEADER: u64 = 100_000_000;

/// The prediction type in Stability AI's model metadata standard, "ModelSpec".
const PREDICTION: &str = "modelspec.prediction_type";

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: Option<BTreeMap<String, Value>>,
}

/// Reads what the metadata states; nothing if there is none that can be read, as metadata may be anything.
pub(super) fn read(file: &Path) -> Result<Declared> {
    let Some(metadata) = header(file).and_then(|header| header.metadata) else { return Ok(Declared::default()) };
    let prediction = match metadata.get(PREDICTION).and_then(Value::as_str) {
        None | Some("") => None,
        Some(name) => match Prediction::from_name(name) {
            Some(prediction) => Some(Stated::new(prediction, format!("metadata '{PREDICTION}'"))),
            None => bail!("predicts '{name}' (metadata '{PREDICTION}'), which is not supported; eps and v are"),
        },
    };
    Ok(Declared { prediction, ..Declared::default() })
}

fn header(file: &Path) -> Option<Header> {
    let mut file = File::open(file).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = Some(u64::from_le_bytes(length)).filter(|length| *length <= MAX_HEADER)?;
    let mut text = vec![];
    file.take(length).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}
