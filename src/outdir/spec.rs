//! The specification of a run.

use super::journal::{Grids, Mode, Overview, PARAMS_VERSION, RunHeader, RunParams};
use super::names::Numbering;
use crate::output::{Format, Pattern};
use crate::shard::Shard;
use anyhow::Result;
use serde_json::Value;
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
    /// Returns the parameters that would differ if the run ended earlier, after a number of iterations and of requests in each;
    /// `None` if its pictures up to there would be others.
    pub shortened: Box<dyn Fn(usize, usize) -> Option<RunParams> + 'a>,
}

/// The parameter that counts iterations.
const ITERATIONS: &str = "--n_iter";

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

    /// Returns the header of the run `old` once it is extended to the one that `asked` describes: with more iterations or more
    /// requests. Its grids stay as they are, and more follow. Returns `None` if earlier pictures would change, or the runs differ
    /// in anything else.
    ///
    /// # Errors
    /// If OUTDIR cannot be listed.
    pub fn extension(&self, old: &RunHeader, asked: &RunHeader) -> Result<Option<RunHeader>> {
        let overview = match (old.overview, asked.overview) {
            (Some(Overview::Grids(old)), Some(Overview::Grids(asked))) => {
                Some(Overview::Grids(Grids { every: old.every, ..asked }))
            }
            (_, asked) => asked,
        };
        let is_longer = old.pictures < asked.pictures && [old.shards, asked.shards] == [1, 1];
        let iterations = old.params.get(ITERATIONS).and_then(Value::as_u64).filter(|n| *n > 0);
        let (true, Some(iterations)) = (is_longer && overview == old.overview, iterations) else { return Ok(None) };
        let Some(shortened) = (self.shortened)(iterations as usize, old.pictures / iterations as usize) else {
            return Ok(None);
        };
        let params: RunParams = asked.params.clone().into_iter().chain(shortened).collect();
        if old.params_version != asked.params_version || old.params != params {
            return Ok(None);
        }
        let n_grids = match overview {
            Some(Overview::Grids(grids)) => old.pictures.div_ceil(grids.every),
            _ => 0,
        };
        let numbering = old.numbering.extended(self.outdir, self.format, old.pictures, n_grids)?;
        let (pictures, params) = (asked.pictures, asked.params.clone());
        Ok(Some(RunHeader { pictures, params, overview, numbering, ..old.clone() }))
    }
}
