//! What the files of a run are called.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::journal;
use super::series::{Numbers, Series};
use super::{check_no_file, list};
use crate::by_name::ByName;
use crate::output::{Format, Named, Pattern};
use crate::shard::Shard;
use crate::unfinished;

/// The folder of samples, in OUTDIR.
pub const SAMPLES: &str = "samples";
/// The folder of previews, in OUTDIR.
pub const INTERMEDIATES: &str = "intermediates";
/// How the names of a sweep's files begin.
const SWEEP: &str = "sweep-";

const GRIDS: Series = Series { prefix: "grid-", digits: 4, extension: "png" };
const SHEETS: Series = Series { prefix: SWEEP, digits: 4, extension: "png" };
const PAGES: Series = Series { prefix: SWEEP, digits: 4, extension: "html" };

/// The name of a file of which every shard has its own: of `a/run.jsonl`, that is `a/run-0-of-8.jsonl`.
pub fn of_shard(path: &Path, shard: Shard) -> PathBuf {
    suffixed(path, &format!("-{}-of-{}", shard.index, shard.of))
}

/// A file's name with something between its stem and its extension.
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

/// The names that a run's files get in OUTDIR, if nobody else takes them.
pub struct Names {
    numbers: Numbering,
    format: Format,
    /// How samples are named, if not by number.
    pattern: Option<Pattern>,
}

/// Where the numbers of a run's files begin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Numbering {
    samples: Numbers,
    grids: Numbers,
    sheets: Numbers,
    pages: Numbers,
}

/// A name within OUTDIR, in two parts, for a number may have to come between them.
pub struct Name {
    stem: String,
    extension: &'static str,
}

impl Numbering {
    /// Whether it can be.
    pub fn is_sound(&self) -> bool {
        [&self.samples, &self.grids, &self.sheets, &self.pages].into_iter().all(Numbers::is_sound)
    }

    /// Counts what is in OUTDIR: numbers go on from there. Nothing is created.
    ///
    /// # Errors
    /// When a folder cannot be listed, or is a file.
    pub fn look(outdir: &Path, format: Format) -> Result<Self> {
        let samples = outdir.join(SAMPLES);
        check_no_file(&samples)?;
        let (inside, outside) = (list(&samples)?, list(outdir)?);
        let n = |files: &[OsString], counts: &dyn Fn(&OsStr) -> bool| {
            files.iter().filter(|name| !unfinished::is_one(name) && counts(name)).count()
        };
        // `samples` itself does not count, nor does what the original knows nothing of.
        let is_the_originals = |name: &OsStr| !is_of_sweep(name) && !journal::is_one(name) && name != INTERMEDIATES;
        let n_grids = n(&outside, &is_the_originals).saturating_sub(usize::from(samples.exists()));
        Ok(Self {
            samples: numbered(format).free(n(&inside, &|_| true), &inside),
            grids: GRIDS.free(n_grids, &outside),
            sheets: SHEETS.free(0, &outside),
            pages: PAGES.free(0, &outside),
        })
    }
}

impl Names {
    /// format: of samples. pattern: their names; without one they are numbers.
    pub fn new(numbers: Numbering, format: Format, pattern: Option<Pattern>) -> Self {
        Self { numbers, format, pattern }
    }

    /// The number in the name of the run's n-th picture, from 0.
    pub fn index(&self, n: usize) -> usize {
        self.numbers.samples.nth(n)
    }

    /// `samples/NNNNN.EXTENSION`, or by the pattern.
    pub fn sample(&self, n: usize, named: &Named) -> Name {
        let Some(pattern) = &self.pattern else { return self.numbered_sample(n) };
        let stem = pattern.name(self.index(n), named);
        Name { stem: format!("{SAMPLES}/{stem}"), extension: self.format.name() }
    }

    /// `samples/NNNNN.EXTENSION`, whatever the pattern.
    pub fn numbered_sample(&self, n: usize) -> Name {
        let stem = numbered(self.format).stem(self.index(n));
        Name { stem: format!("{SAMPLES}/{stem}"), extension: self.format.name() }
    }

    /// `intermediates/NNNNN-SSS.png`. step: after which of the n-th picture's.
    pub fn preview(&self, n: usize, step: usize) -> Name {
        Name { stem: format!("{INTERMEDIATES}/{:05}-{step:03}", self.index(n)), extension: "png" }
    }

    /// `grid-NNNN.png`
    pub fn grid(&self, n: usize) -> Name {
        Name { stem: GRIDS.stem(self.numbers.grids.nth(n)), extension: "png" }
    }

    /// `sweep-NNNN.png`
    pub fn sheet(&self) -> Name {
        Name { stem: SHEETS.stem(self.numbers.sheets.nth(0)), extension: "png" }
    }

    /// `sweep-NNNN.html`
    pub fn page(&self) -> Name {
        Name { stem: PAGES.stem(self.numbers.pages.nth(0)), extension: "html" }
    }
}

impl Name {
    /// The name itself; or where so many are taken, `-2`, `-3`, … added to it.
    pub fn after(&self, n_taken: usize) -> String {
        let Self { stem, extension } = self;
        match n_taken {
            0 => format!("{stem}.{extension}"),
            _ => format!("{stem}-{}.{extension}", n_taken + 1),
        }
    }
}

fn numbered(format: Format) -> Series {
    Series { prefix: "", digits: 5, extension: format.name() }
}

fn is_of_sweep(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(SWEEP.as_bytes())
}
