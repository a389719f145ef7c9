//! A folder to write to, and what a test asks about it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;
use txt2img::output::{Folder, Format, Named, Pattern, Picture};

use crate::names;

const OLD: &str = "old";

/// An OUTDIR whose samples are numbered PNG files.
pub fn open(outdir: impl AsRef<Path>) -> Result<Folder> {
    Folder::open(outdir.as_ref(), Format::Png, None)
}

/// Saves a picture of which nothing is known.
pub fn save(folder: &mut Folder, picture: &Picture) -> Result<PathBuf> {
    save_as(folder, picture, &Named::default())
}

pub fn save_as(folder: &mut Folder, picture: &Picture, named: &Named) -> Result<PathBuf> {
    let png = Format::Png.encode(picture, None)?;
    folder.save_sample(|file| Ok(file.write_all(&png)?), named)
}

/// An OUTDIR of its own, not there yet, removed with the value.
pub struct Outdir(TempDir);

impl Outdir {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// An OUTDIR that an earlier run left with these files.
    pub fn with(files: &[&str]) -> Self {
        let outdir = Self::new();
        outdir.open();
        files.iter().for_each(|file| fs::write(outdir.path().join(file), OLD).unwrap());
        outdir
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("out")
    }

    pub fn open(&self) -> Folder {
        open(self.path()).unwrap()
    }

    /// Its samples are named by a pattern.
    pub fn open_named(&self, pattern: &str) -> Folder {
        Folder::open(&self.path(), Format::Png, Some(Pattern::parse(pattern).unwrap())).unwrap()
    }

    pub fn is_old(&self, file: &str) -> bool {
        fs::read(self.path().join(file)).unwrap() == OLD.as_bytes()
    }

    /// All files in it, sorted: its own, then those of `samples`.
    pub fn files(&self) -> Vec<String> {
        let mut files = names(&self.path());
        files.retain(|name| name != "samples");
        files.extend(names(&self.path().join("samples")).into_iter().map(|name| format!("samples/{name}")));
        files
    }

    /// Why it cannot be opened.
    pub fn refusal(&self) -> String {
        format!("{:#}", open(self.path()).err().unwrap())
    }
}
