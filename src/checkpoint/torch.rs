//! Files of `torch.save` (`.ckpt`, `.pt`, `.bin`): a pickle that describes the tensors, and the storages of their
//! elements.

use super::archive::Archive;
use super::bytes::Bytes;
use super::pickle::{Pickle, Value};
use super::rebuild::Rebuild;
use super::{Tensors, damaged, legacy, sniff, state_dict};
use anyhow::{Result, ensure};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// The maximum size of a pickle in bytes, which bounds the memory for unpickling. Those of real checkpoints have less
/// than one MiB.
pub(super) const MAX_PICKLE: usize = 64 << 20;

/// The maximum length of the name of a tensor or a storage, in bytes.
const MAX_NAME: usize = 1024;

const BIG_ENDIAN: &str = "was saved on a big-endian machine; convert it to .safetensors there";

/// The saved object, and the byte range of each storage, by its key.
pub(super) struct Saved<'a> {
    pub pickle: Pickle<'a>,
    pub storages: HashMap<String, Range<usize>>,
    pub is_little_endian: bool,
}

/// Reads the tensors of a file, under the names in it.
///
/// # Errors
/// If the file is damaged, is big-endian, or does not hold a dictionary of tensors.
pub(super) fn read_tensors(file: &Arc<Bytes>) -> Result<Tensors> {
    read(file, state_dict::find)
}

/// Reads the vectors of a textual inversion, under the names in the file. Other files' tensors are returned as they are.
///
/// # Errors
/// If the file is damaged, is big-endian, or does not hold a dictionary.
pub(super) fn read_embedding(file: &Arc<Bytes>) -> Result<Tensors> {
    read(file, state_dict::find_embedding)
}

/// A function that returns the entries of the dictionary to read.
type Find = for<'p, 'a> fn(&'p Pickle<'a>) -> Result<&'p [[Value<'a>; 2]]>;

fn read(file: &Arc<Bytes>, find: Find) -> Result<Tensors> {
    let saved = if sniff::is_zip(file) { zipped(file)? } else { legacy::read_saved(file)? };
    ensure!(saved.is_little_endian, BIG_ENDIAN);
    let rebuild = Rebuild { file, saved: &saved };
    let mut tensors = Tensors::new();
    for &[key, value] in find(&saved.pickle)? {
        if let (Some(name), Some(description)) = (as_name(key), rebuild.description(value)) {
            let tensor = rebuild.tensor(description).map_err(|e| damaged(format!("tensor '{name}' {e}")))?;
            tensors.insert(name.to_string(), tensor);
        }
    }
    Ok(tensors)
}

/// Reads a file in the zip format.
fn zipped(file: &[u8]) -> Result<Saved<'_>> {
    let archive = Archive::read(file)?;
    let is_little_endian = archive.entry("byteorder").is_none_or(|range| &file[range] == b"little");
    let code = archive.entry("data.pkl").ok_or_else(|| damaged("it has no data.pkl"))?;
    // Checked first, since unpickling needs several times this memory.
    ensure!(code.len() <= MAX_PICKLE, "holds far more than tensors; save its state_dict alone with torch.save");
    let pickle = Pickle::parse(&file[code]).map_err(damaged)?;
    Ok(Saved { pickle, storages: archive.below("data/"), is_little_endian })
}

/// Returns the text of a value that can be the name of a tensor or a storage: short, without control characters.
pub(super) fn as_name(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Str(name) if name.len() <= MAX_NAME && !name.contains(char::is_control) => Some(name),
        _ => None,
    }
}
