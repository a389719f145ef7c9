//! A share of a run that several processes draw, on one machine or many.

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use std::fmt;
use std::str::FromStr;

/// Every `of`-th batch of a run, from number `index` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shard {
    /// Which share, from 0.
    pub index: usize,
    /// Of how many.
    pub of: usize,
}

impl Shard {
    /// As many as a run may have.
    pub const MOST: usize = 1_000_000;

    /// Whether the batch of this number, from 0, is in the share.
    pub fn owns(&self, batch: usize) -> bool {
        batch.checked_rem(self.of) == Some(self.index)
    }

    /// The share of this process, where whatever started it numbers its processes, and what says so, as in
    /// "SLURM_ARRAY_TASK_ID says": tasks of a Slurm array, of srun, pods of a Kubernetes Indexed Job, or ranks such as
    /// torchrun's. Nothing if there is but one process.
    ///
    /// # Errors
    /// On numbers that name no share, or that leave some share to nobody, or that contradict each other.
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<(Self, String)>> {
        let environment = Environment(variable);
        let found = [environment.slurm()?, environment.kubernetes()?, environment.ranks()?];
        let mut found = found.into_iter().flatten().filter(|(shard, _)| shard.of > 1);
        let Some((shard, said)) = found.next() else { return Ok(None) };
        if let Some((other, too)) = found.find(|(other, _)| *other != shard) {
            bail!("{said} that this is shard {shard} and {too} {other}; choose one with --shard I/N");
        }
        ensure!(
            shard.of <= Self::MOST,
            "{said} that this is one of {} shards, and {} are the most; give --shard I/N",
            shard.of,
            Self::MOST
        );
        Ok(Some((shard, said.into())))
    }

    /// Each share shared once more.
    fn times(self, inner: Self) -> Self {
        Self { index: self.index * inner.of + inner.index, of: self.of * inner.of }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        let Some((index, of)) = numbers else {
            bail!("'{text}' is not a shard: use I/N, such as 0/8 for the first of eight");
        };
        ensure!(of > 0, "'{text}' is not a shard: N must be at least 1");
        ensure!(of <= Self::MOST, "'{text}' is not a shard: N is at most {}", Self::MOST);
        ensure!(index < of, "'{text}' is not a shard: they are numbered from 0, so the last is {}/{of}", of - 1);
        Ok(Self { index, of })
    }
}

/// A share, and what says so.
type Found = (Shard, &'static str);

/// Variables by their names.
struct Environment<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Environment<'_> {
    fn slurm(&self) -> Result<Option<Found>> {
        Ok(match (self.array()?, self.step()?) {
            (Some((array, _)), Some((step, _))) if array.of > 1 && step.of > 1 => {
                Some((array.times(step), "SLURM_ARRAY_TASK_ID and SLURM_PROCID say"))
            }
            (array, step) => array.filter(|(shard, _)| shard.of > 1).or(step),
        })
    }

    /// A task of an array: 2-8:3 has the tasks 2, 5 and 8. To those of 1,5,9, with holes, Slurm says 3 tasks, 1 to 9.
    fn array(&self) -> Result<Option<Found>> {
        let Some(id) = self.number("SLURM_ARRAY_TASK_ID")? else { return Ok(None) };
        let of = self.number("SLURM_ARRAY_TASK_COUNT")?;
        let of = of.context("SLURM_ARRAY_TASK_ID is set and SLURM_ARRAY_TASK_COUNT is not; give --shard I/N")?;
        let first = self.number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
        let step = self.number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
        let most = of.saturating_sub(1);
        let is_whole = self.number("SLURM_ARRAY_TASK_MAX")?.is_none_or(|last| last == first + most * step);
        let index = (0..of).find(|index| is_whole && first + index * step == id).with_context(|| {
            format!(
                "SLURM_ARRAY_TASK_ID {id} is none of {of} tasks (SLURM_ARRAY_TASK_COUNT) numbered without holes; use \
                 --array=0-{most}, or give --shard I/N"
            )
        })?;
        Ok(Some((Shard { index, of }, "SLURM_ARRAY_TASK_ID says")))
    }

    /// A task that srun started. A batch script and salloc's shell have SLURM_PROCID and SLURM_NTASKS too, but no step
    /// with that many tasks.
    fn step(&self) -> Result<Option<Found>> {
        let shard = self.pair("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")?;
        Ok(shard.map(|shard| (shard, "SLURM_PROCID says")))
    }

    fn kubernetes(&self) -> Result<Option<Found>> {
        let (index, of) = ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS");
        ensure!(
            (self.0)(index).is_none() || (self.0)(of).is_some(),
            "{index} is set and {of} is not; set it to the Job's completions, as deploy/kubernetes.yaml does, or give \
             --shard I/N"
        );
        Ok(self.pair(index, of)?.map(|shard| (shard, "JOB_COMPLETION_INDEX says")))
    }

    fn ranks(&self) -> Result<Option<Found>> {
        Ok(self.pair("RANK", "WORLD_SIZE")?.map(|shard| (shard, "RANK says")))
    }

    /// A share by the names of its number and of their count, if both are set.
    fn pair(&self, index: &str, of: &str) -> Result<Option<Shard>> {
        let (Some(i), Some(n)) = ((self.0)(index), (self.0)(of)) else { return Ok(None) };
        let (i, n) = (number(index, &i)?, number(of, &n)?);
        ensure!(i < n, "{index} {i} is not below {of} {n}; give --shard I/N");
        Ok(Some(Shard { index: i, of: n }))
    }

    fn number(&self, name: &str) -> Result<Option<usize>> {
        (self.0)(name).map(|text| number(name, &text)).transpose()
    }
}

/// Of 32 bits, so that no arithmetic with two of them is too much for 64.
fn number(name: &str, text: &str) -> Result<usize> {
    let number: u32 = text.parse().map_err(|_| anyhow!("{name} '{text}' is not a number; give --shard I/N"))?;
    Ok(number as usize)
}
