//! Progress on standard error: bars where it is a terminal, nothing where it is not; or events for programs, one JSON
//! object a line.

use crate::by_name::ByName;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// `--progress`: for whom it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watcher {
    /// People: bars.
    Bar,
    /// Programs: JSON lines.
    Json,
}

impl ByName for Watcher {
    const ALL: &'static [(&'static str, Self)] = &[("bar", Watcher::Bar), ("json", Watcher::Json)];
}

/// All that a run tells while it goes on.
pub struct Progress {
    watcher: Watcher,
    bars: MultiProgress,
    hashes: RandomState,
    /// Of the sentences that need no repetition.
    told: Mutex<HashSet<u64>>,
}

/// The progress of one thing; its bar goes when it is dropped.
pub struct Bar {
    shown: Option<ProgressBar>,
    name: &'static str,
    /// Whose it is, where there are several.
    device: Option<String>,
    done: AtomicUsize,
    of: usize,
}

impl Progress {
    /// None so far.
    pub fn new(watcher: Watcher) -> Self {
        Self { watcher, bars: MultiProgress::new(), hashes: RandomState::new(), told: Mutex::default() }
    }

    /// Tensors read while a device's model loads.
    pub fn loading(&self, device: Option<&str>, tensors: usize) -> Bar {
        self.bar("loading", "loading {prefix}{wide_bar} {percent:>3}% {elapsed}", device, tensors)
    }

    /// Batches drawn, over all iterations.
    pub fn batches(&self, batches: usize) -> Bar {
        self.bar("batch", "batch {pos} of {len} {wide_bar} {elapsed}, {eta} left", None, batches)
    }

    /// Steps of a device's batch.
    pub fn steps(&self, device: Option<&str>, steps: usize) -> Bar {
        self.bar("step", "{prefix}step {pos} of {len} {wide_bar} {per_sec}, {eta} left", device, steps)
    }

    /// Bytes of files, one after the other.
    pub fn downloads(&self) -> Downloads<'_> {
        Downloads { progress: self, current: None }
    }

    fn bar(&self, name: &'static str, template: &str, device: Option<&str>, of: usize) -> Bar {
        let shown = self.shown(template, of as u64);
        if let (Some(bar), Some(device)) = (&shown, device) {
            bar.set_prefix(format!("{device} "));
        }
        Bar { shown, name, device: device.map(Into::into), done: AtomicUsize::new(0), of }
    }

    fn bytes(&self, file: &str, of: Option<u64>) -> Option<ProgressBar> {
        let template = "{msg} {bytes} of {total_bytes} {wide_bar} {bytes_per_sec}, {eta} left";
        self.shown(template, of.unwrap_or(0)).inspect(|bar| bar.set_message(file.to_owned()))
    }

    /// A bar, if there are people to see it.
    fn shown(&self, template: &str, of: u64) -> Option<ProgressBar> {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        (self.watcher == Watcher::Bar).then(|| {
            let bar = self.bars.add(ProgressBar::new(of).with_style(style));
            // Steps may take seconds; the clock goes on.
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        })
    }

    /// A sentence the user should read, once, above the bars; shown wherever standard error goes.
    pub fn note(&self, sentence: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.insert(self.hashes.hash_one(sentence)) {
            return;
        }
        match self.watcher {
            Watcher::Bar => self.bars.suspend(|| say(&format!("Note: {sentence}"))),
            Watcher::Json => tell(&json!({ "event": "note", "text": sentence })),
        }
    }

    /// Something a program may wait for, with an `event` that names it; people see it otherwise.
    pub fn event(&self, event: &Value) {
        if self.watcher == Watcher::Json {
            tell(event);
        }
    }
}

fn tell(event: &Value) {
    say(&event.to_string());
}

fn say(line: &str) {
    // In one piece: other processes may write to the same file. A closed standard error is no reason to stop drawing.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

impl Bar {
    /// One more is done.
    pub fn tick(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        match &self.shown {
            Some(bar) => bar.inc(1),
            // Of a thousand tensors, every hundredth of them is enough.
            None if done == self.of || done.is_multiple_of(self.of.div_ceil(100).max(1)) => {
                let mut event = json!({ "event": self.name, "done": done, "of": self.of });
                if let Some(device) = &self.device {
                    event["device"] = json!(device);
                }
                tell(&event);
            }
            None => {}
        }
    }
}

/// The progress of files that are fetched.
pub struct Downloads<'a> {
    progress: &'a Progress,
    current: Option<Download>,
}

struct Download {
    file: String,
    shown: Option<ProgressBar>,
    /// Hundredths of the file that programs were told of.
    told: Option<u64>,
}

impl Downloads<'_> {
    /// So many bytes are there, of so many if that is known.
    pub fn show(&mut self, file: &str, done: u64, of: Option<u64>) {
        if self.current.as_ref().is_none_or(|current| current.file != file) {
            self.current = Some(Download { file: file.to_owned(), shown: self.progress.bytes(file, of), told: None });
        }
        let Some(current) = &mut self.current else { return };
        let hundredths = Some(100 * done / of.unwrap_or(0).max(1));
        match &current.shown {
            Some(bar) => bar.set_position(done),
            None if current.told != hundredths => {
                current.told = hundredths;
                tell(&json!({ "event": "download", "file": file, "done": done, "of": of }));
            }
            None => {}
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Some(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
