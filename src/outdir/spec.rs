//! The specification of a run.

use super::journal::{Mode, Overview, PARAMS_VERSION, RunHeader, RunParams};
use super::names::Numbering;
use crate::output::{Format, Pattern};
use crate::shard::Shard;
use anyhow::Result;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

/// A run to begin or resume in an output folder.
pub struct RunSpec<'a> {
    /// The output folder.
    pub outdir: &'a Path,
    /// Whether the run begins or resumes.
    pub mode: Mode,
    /// The part of the run that this process draws, `None` for all of it.
    pub shard: Option<Shard>,
    /// The parameters that a process must share to resume the run.
    pub params: RunParams,
    /// The number of pictures of the whole run.
    pub pictures: usize,
    /// The kind of overview, if the run writes any.
    pub overview: Option<Overview>,
    /// The file format of samples.
    pub format: Format,
    /// The names of samples, which are numbers if it is `None`.
    pub pattern: Option<Pattern>,
}

impl RunSpec<'_> {
    /// Returns the header of the run if it began now, with a random id, and numbers that continue those in OUTDIR.
    ///
    /// # Errors
    /// If OUTDIR cannot be listed.
    pub fn header(&self) -> Result<RunHeader> {
        Ok(RunHeader {
            id: format!("{:016x}", RandomState::new().hash_one(0)),
            params: self.params.clone(),
            params_version: PARAMS_VERSION,
            pictures: self.pictures,
            shards: self.shard.map_or(1, |shard| shard.of),
            overview: self.overview,
            numbering: Numbering::continue_from(self.outdir, self.format)?,
        })
    }
}
