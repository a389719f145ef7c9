//! Numbered file names: `PREFIX00000.EXTENSION`, `PREFIX00001.EXTENSION`, …

use serde::{Deserialize, Serialize};
use std::ffi::OsString;

/// The form of the names in a series.
pub struct Series {
    /// The text before the number.
    pub prefix: &'static str,
    /// The least number of digits; shorter numbers are padded with zeros.
    pub digits: usize,
    /// The extension, without its dot.
    pub extension: &'static str,
}

/// The largest first number of a valid counter, far above any real one, so that sums do not overflow.
const MAX_FIRST: usize = 1 << 48;

/// The numbers of a run's files in a series: all from `first` on, except those that were taken when the run began.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Counter {
    first: usize,
    /// Ascending, none below `first`.
    taken: Vec<usize>,
}

impl Series {
    /// Returns the name with this number, without its extension.
    pub fn stem(&self, number: usize) -> String {
        let Self { prefix, digits, .. } = self;
        format!("{prefix}{number:0digits$}")
    }

    /// Returns the counter of the numbers from `first` on that none of `files` has.
    pub fn counter(&self, first: usize, files: &[OsString]) -> Counter {
        let taken = files.iter().filter_map(|name| self.number(name.to_str()?)).filter(|number| *number >= first);
        let mut taken: Vec<usize> = taken.collect();
        taken.sort_unstable();
        taken.dedup();
        Counter { first, taken }
    }

    /// Returns the number in `name`, or `None` if the name does not belong to this series.
    fn number(&self, name: &str) -> Option<usize> {
        let stem = name.strip_suffix(self.extension)?.strip_suffix('.')?;
        let number = stem.strip_prefix(self.prefix)?.parse().ok()?;
        (*self.stem(number) == *stem).then_some(number)
    }
}

impl Counter {
    /// Returns this counter for a run that continues after its first `n` files: beyond them, the numbers of other `files` of
    /// `series` are taken, too.
    pub fn extended(&self, n: usize, series: &Series, files: &[OsString]) -> Self {
        let next = n.checked_sub(1).map_or(self.first, |last| self.nth(last) + 1);
        let mut taken: Vec<usize> = self.taken.iter().copied().filter(|taken| *taken < next).collect();
        taken.extend(series.counter(next, files).taken);
        Self { first: self.first, taken }
    }

    /// Whether a counter read from a journal is valid.
    pub fn is_valid(&self) -> bool {
        let ascend = self.taken.windows(2).all(|two| two[0] < two[1]);
        self.first <= MAX_FIRST && ascend && self.taken.first().is_none_or(|taken| *taken >= self.first)
    }

    /// Returns the number of file `n` of the run, counted from 0.
    pub fn nth(&self, n: usize) -> usize {
        let skips = |number: usize, taken: &usize| number + usize::from(*taken <= number);
        self.taken.iter().fold(self.first.saturating_add(n), skips)
    }
}
