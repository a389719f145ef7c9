//! A clock that estimates the time left from the work done.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The amount of work done, in any unit, and the time it took.
pub struct Clock(Mutex<State>);

struct State {
    total: f64,
    done: f64,
    start: Instant,
    /// The time at which `done` last changed.
    last: Instant,
}

impl Clock {
    /// Starts the clock, with nothing done of `total`.
    pub fn start(total: f64) -> Self {
        let start = Instant::now();
        Self(Mutex::new(State { total, done: 0., start, last: start }))
    }

    /// Adds to the work done.
    pub fn add(&self, work: f64) {
        let mut state = self.lock();
        state.done += work;
        state.last = Instant::now();
    }

    /// Adds to the total work.
    pub fn add_to_total(&self, work: f64) {
        self.lock().total += work;
    }

    /// Returns the time since the start.
    pub fn elapsed(&self) -> Duration {
        self.lock().start.elapsed()
    }

    /// Returns the share of the work that is done, from 0 to 1.
    pub fn share(&self) -> f64 {
        let state = self.lock();
        if state.total > 0. { (state.done / state.total).clamp(0., 1.) } else { 1. }
    }

    /// Returns the seconds per unit of work so far; `None` before any is done.
    pub fn pace(&self) -> Option<f64> {
        let state = self.lock();
        (state.done > 0.).then(|| (state.last - state.start).as_secs_f64() / state.done)
    }

    /// Returns the estimated time left at the pace so far; `None` before any work is done.
    pub fn left(&self) -> Option<Duration> {
        let pace = self.pace()?;
        let state = self.lock();
        let at_last = pace * (state.total - state.done).max(0.);
        // Between two calls of `add`, the time left counts down.
        Duration::try_from_secs_f64(at_last - state.last.elapsed().as_secs_f64()).ok().or(Some(Duration::ZERO))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Formats a time as `M:SS` or `H:MM:SS`, 7 characters wide; `None` as unknown.
pub fn time(time: Option<Duration>) -> String {
    let Some(time) = time else { return "   -:--".into() };
    let seconds = time.as_secs_f64().round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{:>7}", format!("{minutes}:{seconds:02}")),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Formats the speed of steps that take `pace` seconds each, 13 characters wide; `None` as unknown.
pub fn speed(pace: Option<f64>) -> String {
    match pace.filter(|pace| *pace > 0.) {
        None => format!("{:>6} s/step ", "-"),
        Some(pace) if pace >= 1. => format!("{:>6} s/step ", three_digits(pace)),
        Some(pace) => format!("{:>6} steps/s", three_digits(1. / pace)),
    }
}

fn three_digits(n: f64) -> String {
    match n {
        ..9.995 => format!("{n:.2}"),
        ..99.95 => format!("{n:.1}"),
        _ => format!("{n:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    #[test]
    fn the_time_left_follows_from_the_work_done() {
        let clock = Clock::start(10.);
        assert_eq!((clock.share(), clock.pace(), clock.left()), (0., None, None));
        sleep(Duration::from_millis(200));
        clock.add(2.);
        let left = clock.left().unwrap().as_secs_f64();
        assert!((0.6..1.6).contains(&left), "{left}");
        assert_eq!(clock.share(), 0.2);
        sleep(Duration::from_millis(100));
        assert!(clock.left().unwrap().as_secs_f64() < left - 0.05);
        clock.add(8.);
        assert_eq!((clock.share(), clock.left()), (1., Some(Duration::ZERO)));
        clock.add_to_total(10.);
        assert_eq!(clock.share(), 0.5);
    }

    #[test]
    fn times_have_one_width() {
        let times = [None, Some(0.), Some(59.7), Some(61.), Some(3599.), Some(3661.), Some(36_000.)];
        let times = times.map(|seconds| time(seconds.map(Duration::from_secs_f64)));
        assert_eq!(times, ["   -:--", "   0:00", "   1:00", "   1:01", "  59:59", "1:01:01", "10:00:00"]);
        assert!(times[..6].iter().all(|time| time.len() == 7));
    }

    #[test]
    fn speeds_have_one_width_and_the_unit_that_suits_them() {
        for (pace, expected) in [
            (None, "     - s/step "),
            (Some(1.), "  1.00 s/step "),
            (Some(12.34), "  12.3 s/step "),
            (Some(432.1), "   432 s/step "),
            (Some(0.9), "  1.11 steps/s"),
            (Some(0.031), "  32.3 steps/s"),
            (Some(0.0001), " 10000 steps/s"),
        ] {
            assert_eq!(speed(pace), expected);
        }
    }
}
