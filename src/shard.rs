//! Shards of a run that is divided among several processes, on one machine or many.

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use std::fmt;
use std::str::FromStr;

/// One of the parts into which a run is divided: every `of`-th batch, from batch `index` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shard {
    /// The number of the shard, from 0.
    pub index: usize,
    /// The number of shards.
    pub of: usize,
}

impl Shard {
    /// The largest number of shards of a run.
    pub const MAX: usize = 1_000_000;

    /// Whether `batch`, counted from 0, belongs to this shard.
    pub fn owns(&self, batch: usize) -> bool {
        batch.checked_rem(self.of) == Some(self.index)
    }

    /// Detects the shard of this process from the environment variables of a Slurm array or srun, a Kubernetes Indexed
    /// Job, or a launcher such as torchrun. Also returns the source for messages, such as "SLURM_ARRAY_TASK_ID says".
    /// Returns `None` if there is only one process.
    ///
    /// `variable` returns the value of an environment variable.
    ///
    /// # Errors
    /// If the variables are invalid or contradict each other, or the numbering of an array has gaps.
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<(Self, String)>> {
        let environment = Environment(variable);
        let found = [environment.slurm()?, environment.kubernetes()?, environment.ranks()?];
        let mut found = found.into_iter().flatten().filter(|(shard, _)| shard.of > 1);
        let Some((shard, source)) = found.next() else { return Ok(None) };
        if let Some((other, other_source)) = found.find(|(other, _)| *other != shard) {
            bail!("{source} that this is shard {shard} and {other_source} {other}; choose one with --shard I/N");
        }
        ensure!(
            shard.of <= Self::MAX,
            "{source} that this is one of {} shards, but at most {} are supported; give --shard I/N",
            shard.of,
            Self::MAX
        );
        Ok(Some((shard, source.into())))
    }

    /// Returns the shard of process `inner` of task `self`, where each of the `self.of` tasks has `inner.of` processes.
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
            bail!("give I/N, such as 0/8 for the first of eight shards");
        };
        ensure!(of > 0, "N must be at least 1");
        ensure!(of <= Self::MAX, "N can be at most {}", Self::MAX);
        ensure!(index < of, "shards are numbered from 0: give 0/{of} to {}/{of}", of - 1);
        Ok(Self { index, of })
    }
}

/// A shard, and its source for messages.
type Found = (Shard, &'static str);

/// The environment variables, as a function from names to values.
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

    /// Detects a task of an array. The array 2-8:3 has the tasks 2, 5 and 8. Arrays with gaps, such as 1,5,9, are
    /// refused: Slurm sets the number of tasks, 3, and their range, 1 to 9, but not their list.
    fn array(&self) -> Result<Option<Found>> {
        let Some(id) = self.number("SLURM_ARRAY_TASK_ID")? else { return Ok(None) };
        let of = self.number("SLURM_ARRAY_TASK_COUNT")?;
        let of = of.context("SLURM_ARRAY_TASK_ID is set and SLURM_ARRAY_TASK_COUNT is not; give --shard I/N")?;
        let first = self.number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
        let step = self.number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
        let last_index = of.saturating_sub(1);
        let is_whole = self.number("SLURM_ARRAY_TASK_MAX")?.is_none_or(|last| last == first + last_index * step);
        let index = (0..of).find(|index| is_whole && first + index * step == id).with_context(|| {
            format!(
                "SLURM_ARRAY_TASK_ID {id} does not belong to {of} tasks (SLURM_ARRAY_TASK_COUNT) numbered without gaps; \
                 use --array=0-{last_index}, or give --shard I/N"
            )
        })?;
        Ok(Some((Shard { index, of }, "SLURM_ARRAY_TASK_ID says")))
    }

    /// Detects a task started by srun. SLURM_NTASKS is of no use, as batch scripts and salloc's shell, which are single
    /// processes, have it too.
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

    /// Reads a shard from the variables `index` and `of`, if both are set.
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

/// Parses a variable's value as 32 bits, so that arithmetic on two values cannot overflow 64 bits.
fn number(name: &str, text: &str) -> Result<usize> {
    let number: u32 = text
        .parse()
        .map_err(|_| anyhow!("{name} '{text}' is not a whole number from 0 to 4294967295; give --shard I/N"))?;
    Ok(number as usize)
}
