//! Progress as lines, for output that is not a terminal.

use std::time::Duration;

/// The least time between two lines.
const EVERY: Duration = Duration::from_secs(30);
/// The least share of the run between two lines.
const SHARE: f64 = 0.1;

/// The time and the share of the run at the last line.
#[derive(Default)]
pub struct Lines {
    elapsed: Duration,
    share: f64,
}

impl Lines {
    /// Returns whether a line is due: at least half a minute and a tenth of the run after the last one.
    pub fn is_due(&mut self, elapsed: Duration, share: f64) -> bool {
        // In floating point 0.3 - 0.2 is a little less than 0.1.
        let is_due = elapsed.saturating_sub(self.elapsed) >= EVERY && share - self.share > SHARE - 1e-9;
        if is_due {
            *self = Self { elapsed, share };
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the seconds at which lines are printed in a run of `seconds`.
    fn lines(seconds: u64) -> Vec<u64> {
        let mut lines = Lines::default();
        (1..seconds)
            .filter(|second| lines.is_due(Duration::from_secs(*second), *second as f64 / seconds as f64))
            .collect()
    }

    #[test]
    fn a_line_comes_every_thirty_seconds_or_every_tenth_whichever_is_rarer() {
        assert_eq!(lines(25), [0; 0]);
        assert_eq!(lines(100), [30, 60, 90]);
        assert_eq!(lines(1000), [100, 200, 300, 400, 500, 600, 700, 800, 900]);
    }
}
