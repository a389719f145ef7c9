//! The legacy format of torch, without a zip archive (`_use_new_zipfile_serialization=False`, and every file before
//! torch 1.6): four small pickles and a large one, then the storages.

use super::damaged;
use super::pickle::{Pickle, Value};
use super::rebuild::{element_size, storage_id};
use super::torch::{MAX_PICKLE, Saved, as_name};
use anyhow::{Context, Error, Result, anyhow, ensure};
use std::collections::HashMap;
use std::ops::Range;

/// The pickled magic number at the start of a file, without the pickle's protocol.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// The number of bytes within which the magic number ends, in any protocol.
const HEAD: usize = 32;

/// The number of bytes of a storage's element count.
const COUNT: usize = 8;

/// Returns whether a file is in the legacy format.
pub(super) fn is_legacy(file: &[u8]) -> bool {
    let head = &file[..file.len().min(HEAD)];
    head.first() == Some(&0x80) && head.windows(MAGIC.len()).any(|bytes| bytes == MAGIC)
}

/// Reads the pickles of a file and the byte ranges of its storages.
///
/// # Errors
/// If the file is truncated or damaged.
pub(super) fn read_saved(file: &[u8]) -> Result<Saved<'_>> {
    let mut rest = Pickles { file, at: 0 };
    rest.next()?; // the magic number
    rest.next()?; // the format's version
    let is_little_endian = is_little_endian(&rest.next()?);
    let pickle = rest.next()?;
    let keys = rest.next()?;
    let storages = storages(file, rest.at, &pickle, &keys).map_err(damaged)?;
    Ok(Saved { pickle, storages, is_little_endian })
}

/// The consecutive pickles of a file.
struct Pickles<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Pickles<'a> {
    fn next(&mut self) -> Result<Pickle<'a>> {
        let rest = &self.file[self.at..];
        let pickle = Pickle::parse(&rest[..rest.len().min(MAX_PICKLE)]).map_err(damaged)?;
        self.at += pickle.length;
        Ok(pickle)
    }
}

/// Returns whether the pickle of the machine's properties states little-endian byte order, which is the default.
fn is_little_endian(machine: &Pickle) -> bool {
    let entries = machine.entries(machine.root).unwrap_or_default();
    !entries.contains(&[Value::Str("little_endian"), Value::Int(0)])
}

/// Returns the byte range of each storage, by its key. The storages follow each other from `at` on in the order of
/// `keys`, each after its element count. `pickle` states their types.
fn storages(file: &[u8], mut at: usize, pickle: &Pickle, keys: &Pickle) -> Result<HashMap<String, Range<usize>>> {
    let ids = pickle.persistent.iter().filter_map(|&id| storage_id(pickle, id));
    let classes: HashMap<&str, Value> = ids.map(|(class, key, _)| (key, class)).collect();
    let Value::List(list) = keys.root else { return Err(anyhow!("its list of storages is missing")) };
    let mut storages = HashMap::new();
    for &key in keys.items(list) {
        let key = as_name(key).context("a storage without a name")?;
        let class = classes.get(key).with_context(|| no_size(key))?;
        let size = element_size(*class).with_context(|| no_size(key))?;
        let range = elements(&file[at..], size).with_context(|| format!("storage {key} is cut short"))?;
        ensure!(
            storages.insert(key.to_string(), at + range.start..at + range.end).is_none(),
            "storage {key} occurs twice"
        );
        at += range.end;
    }
    Ok(storages)
}

fn no_size(key: &str) -> Error {
    anyhow!("storage {key} holds numbers of an unknown size")
}

/// Returns the byte range of the elements, of `size` bytes each, of the storage at the start of `rest`; `None` if they
/// reach beyond its end.
fn elements(rest: &[u8], size: usize) -> Option<Range<usize>> {
    let count = u64::from_le_bytes(*rest.first_chunk::<COUNT>()?);
    let bytes = usize::try_from(count).ok()?.checked_mul(size)?;
    let end = COUNT.checked_add(bytes)?;
    (end <= rest.len()).then_some(COUNT..end)
}
