//! Progress on standard error: bars on a terminal, now and then a line elsewhere; or events for programs, one JSON object
//! a line.

mod clock;
mod lines;

use crate::by_name::ByName;
use clock::{Clock, speed, time};
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use lines::Lines;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
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

/// All bars: there is one terminal.
static SCREEN: LazyLock<Screen> = LazyLock::new(Screen::new);

/// The bars on the terminal, and a blank line below them.
struct Screen {
    bars: MultiProgress,
    /// Where the cursor rests, and the terminal echoes ^C: at the end of a full line that would wrap, and the bars could not
    /// be removed any more.
    bottom: ProgressBar,
}

/// The steps of the bar of a whole run, which counts no things.
const PERMILLE: f64 = 1000.;

/// A line of spaces that ends with the cursor some way before the margin.
const BOTTOM: &str = "{wide_msg}          \x1b[10D";

/// Removes all bars from the terminal.
pub fn clear() {
    let _ = SCREEN.bars.clear();
}

/// Everything that a run prints while it goes on.
pub struct Progress {
    watcher: Watcher,
    /// Whether people are shown neither progress nor notes.
    quiet: bool,
    hashes: RandomState,
    /// Hashes of the sentences that were printed.
    told: Mutex<HashSet<u64>>,
    run: OnceLock<Run>,
}

/// The run as a whole.
struct Run {
    clock: Arc<Clock>,
    bar: Option<ProgressBar>,
    lines: Mutex<Lines>,
    batches: usize,
    n_drawn: AtomicUsize,
}

/// The progress of one thing; its bar goes when it is dropped.
pub struct Bar<'a> {
    progress: &'a Progress,
    shown: Option<ProgressBar>,
    name: &'static str,
    /// The device it is about, where there are several.
    device: Option<String>,
    clock: Arc<Clock>,
    done: AtomicUsize,
    of: usize,
    /// How much of the run's work each tick is.
    work: f64,
}

impl Progress {
    /// Starts with nothing shown. `quiet`: whether people see no bars, lines and notes.
    pub fn new(watcher: Watcher, quiet: bool) -> Self {
        let (hashes, told, run) = (RandomState::new(), Mutex::default(), OnceLock::new());
        Self { watcher, quiet: quiet && watcher == Watcher::Bar, hashes, told, run }
    }

    /// Counts the tensors read while a device's model loads.
    pub fn loading(&self, device: Option<&str>, tensors: usize) -> Bar<'_> {
        self.bar("loading", "loading {prefix}{wide_bar} {percent:>3}% {elapsed}", device, tensors, 0.)
    }

    /// Starts to count the run's batches, and `work`: that of all of them, in any unit.
    pub fn begin_run(&self, batches: usize, work: f64) {
        let clock = Arc::new(Clock::start(work));
        let template = "{msg} {wide_bar} {percent:>3}% {time}, {left} left";
        let bar = self.shown(template, PERMILLE as u64, &clock);
        let run = Run { clock, bar, lines: Mutex::default(), batches, n_drawn: AtomicUsize::new(0) };
        run.show_batches();
        let _ = self.run.set(run);
    }

    /// Counts the steps of a device's batch, each of them so much of the run's work.
    pub fn steps(&self, device: Option<&str>, steps: usize, work: f64) -> Bar<'_> {
        self.bar("step", "{prefix}step {pos} of {len} {wide_bar} {speed}", device, steps, work)
    }

    /// Counts work of the run that is done.
    pub fn worked(&self, work: f64) {
        let Some(run) = self.run.get() else { return };
        run.clock.add(work);
        let share = run.clock.share();
        if let Some(bar) = &run.bar {
            bar.set_position((PERMILLE * share) as u64);
        } else if self.watcher == Watcher::Bar && !self.quiet {
            self.print_line(run, share);
        }
    }

    /// Counts work of the run that is to be done again.
    pub fn lost(&self, work: f64) {
        if let Some(run) = self.run.get() {
            run.clock.add_to_total(work);
        }
    }

    /// Counts a batch of the run that is drawn.
    pub fn batch_drawn(&self) {
        let Some(run) = self.run.get() else { return };
        let done = run.n_drawn.fetch_add(1, Ordering::Relaxed) + 1;
        run.show_batches();
        if self.watcher == Watcher::Json && is_told(done, run.batches) {
            tell(&json!({ "event": "batch", "done": done, "of": run.batches }));
        }
    }

    /// Counts the bytes of files, one after the other.
    pub fn downloads(&self) -> Downloads<'_> {
        Downloads { progress: self, current: None }
    }

    fn remove_bars(&self) {
        self.run.get().and_then(|run| run.bar.as_ref()).into_iter().for_each(ProgressBar::finish_and_clear);
        clear();
    }

    fn print_line(&self, run: &Run, share: f64) {
        let elapsed = run.clock.elapsed();
        if run.lines.lock().unwrap_or_else(PoisonError::into_inner).is_due(elapsed, share) {
            let (n, of, left) = (run.n_drawn.load(Ordering::Relaxed), run.batches, run.clock.left());
            let (elapsed, left) = (time(Some(elapsed)), time(left));
            let percent = 100. * share;
            let (elapsed, left) = (elapsed.trim(), left.trim());
            say(&format!("Progress: {percent:.0}%, {n} of {of} batches in {elapsed}, about {left} left"));
        }
    }

    fn bar(&self, name: &'static str, template: &str, device: Option<&str>, of: usize, work: f64) -> Bar<'_> {
        let clock = Arc::new(Clock::start(of as f64));
        let shown = self.shown(template, of as u64, &clock);
        if let (Some(bar), Some(device)) = (&shown, device) {
            bar.set_prefix(format!("{device} "));
        }
        let (device, done) = (device.map(Into::into), AtomicUsize::new(0));
        Bar { progress: self, shown, name, device, clock, done, of, work }
    }

    fn bytes(&self, file: &str, of: Option<u64>) -> Option<ProgressBar> {
        let template = "{msg} {bytes} of {total_bytes} {wide_bar} {bytes_per_sec}, {eta} left";
        let clock = Arc::new(Clock::start(0.));
        self.shown(template, of.unwrap_or(0), &clock).inspect(|bar| bar.set_message(file.to_owned()))
    }

    /// Returns a bar, if there is a terminal, and people to see it.
    fn shown(&self, template: &str, of: u64, clock: &Arc<Clock>) -> Option<ProgressBar> {
        if self.watcher != Watcher::Bar || self.quiet || SCREEN.bars.is_hidden() {
            return None;
        }
        let bar = SCREEN.add(ProgressBar::new(of).with_style(style(template, clock)));
        // Steps may take seconds; the clock goes on.
        bar.enable_steady_tick(Duration::from_millis(500));
        Some(bar)
    }

    /// Prints a sentence that the user should read, once, above the bars.
    pub fn note(&self, sentence: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if self.quiet || !told.insert(self.hashes.hash_one(sentence)) {
            return;
        }
        match self.watcher {
            Watcher::Bar => SCREEN.bars.suspend(|| say(&format!("Note: {sentence}"))),
            Watcher::Json => tell(&json!({ "event": "note", "text": sentence })),
        }
    }

    /// Prints the sentence that a run ends with, to people.
    pub fn closing(&self, sentence: &str) {
        if !self.quiet {
            self.stopped(sentence);
        }
    }

    /// Prints why a run ended early, to people, even where they asked for quiet.
    pub fn stopped(&self, sentence: &str) {
        if self.watcher == Watcher::Bar {
            self.remove_bars();
            say(sentence);
        }
    }

    /// Prints an event that a program may wait for; people see it otherwise.
    pub fn event(&self, event: &Value) {
        if self.watcher == Watcher::Json {
            tell(event);
        }
    }
}

impl Screen {
    fn new() -> Self {
        let bars = MultiProgress::new();
        let style = ProgressStyle::with_template(BOTTOM).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bottom = bars.add(ProgressBar::new(0).with_style(style));
        Self { bars, bottom }
    }

    fn add(&self, bar: ProgressBar) -> ProgressBar {
        let bar = self.bars.insert_before(&self.bottom, bar);
        self.bottom.tick();
        bar
    }
}

/// The style of a bar that shows, besides what bars know themselves, the clock's `{time}`, time `{left}` and `{speed}`.
fn style(template: &str, clock: &Arc<Clock>) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let key = |format: fn(&Clock) -> String| {
        let clock = Arc::clone(clock);
        move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&format(&clock));
        }
    };
    style
        .with_key("time", key(|clock| time(Some(clock.elapsed())).trim_start().into()))
        .with_key("left", key(|clock| time(clock.left())))
        .with_key("speed", key(|clock| speed(clock.pace())))
}

fn tell(event: &Value) {
    say(&event.to_string());
}

fn say(line: &str) {
    // In one piece: other processes may write to the same file. A closed standard error is no reason to stop drawing.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Whether a program is told that so many are done: of a thousand tensors, every tenth is enough.
fn is_told(done: usize, of: usize) -> bool {
    done == of || done.is_multiple_of(of.div_ceil(100).max(1))
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.remove_bars();
    }
}

impl Run {
    fn show_batches(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} of {} batches", self.n_drawn.load(Ordering::Relaxed), self.batches));
        }
    }
}

impl Bar<'_> {
    /// Counts one more.
    pub fn tick(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.clock.add(1.);
        if let Some(bar) = &self.shown {
            bar.inc(1);
        }
        if self.progress.watcher == Watcher::Json && is_told(done, self.of) {
            let mut event = json!({ "event": self.name, "done": done, "of": self.of });
            if let Some(device) = &self.device {
                event["device"] = json!(device);
            }
            tell(&event);
        }
        if self.work > 0. {
            self.progress.worked(self.work);
        }
    }

    /// Gives up what was counted: the run does it again.
    pub fn give_up(&self) {
        self.progress.lost(self.work * self.done.load(Ordering::Relaxed) as f64);
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
    /// The last percentage that programs were told.
    told: Option<u64>,
}

impl Downloads<'_> {
    /// Shows how many bytes of a file are there, and of how many, if that is known.
    pub fn show(&mut self, file: &str, done: u64, of: Option<u64>) {
        if self.current.as_ref().is_none_or(|current| current.file != file) {
            self.current = Some(Download { file: file.to_owned(), shown: self.progress.bytes(file, of), told: None });
        }
        let Some(current) = &mut self.current else { return };
        let percent = Some(100 * done / of.unwrap_or(0).max(1));
        if let Some(bar) = &current.shown {
            bar.set_position(done);
        } else if self.progress.watcher == Watcher::Json && current.told != percent {
            current.told = percent;
            tell(&json!({ "event": "download", "file": file, "done": done, "of": of }));
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

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
