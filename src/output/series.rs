//! Numbered files: none is overwritten, each appears whole or not at all.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::{Builder, NamedTempFile};

use super::{Picture, names, png};

/// How the names of unfinished files begin.
const UNFINISHED: &str = ".txt2img-";

/// `FOLDER/PREFIX00000.png`, `FOLDER/PREFIX00001.png`, …
pub struct Series {
    pub folder: PathBuf,
    pub prefix: &'static str,
    pub digits: usize,
    /// "png", or what else is in the files.
    pub extension: &'static str,
    pub next: usize,
}

impl Series {
    /// Writes the picture under the next name that is free.
    pub fn save(&mut self, picture: &Picture) -> Result<PathBuf> {
        let png = png::encode(picture)?;
        self.save_as(|file| Ok(file.write_all(&png)?))
    }

    /// Has a file written that gets the next name that is free.
    pub fn save_as(&mut self, write: impl FnOnce(&mut File) -> Result<()>) -> Result<PathBuf> {
        let cannot = |path: PathBuf| format!("cannot write '{}'", path.display());
        let mut file = unfinished(&self.folder).with_context(|| cannot(self.path()))?;
        write(file.as_file_mut()).with_context(|| cannot(self.path()))?;
        self.name(file).with_context(|| cannot(self.path()))
    }

    fn name(&mut self, mut file: NamedTempFile) -> io::Result<PathBuf> {
        loop {
            let path = self.path();
            match file.persist_noclobber(&path) {
                Ok(_) => {
                    self.next += 1;
                    return Ok(path);
                }
                Err(taken) if taken.error.kind() == ErrorKind::AlreadyExists => {
                    self.next += 1;
                    file = taken.file;
                }
                Err(failed) => return Err(failed.error),
            }
        }
    }

    /// The name that the file after `n` others would get, if nobody else writes any.
    pub fn nth(&self, n: usize) -> Result<PathBuf> {
        let mut taken: Vec<usize> = names(&self.folder)?.iter().filter_map(|name| self.number(name)).collect();
        taken.sort_unstable();
        let mut number = self.next + n;
        for taken in taken.into_iter().filter(|&taken| taken >= self.next) {
            number += usize::from(taken <= number);
        }
        Ok(self.numbered(number))
    }

    /// Of a name of this series.
    fn number(&self, name: &OsStr) -> Option<usize> {
        let digits = name.to_str()?.strip_prefix(self.prefix)?.strip_suffix(self.extension)?.strip_suffix('.')?;
        let number = digits.parse().ok()?;
        (self.numbered(number).file_name() == Some(name)).then_some(number)
    }

    fn path(&self) -> PathBuf {
        self.numbered(self.next)
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let Self { folder, prefix, digits, extension, .. } = self;
        folder.join(format!("{prefix}{number:0digits$}.{extension}"))
    }
}

/// A new file that vanishes unless it is persisted.
pub fn unfinished(folder: &Path) -> io::Result<NamedTempFile> {
    // Opened here for the ordinary permissions: tempfile's own are for one user alone.
    Builder::new().prefix(UNFINISHED).make_in(folder, |path| File::create_new(path))
}

pub fn is_unfinished(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
}
