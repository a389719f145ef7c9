//! A folder to write to, and what a test asks about it.

use super::names;
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use txt2img::outdir::{Completeness, Mode, OutDir, RunParams, RunSpec};
use txt2img::output::{Format, NameFields, Pattern, Picture};

const OLD: &str = "old";

/// A run into OUTDIR.
pub struct Run {
    pub folder: OutDir,
    samples: usize,
    grids: usize,
}

/// One whose samples are numbered PNG files.
pub fn open(outdir: impl AsRef<Path>) -> Result<Run> {
    open_as(spec(outdir.as_ref()))
}

pub fn open_as(spec: RunSpec) -> Result<Run> {
    OutDir::create(spec.outdir)?;
    Ok(Run { folder: OutDir::open(spec)?, samples: 0, grids: 0 })
}

/// Of a run of a thousand pictures that has no terms and no grid.
pub fn spec(outdir: &Path) -> RunSpec<'_> {
    let (format, params) = (Format::Png, RunParams::new());
    let shortened = Box::new(|_, _| None);
    let (mode, shard, pattern, overview) = (Mode::Begin, None, None, None);
    RunSpec { outdir, mode, shard, params, pictures: 1000, overview, format, pattern, shortened }
}

/// Saves the run's next picture, of which nothing is known.
pub fn save(run: &mut Run, picture: &Picture) -> Result<PathBuf> {
    save_as(run, picture, &NameFields::default())
}

pub fn save_as(run: &mut Run, picture: &Picture, named: &NameFields) -> Result<PathBuf> {
    let png = Format::Png.encode(picture, None)?;
    run.samples += 1;
    run.folder.save_sample(run.samples - 1, &png, named)
}

impl Run {
    pub fn save_grid(&mut self, picture: &Picture) -> Result<PathBuf> {
        self.grids += 1;
        self.folder.save_grid(self.grids - 1, picture, Completeness::Complete)
    }
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

    pub fn open(&self) -> Run {
        open(self.path()).unwrap()
    }

    /// Its samples are named by a pattern.
    pub fn open_named(&self, pattern: &str) -> Run {
        open_as(RunSpec { pattern: Some(Pattern::parse(pattern).unwrap()), ..spec(&self.path()) }).unwrap()
    }

    pub fn is_old(&self, file: &str) -> bool {
        fs::read(self.path().join(file)).unwrap() == OLD.as_bytes()
    }

    /// All files in it but its journal, sorted: its own, then those of `samples`.
    pub fn files(&self) -> Vec<String> {
        let mut files = names(&self.path());
        files.retain(|name| name != "samples" && name != "run.jsonl");
        files.extend(names(&self.path().join("samples")).into_iter().map(|name| format!("samples/{name}")));
        files
    }

    /// Why it cannot be opened.
    pub fn refusal(&self) -> String {
        format!("{:#}", open(self.path()).err().unwrap())
    }
}
