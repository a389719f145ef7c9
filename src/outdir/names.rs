//! The names of files in OUTDIR.

use super::dir::{check_no_file, list};
use super::series::{Counter, Series};
use crate::by_name::ByName;
use crate::files::atomic;
use crate::output::{Format, NameFields, Pattern};
use crate::shard::Shard;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The name of a run's journal in OUTDIR.
pub const JOURNAL: &str = "run.jsonl";
/// The folder of samples in OUTDIR.
pub const SAMPLES: &str = "samples";
/// The folder of previews in OUTDIR.
pub const INTERMEDIATES: &str = "intermediates";
/// The prefix of the names of pages that list all pictures.
const INDEX: &str = "index-";
/// The prefix of the names of a sweep's files.
const SWEEP: &str = "sweep-";

const GRIDS: Series = Series { prefix: "grid-", digits: 4, extension: "png" };
const SHEETS: Series = Series { prefix: SWEEP, digits: 4, extension: "png" };
const PAGES: Series = Series { prefix: SWEEP, digits: 4, extension: "html" };
const INDEXES: Series = Series { prefix: INDEX, digits: 4, extension: "html" };

/// Returns the path of a shard's own version of the file `path`: `a/run-0-of-8.jsonl` for `a/run.jsonl`.
pub fn shard_path(path: &Path, shard: Shard) -> PathBuf {
    suffixed(path, &format!("-{}-of-{}", shard.index, shard.of))
}

/// Returns `path` with `suffix` between the stem and the extension of its file name.
pub fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let Some(stem) = path.file_stem() else { return path.to_owned() };
    let mut name = stem.to_owned();
    name.push(suffix);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Returns the index of the shard whose journal is called `name`, or `None` if the name is not of that form.
pub fn shard_of_journal(name: &OsStr) -> Option<usize> {
    let (index, of) = name.to_str()?.strip_prefix("run-")?.strip_suffix(".jsonl")?.split_once("-of-")?;
    of.parse::<usize>().ok()?;
    index.parse().ok()
}

/// The names of a run's files in OUTDIR, unless they are taken meanwhile.
pub struct Names {
    numbering: Numbering,
    format: Format,
    pattern: Option<Pattern>,
}

/// The numbers in the names of a run's files.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Numbering {
    samples: Counter,
    grids: Counter,
    sheets: Counter,
    pages: Counter,
    #[serde(default)]
    indexes: Counter,
}

/// A file name within OUTDIR, with a series of alternatives in case it is taken.
pub struct Name {
    stem: String,
    extension: &'static str,
}

impl Numbering {
    /// Whether a numbering read from a journal is valid.
    pub fn is_valid(&self) -> bool {
        [&self.samples, &self.grids, &self.sheets, &self.pages, &self.indexes].into_iter().all(Counter::is_valid)
    }

    /// Counts the files in OUTDIR, from which the numbers of a new run continue. `format`: that of its samples. Nothing
    /// is created.
    ///
    /// # Errors
    /// If a folder cannot be listed, or a file is in its place.
    pub fn continue_from(outdir: &Path, format: Format) -> Result<Self> {
        let samples = outdir.join(SAMPLES);
        check_no_file(&samples)?;
        let (inside, outside) = (list(&samples)?, list(outdir)?);
        let n = |files: &[OsString], counts: &dyn Fn(&OsStr) -> bool| {
            files.iter().filter(|name| !atomic::is_temporary(name) && counts(name)).count()
        };
        // The original counts every entry but `samples`. Files that only this program writes are left out.
        let is_counted = |name: &OsStr| !is_of_sweep(name) && !is_journal(name) && name != INTERMEDIATES;
        let n_grids = n(&outside, &is_counted).saturating_sub(usize::from(samples.exists()));
        Ok(Self {
            samples: sample_series(format).counter(n(&inside, &|_| true), &inside),
            grids: GRIDS.counter(n_grids, &outside),
            sheets: SHEETS.counter(0, &outside),
            pages: PAGES.counter(0, &outside),
            indexes: INDEXES.counter(0, &outside),
        })
    }
}

impl Numbering {
    /// Returns the numbering of a run that continues after its first `n_samples` samples and `n_grids` grids, beside the files
    /// that are in OUTDIR by now.
    ///
    /// # Errors
    /// If a folder cannot be listed.
    pub fn extended(&self, outdir: &Path, format: Format, n_samples: usize, n_grids: usize) -> Result<Self> {
        let (inside, outside) = (list(&outdir.join(SAMPLES))?, list(outdir)?);
        Ok(Self {
            samples: self.samples.extended(n_samples, &sample_series(format), &inside),
            grids: self.grids.extended(n_grids, &GRIDS, &outside),
            ..self.clone()
        })
    }
}

impl Names {
    /// Creates the names of a run's files. `format`: that of samples; `pattern`: their names, numbers if `None`.
    pub fn new(numbering: Numbering, format: Format, pattern: Option<Pattern>) -> Self {
        Self { numbering, format, pattern }
    }

    /// Returns the number in the name of picture `n` of the run, counted from 0.
    pub fn index(&self, n: usize) -> usize {
        self.numbering.samples.nth(n)
    }

    /// Returns the name of picture `n` by the pattern, `samples/NNNNN.EXTENSION` without one.
    pub fn sample(&self, n: usize, fields: &NameFields) -> Name {
        let Some(pattern) = &self.pattern else { return self.numbered_sample(n) };
        let stem = pattern.name(self.index(n), fields);
        Name { stem: format!("{SAMPLES}/{stem}"), extension: self.format.name() }
    }

    /// Returns `samples/NNNNN.EXTENSION` for picture `n`, whatever the pattern.
    pub fn numbered_sample(&self, n: usize) -> Name {
        let stem = sample_series(self.format).stem(self.index(n));
        Name { stem: format!("{SAMPLES}/{stem}"), extension: self.format.name() }
    }

    /// Returns `intermediates/NNNNN-SSS.png` for the preview of picture `n` after `step`.
    pub fn preview(&self, n: usize, step: usize) -> Name {
        Name { stem: format!("{INTERMEDIATES}/{:05}-{step:03}", self.index(n)), extension: "png" }
    }

    /// Returns `grid-NNNN.png` for grid `n` of the run, counted from 0.
    pub fn grid(&self, n: usize) -> Name {
        Name { stem: GRIDS.stem(self.numbering.grids.nth(n)), extension: "png" }
    }

    /// Returns `sweep-NNNN.png`.
    pub fn sheet(&self) -> Name {
        Name { stem: SHEETS.stem(self.numbering.sheets.nth(0)), extension: "png" }
    }

    /// Returns `sweep-NNNN.html`.
    pub fn page(&self) -> Name {
        Name { stem: PAGES.stem(self.numbering.pages.nth(0)), extension: "html" }
    }

    /// Returns `index-NNNN.html`.
    pub fn index_page(&self) -> Name {
        Name { stem: INDEXES.stem(self.numbering.indexes.nth(0)), extension: "html" }
    }
}

impl Name {
    /// Returns the name to use after `n_taken` taken ones: the name itself, then the name with `-2`, `-3`, … added.
    pub fn after(&self, n_taken: usize) -> String {
        let Self { stem, extension } = self;
        match n_taken {
            0 => format!("{stem}.{extension}"),
            _ => format!("{stem}-{}.{extension}", n_taken + 1),
        }
    }
}

fn sample_series(format: Format) -> Series {
    Series { prefix: "", digits: 5, extension: format.name() }
}

fn is_of_sweep(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(SWEEP.as_bytes())
}

/// Whether `name` is that of a run's or a shard's journal.
fn is_journal(name: &OsStr) -> bool {
    name == JOURNAL || shard_of_journal(name).is_some()
}
