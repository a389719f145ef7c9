//! The records of a journal, one JSON line each. The names on disk are older than those here, and stay.

use crate::files::sha256;
use crate::outdir::names::Numbering;
use crate::shard::Shard;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path};

/// One record of a journal.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum LogRecord {
    /// A run began. The following records belong to it.
    #[serde(rename = "begun")]
    Begin(Box<RunHeader>),
    /// The run of the records before gets this header: more pictures.
    #[serde(rename = "extended")]
    Extend(Box<RunHeader>),
    /// The following records belong to this run, counted from 0 in the order of the `Begin` records in `run.jsonl`.
    #[serde(rename = "of")]
    Select(usize),
    /// A file is about to be renamed from its temporary name.
    #[serde(rename = "promised")]
    Intend(Intent),
    /// An artifact is done: the file of its last intent has its name, or there was nothing to save.
    #[serde(rename = "done")]
    Commit(Artifact),
    /// Everything is drawn: of the run, or of the shard with this index.
    #[serde(rename = "ended")]
    End(Option<usize>),
}

/// A part of a run's output. Pictures, steps and grids are counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Artifact {
    /// A picture, by number.
    Picture(usize),
    /// A preview, by the number of its picture and the step after which it was taken.
    Preview(usize, usize),
    /// A grid, by number.
    Grid(usize),
    /// The sheet of a sweep.
    Sheet,
    /// The page of a sweep.
    Page,
    /// The page that lists all pictures.
    Index,
}

impl Artifact {
    /// Returns whether the artifact shows several pictures, as grids, sheets and pages do.
    pub fn is_overview(self) -> bool {
        matches!(self, Self::Grid(_) | Self::Sheet | Self::Page | Self::Index)
    }
}

/// The intent to give a file its name, logged once its contents are on disk under a temporary name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Intent {
    /// The artifact in the file.
    #[serde(rename = "what")]
    pub artifact: Artifact,
    /// The name within OUTDIR.
    pub file: Box<str>,
    /// The SHA-256 of the contents.
    pub sha256: Box<str>,
    /// Whether the file shows everything it should.
    #[serde(default, rename = "partial", skip_serializing_if = "Completeness::is_complete")]
    pub completeness: Completeness,
}

/// Whether a grid, sheet or page shows all of its pictures. Journals store it as `partial: true` or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum Completeness {
    /// Shows all pictures, and is final.
    #[default]
    Complete,
    /// Shows the pictures drawn before the run was stopped. A resumed run replaces it.
    Partial,
}

/// A run, as recorded when it began.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunHeader {
    /// The id, unique to this run: 1 to 32 letters and digits.
    pub id: String,
    /// The parameters that a process must share to resume the run.
    #[serde(rename = "terms")]
    pub params: RunParams,
    /// The version of the parameters' names and notation; 0 in the oldest journals, which lack it.
    #[serde(default, rename = "edition")]
    pub params_version: u32,
    /// The number of pictures.
    pub pictures: usize,
    /// The number of shards; 1 for a run that is not divided.
    pub shards: usize,
    /// The kind of overview, if the run writes any.
    pub overview: Option<Overview>,
    /// The numbers in the names of the run's files.
    pub numbering: Numbering,
}

/// The version of the parameters of new runs.
pub const PARAMS_VERSION: u32 = 2;

/// Everything that determines the pictures of a run and what is stored of them, by flag or, if there is no flag, by
/// description.
pub type RunParams = BTreeMap<String, Value>;

/// A kind of overview: files that show many pictures at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overview {
    /// One or more grids.
    Grids(Grids),
    /// The sheet and the page of a sweep.
    Sweep,
}

/// The form of a run's grids.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grids {
    /// The number of pictures in a row.
    pub columns: usize,
    /// The number of pictures on each grid. The last grid may have fewer.
    pub every: usize,
    /// Whether grids carry the invisible watermark.
    pub watermark: bool,
}

impl RunHeader {
    /// Whether a header read from a journal, which anybody may have written, is valid.
    pub fn is_valid(&self) -> bool {
        let has_id = (1..=32).contains(&self.id.len()) && self.id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let has_pictures = match &self.overview {
            Some(Overview::Grids(grids)) => grids.columns > 0 && grids.every > 0,
            _ => true,
        };
        has_id && has_pictures && (1..=Shard::MAX).contains(&self.shards) && self.numbering.is_valid()
    }
}

impl Intent {
    /// Whether the file is in OUTDIR or in a folder there, where runs write. Journals may name any other.
    pub fn is_inside(&self) -> bool {
        let parts = Path::new(&*self.file).components();
        parts.clone().all(|part| matches!(part, Component::Normal(_))) && (1..=2).contains(&parts.count())
    }

    /// Whether the file exists in `outdir` with the intended contents, which are read.
    pub fn is_fulfilled(&self, outdir: &Path) -> bool {
        let path = outdir.join(&*self.file);
        // Reading a pipe would never end.
        path.is_file() && sha256::of_file(&path, &|| true).is_ok_and(|sum| sum.as_deref() == Some(&*self.sha256))
    }
}

impl Completeness {
    /// Returns `Complete` or `Partial`, by whether all pictures are there.
    pub fn of(is_complete: bool) -> Self {
        if is_complete { Self::Complete } else { Self::Partial }
    }

    /// Whether the file stays as it is.
    pub fn is_complete(&self) -> bool {
        *self == Self::Complete
    }
}

impl From<bool> for Completeness {
    /// Converts from the journal's `partial`.
    fn from(partial: bool) -> Self {
        Self::of(!partial)
    }
}

impl From<Completeness> for bool {
    /// Converts to the journal's `partial`.
    fn from(completeness: Completeness) -> bool {
        completeness == Completeness::Partial
    }
}

impl Grids {
    /// Returns the numbers of the pictures on grid `n` of a run of `total` pictures.
    pub fn pictures(&self, n: usize, total: usize) -> Range<usize> {
        let first = n.saturating_mul(self.every).min(total);
        first..first.saturating_add(self.every).min(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as earlier versions of this program wrote them.
    const LINES: [&str; 10] = [
        r#"{"begun":{"id":"5e0c","terms":{"--seed":42},"edition":1,"pictures":12,"shards":1,"overview":{"grids":{"columns":3,"every":12,"watermark":true}},"numbering":{"samples":{"first":0,"taken":[]},"grids":{"first":0,"taken":[3]},"sheets":{"first":0,"taken":[]},"pages":{"first":0,"taken":[]},"indexes":{"first":0,"taken":[]}}}}"#,
        r#"{"of":0}"#,
        r#"{"promised":{"what":{"picture":3},"file":"samples/00003.png","sha256":"00"}}"#,
        r#"{"promised":{"what":{"grid":0},"file":"grid-0000.png","sha256":"00","partial":true}}"#,
        r#"{"done":{"picture":3}}"#,
        r#"{"done":{"preview":[3,10]}}"#,
        r#"{"done":"sheet"}"#,
        r#"{"done":"index"}"#,
        r#"{"ended":null}"#,
        r#"{"ended":2}"#,
    ];

    #[test]
    fn journals_are_written_as_they_always_were() {
        for line in LINES {
            let record: LogRecord = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&record).unwrap(), line);
        }
    }

    #[test]
    fn headers_without_numbers_of_index_pages_can_be_read() {
        let old = LINES[0].replace(r#","indexes":{"first":0,"taken":[]}"#, "");
        assert_ne!(old, LINES[0]);
        assert_eq!(serde_json::from_str::<LogRecord>(&old).unwrap(), serde_json::from_str(LINES[0]).unwrap());
    }

    #[test]
    fn a_header_without_a_version_has_version_0() {
        let old = LINES[0].replace(r#""edition":1,"#, "");
        let LogRecord::Begin(header) = serde_json::from_str(&old).unwrap() else { panic!("it begins a run") };
        assert_eq!(header.params_version, 0);
    }
}
