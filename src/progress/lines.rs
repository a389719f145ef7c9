//! Progress as lines, where there is no terminal to draw bars on.

use std::time::Duration;

/// At most so often, and for so much of the run.
const EVERY: Duration = Duration::from_secs(30);
const SHARE: f64 = 0.1;

/// When a line was last printed.
#[derive(Default)]
pub struct Lines {
    elapsed: Duration,
    share: f64,
}

impl Lines {
    /// Whether it is time for a line: half a minute and a tenth of the run after the last one.
    pub fn is_due(&mut self, elapsed: Duration, share: f64) -> bool {
        // 0.3 - 0.2 is a little less than a tenth.
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

    /// The seconds at which lines are printed in a run of this length.
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
