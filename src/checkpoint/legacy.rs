//! torch's files without an archive (`_use_new_zipfile_serialization=False`, and all before torch 1.6): four small
//! pickles and a large one, then the storages.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, Error, Result, anyhow, ensure};

use super::damaged;
use super::pickle::{Pickle, Value};
use super::rebuild::{element_size, storage_id};
use super::torch::{MAX_PICKLE, Saved, name};

/// The pickled number that a file begins with, without the pickle's protocol.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// Bytes in which the magic number ends, whatever the protocol.
const HEAD: usize = 32;

/// The length of a storage's count of numbers.
const COUNT: usize = 8;

/// Whether a file begins as one of these.
pub(super) fn is_legacy(file: &[u8]) -> bool {
    let head = &file[..file.len().min(HEAD)];
    head.first() == Some(&0x80) && head.windows(MAGIC.len()).any(|bytes| bytes == MAGIC)
}

/// What a file holds.
pub(super) fn read(file: &[u8]) -> Result<Saved<'_>> {
    let mut rest = Pickles { file, at: 0 };
    rest.next()?; // the magic number
    rest.next()?; // the format's version
    let is_little_endian = is_little_endian(&rest.next()?);
    let pickle = rest.next()?;
    let keys = rest.next()?;
    let storages = storages(file, rest.at, &pickle, &keys).map_err(damaged)?;
    Ok(Saved { pickle, storages, is_little_endian })
}

/// Pickles one after the other.
struct Pickles<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Pickles<'a> {
    fn next(&mut self) -> Result<Pickle<'a>> {
        let rest = &self.file[self.at..];
        let pickle = Pickle::read(&rest[..rest.len().min(MAX_PICKLE)]).map_err(damaged)?;
        self.at += pickle.length;
        Ok(pickle)
    }
}

fn is_little_endian(machine: &Pickle) -> bool {
    let entries = machine.entries(machine.root).unwrap_or_default();
    !entries.contains(&[Value::Str("little_endian"), Value::Int(0)])
}

/// Where the storages lie: in the order of `keys` from `at` on, each behind its count of numbers. The pickle of the tensors
/// knows how long a number of each is.
fn storages(file: &[u8], mut at: usize, pickle: &Pickle, keys: &Pickle) -> Result<HashMap<String, Range<usize>>> {
    let ids = pickle.persistent.iter().filter_map(|&id| storage_id(pickle, id));
    let classes: HashMap<&str, Value> = ids.map(|(class, key, _)| (key, class)).collect();
    let Value::List(keys_of) = keys.root else { return Err(anyhow!("its list of storages is missing")) };
    let mut storages = HashMap::new();
    for &key in keys.items(keys_of) {
        let key = name(key).context("a storage without a name")?;
        let class = classes.get(key).with_context(|| no_size(key))?;
        let size = element_size(*class).with_context(|| no_size(key))?;
        let place = place(&file[at..], size).with_context(|| format!("storage {key} is cut short"))?;
        ensure!(
            storages.insert(key.to_string(), at + place.start..at + place.end).is_none(),
            "storage {key} occurs twice"
        );
        at += place.end;
    }
    Ok(storages)
}

fn no_size(key: &str) -> Error {
    anyhow!("storage {key} holds numbers of an unknown size")
}

/// Where the numbers of the storage at the start of `rest` are; none if they reach beyond its end.
fn place(rest: &[u8], size: usize) -> Option<Range<usize>> {
    let count = u64::from_le_bytes(*rest.first_chunk::<COUNT>()?);
    let bytes = usize::try_from(count).ok()?.checked_mul(size)?;
    let end = COUNT.checked_add(bytes)?;
    (end <= rest.len()).then_some(COUNT..end)
}
