//! The lines of a journal.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::output::folder::names::Numbering;

/// One line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A run began, and what follows is of it.
    Begun(Box<Begun>),
    /// What follows is of this run, counted from 0.
    Of(usize),
    /// A file will get this name.
    Promised(Promise),
    /// It has it; or there was nothing to save.
    Done(What),
    /// All was drawn: of the run, or of this shard of it.
    Ended(Option<usize>),
}

/// What is made in a run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The n-th picture, from 0.
    Picture(usize),
    /// What the n-th picture looked like after a step.
    Preview(usize, usize),
    /// The n-th grid, from 0.
    Grid(usize),
    /// A sweep's.
    Sheet,
    /// A sweep's.
    Page,
}

/// A file that is whole, and its name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Promise {
    pub what: What,
    /// Its name within OUTDIR.
    pub file: Box<str>,
    /// Of its bytes.
    pub sha256: Box<str>,
    /// Whether it is to be replaced, as it shows what was drawn before the run was stopped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// A run, as far as its folder must know it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Begun {
    /// All that decides how pictures come out and what is written of them, by the flag that says it.
    pub terms: Terms,
    /// How many it draws.
    pub pictures: usize,
    /// By how many processes, each of them a part.
    pub shards: usize,
    /// What shows many of them at once.
    pub overview: Option<Overview>,
    /// The numbers of its files.
    pub numbering: Numbering,
}

/// By flag, or by what else it is.
pub type Terms = BTreeMap<String, Value>;

/// Pictures on one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overview {
    /// One or more grids.
    Grids(Grids),
    /// A sweep's sheet and page.
    Sweep,
}

/// The grids of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grids {
    /// Pictures in a row.
    pub columns: usize,
    /// Pictures on each of them; fewer on the last.
    pub every: usize,
    /// Whether they carry the invisible watermark.
    pub watermark: bool,
}

impl Grids {
    /// The pictures on the n-th, of a run of so many.
    pub fn pictures(&self, n: usize, of: usize) -> Range<usize> {
        let end = (n + 1).saturating_mul(self.every).min(of);
        (n * self.every).min(end)..end
    }
}
