//! The zip archive of a torch file, and the byte ranges of its entries.

use super::damaged;
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Range;
use zip::read::{ArchiveOffset, Config, ZipFile};
use zip::{CompressionMethod, ZipArchive};

/// The byte range of each entry, by its path below the archive's root folder, whose name is arbitrary.
pub(super) struct Archive(HashMap<String, Range<usize>>);

impl Archive {
    /// Reads the directory of an archive.
    ///
    /// # Errors
    /// If the archive is damaged, has no `data.pkl`, or is compressed.
    pub fn read(file: &[u8]) -> Result<Self> {
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let mut zip = ZipArchive::with_config(config, Cursor::new(file)).map_err(damaged)?;
        let mut entries = vec![];
        for n in 0..zip.len() {
            let entry = zip.by_index_raw(n).map_err(damaged)?;
            let name = entry.name().map_err(damaged)?.into_owned();
            entries.push((name, range(file, &entry)?));
        }
        let root = entries.iter().filter_map(|(name, _)| root(name)).min_by_key(|root| root.len());
        let root = root
            .map(str::to_string)
            .context("is a zip archive without a torch checkpoint (data.pkl) in it; unpack it, or download it again")?;
        let below = |(name, range): (String, _)| Some((name.strip_prefix(&root)?.to_string(), range));
        Ok(Self(entries.into_iter().filter_map(below).collect()))
    }

    /// Returns the byte ranges of a folder's entries, by their names within it.
    pub fn below(&self, folder: &str) -> HashMap<String, Range<usize>> {
        let inner =
            |(name, range): (&String, &Range<usize>)| Some((name.strip_prefix(folder)?.to_string(), range.clone()));
        self.0.iter().filter_map(inner).collect()
    }

    /// Returns the byte range of an entry.
    pub fn entry(&self, name: &str) -> Option<Range<usize>> {
        self.0.get(name).cloned()
    }
}

/// Returns the folder of a `data.pkl`.
fn root(name: &str) -> Option<&str> {
    let root = name.strip_suffix("data.pkl")?;
    (root.is_empty() || root.ends_with('/')).then_some(root)
}

/// Returns the byte range of an entry, which must be uncompressed.
fn range<R: Read>(file: &[u8], entry: &ZipFile<R>) -> Result<Range<usize>> {
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
