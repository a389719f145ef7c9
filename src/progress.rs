//! Progress on standard error: bars where it is a terminal, nothing where it is not.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// All bars of a run.
#[derive(Default)]
pub struct Progress {
    bars: MultiProgress,
    hashes: RandomState,
    /// Of the sentences that need no repetition.
    told: Mutex<HashSet<u64>>,
}

/// One of them; it goes when it is dropped.
pub struct Bar(ProgressBar);

impl Progress {
    /// Tensors read while the model loads.
    pub fn loading(&self, tensors: usize) -> Bar {
        self.bar("loading {wide_bar} {percent:>3}% {elapsed}", tensors)
    }

    /// Batches drawn, over all iterations.
    pub fn batches(&self, batches: usize) -> Bar {
        self.bar("batch {pos} of {len} {wide_bar} {elapsed}, {eta} left", batches)
    }

    /// Steps of one batch.
    pub fn steps(&self, steps: usize) -> Bar {
        self.bar("step {pos} of {len} {wide_bar} {per_sec}, {eta} left", steps)
    }

    fn bar(&self, template: &str, length: usize) -> Bar {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.bars.add(ProgressBar::new(length as u64).with_style(style));
        // Steps may take seconds; the clock goes on.
        bar.enable_steady_tick(Duration::from_millis(500));
        Bar(bar)
    }

    /// A sentence the user should read, once, above the bars; shown wherever standard error goes.
    pub fn note(&self, sentence: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.insert(self.hashes.hash_one(sentence)) {
            return;
        }
        self.bars.suspend(|| {
            // A closed standard error is no reason to stop drawing.
            let _ = writeln!(std::io::stderr(), "Note: {sentence}");
        });
    }
}

impl Bar {
    /// One more is done.
    pub fn tick(&self) {
        self.0.inc(1);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
