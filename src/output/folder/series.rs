//! Numbered names: `PREFIX00000.png`, `PREFIX00001.png`, …

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// What is in front of the number, how long that is, and what is behind.
pub struct Series {
    pub prefix: &'static str,
    pub digits: usize,
    /// "png", or what else is in the files.
    pub extension: &'static str,
}

/// More than any folder has.
const MOST: usize = 1 << 48;

/// The numbers that files of a run get: all from the first on, but for those that were taken when it began.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Numbers {
    first: usize,
    /// Sorted, none below the first.
    taken: Vec<usize>,
}

impl Series {
    /// Without its extension.
    pub fn stem(&self, number: usize) -> String {
        let Self { prefix, digits, .. } = self;
        format!("{prefix}{number:0digits$}")
    }

    /// Those from `first` on that none of the files has.
    pub fn free(&self, first: usize, files: &[OsString]) -> Numbers {
        let taken = files.iter().filter_map(|name| self.number(name.to_str()?)).filter(|number| *number >= first);
        let mut taken: Vec<usize> = taken.collect();
        taken.sort_unstable();
        taken.dedup();
        Numbers { first, taken }
    }

    /// Of a name of this series.
    fn number(&self, name: &str) -> Option<usize> {
        let stem = name.strip_suffix(self.extension)?.strip_suffix('.')?;
        let number = stem.strip_prefix(self.prefix)?.parse().ok()?;
        (*self.stem(number) == *stem).then_some(number)
    }
}

impl Numbers {
    /// Whether they can be counted.
    pub fn is_sound(&self) -> bool {
        let ascend = self.taken.windows(2).all(|two| two[0] < two[1]);
        self.first <= MOST && ascend && self.taken.first().is_none_or(|taken| *taken >= self.first)
    }

    /// That of the n-th file, from 0.
    pub fn nth(&self, n: usize) -> usize {
        let skips = |number: usize, taken: &usize| number + usize::from(*taken <= number);
        self.taken.iter().fold(self.first.saturating_add(n), skips)
    }
}
