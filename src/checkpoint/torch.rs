//! `.ckpt`, `.pt`, `.bin`: a pickle that describes the tensors, and their numbers, in a zip archive or one after the other.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, ensure};

use super::archive::Archive;
use super::bytes::Bytes;
use super::pickle::{Pickle, Value};
use super::rebuild::Rebuild;
use super::{Tensors, damaged, legacy, sniff, state_dict};

/// Real checkpoints' pickles have less than one MiB; this bounds the memory that unpickling takes.
pub(super) const MAX_PICKLE: usize = 64 << 20;
/// A longer text, or one with control characters, names neither a tensor nor a storage.
const MAX_NAME: usize = 1024;

const BIG_ENDIAN: &str = "was saved on a big-endian machine; convert it to .safetensors there";

/// What `torch.save` was given, and where in the file each storage lies, by its key.
pub(super) struct Saved<'a> {
    pub pickle: Pickle<'a>,
    pub storages: HashMap<String, Range<usize>>,
    pub is_little_endian: bool,
}

/// The tensors of a file, under the names they have there.
pub(super) fn read(file: &Arc<Bytes>) -> Result<Tensors> {
    let saved = if sniff::is_zip(file) { zipped(file)? } else { legacy::read(file)? };
    ensure!(saved.is_little_endian, BIG_ENDIAN);
    let rebuild = Rebuild { file, saved: &saved };
    let mut tensors = Tensors::new();
    for &[key, value] in state_dict::find(&saved.pickle)? {
        if let (Some(name), Some(description)) = (name(key), rebuild.description(value)) {
            let tensor = rebuild.tensor(description).map_err(|e| damaged(format!("tensor '{name}' {e}")))?;
            tensors.insert(name.to_string(), tensor);
        }
    }
    Ok(tensors)
}

fn zipped(file: &[u8]) -> Result<Saved<'_>> {
    let archive = Archive::read(file)?;
    let is_little_endian = archive.entry("byteorder").is_none_or(|place| &file[place] == b"little");
    let code = archive.entry("data.pkl").ok_or_else(|| damaged("it has no data.pkl"))?;
    // Before the pickle is run, which costs several times its size.
    ensure!(code.len() <= MAX_PICKLE, "holds far more than tensors; save its state_dict alone with torch.save");
    let pickle = Pickle::read(&file[code]).map_err(damaged)?;
    Ok(Saved { pickle, storages: archive.below("data/"), is_little_endian })
}

/// The text of a value that can name a tensor or a storage.
pub(super) fn name(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Str(name) if name.len() <= MAX_NAME && !name.contains(char::is_control) => Some(name),
        _ => None,
    }
}
