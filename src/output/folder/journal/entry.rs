//! The lines of a journal.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::output::folder::names::Numbering;
use crate::shard::Shard;

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
    /// Of this run alone: some letters and digits.
    pub id: String,
    /// Everything that determines how pictures come out and what is written of them, by flag.
    pub terms: Terms,
    /// Which terms there are, and how they are written; 0 in journals that do not say.
    #[serde(default)]
    pub edition: u32,
    /// How many it draws.
    pub pictures: usize,
    /// By how many processes, each of them a part.
    pub shards: usize,
    /// What shows many of them at once.
    pub overview: Option<Overview>,
    /// The numbers of its files.
    pub numbering: Numbering,
}

/// The edition of the terms of runs that begin now.
pub const EDITION: u32 = 1;

/// By flag, or by what else it is.
pub type Terms = BTreeMap<String, Value>;

/// What shows many pictures at once.
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

impl Begun {
    /// Whether it can be: a journal may have been written by anybody.
    pub fn is_sound(&self) -> bool {
        let has_id = (1..=32).contains(&self.id.len()) && self.id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let has_pictures = match &self.overview {
            Some(Overview::Grids(grids)) => grids.columns > 0 && grids.every > 0,
            _ => true,
        };
        has_id && has_pictures && (1..=Shard::MAX).contains(&self.shards) && self.numbering.is_sound()
    }
}

impl Promise {
    /// Whether its file is where a run has files: in OUTDIR, or in a folder there.
    pub fn is_inside(&self) -> bool {
        let parts = Path::new(&*self.file).components();
        parts.clone().all(|part| matches!(part, Component::Normal(_))) && (1..=2).contains(&parts.count())
    }
}

impl Grids {
    /// The pictures on the n-th, of a run of so many.
    pub fn pictures(&self, n: usize, of: usize) -> Range<usize> {
        let first = n.saturating_mul(self.every).min(of);
        first..first.saturating_add(self.every).min(of)
    }
}
