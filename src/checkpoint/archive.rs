//! The zip container of a torch file: where each of its entries lies in the mapped file.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use zip::read::{ArchiveOffset, Config, ZipFile};
use zip::{CompressionMethod, ZipArchive};

use super::damaged;

/// Entries by their path below the archive's root folder, whose name is arbitrary.
pub(super) struct Archive(HashMap<String, Range<usize>>);

impl Archive {
    pub fn read(file: &[u8]) -> Result<Self> {
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let mut zip = ZipArchive::with_config(config, Cursor::new(file)).map_err(damaged)?;
        let mut entries = vec![];
        for n in 0..zip.len() {
            let entry = zip.by_index_raw(n).map_err(damaged)?;
            let name = entry.name().map_err(damaged)?.into_owned();
            entries.push((name, place(file, &entry)?));
        }
        let root = entries.iter().filter_map(|(name, _)| root(name)).min_by_key(|root| root.len());
        let root = root
            .map(str::to_string)
            .context("is a zip archive without a torch checkpoint (data.pkl) in it; unpack it, or download it again")?;
        let below = |(name, place): (String, _)| Some((name.strip_prefix(&root)?.to_string(), place));
        Ok(Self(entries.into_iter().filter_map(below).collect()))
    }

    /// Where the entries of one folder lie in the file, by their names within it.
    pub fn below(&self, folder: &str) -> HashMap<String, Range<usize>> {
        let inner =
            |(name, place): (&String, &Range<usize>)| Some((name.strip_prefix(folder)?.to_string(), place.clone()));
        self.0.iter().filter_map(inner).collect()
    }

    /// Where an entry lies in the file.
    pub fn entry(&self, name: &str) -> Option<Range<usize>> {
        self.0.get(name).cloned()
    }
}

/// The folder whose pickle this is.
fn root(name: &str) -> Option<&str> {
    let root = name.strip_suffix("data.pkl")?;
    (root.is_empty() || root.ends_with('/')).then_some(root)
}

fn place<R: Read>(file: &[u8], entry: &ZipFile<R>) -> Result<Range<usize>> {
    ensure!(
        entry.compression() == CompressionMethod::Stored,
        "is compressed, which torch never does; load it with torch.load and save it again with torch.save"
    );
    let beyond = || damaged("an entry reaches beyond its end");
    let start = entry.data_start().ok_or_else(beyond)?;
    let end = start.checked_add(entry.size()).ok_or_else(beyond)?;
    ensure!(end <= file.len() as u64, beyond());
    Ok(start as usize..end as usize)
}
