//! Progress on standard error: bars on a terminal, occasional lines elsewhere; or events for other programs, one JSON
//! object per line.

mod clock;
mod lines;

use crate::by_name::ByName;
use crate::terminal::{self, Label};
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

/// The value of `--progress`: the form of progress on standard error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProgressFormat {
    /// Bars on a terminal, lines elsewhere.
    Bar,
    /// One JSON object per line, for other programs.
    Json,
}

impl ProgressFormat {
    /// Returns whether notes are hidden. `--quiet` does not hide events.
    pub fn hides_notes(self, quiet: bool) -> bool {
        quiet && self == Self::Bar
    }
}

impl ByName for ProgressFormat {
    const ALL: &'static [(&'static str, Self)] = &[("bar", ProgressFormat::Bar), ("json", ProgressFormat::Json)];
}

/// The bars of the whole process, which share one terminal.
static SCREEN: LazyLock<Screen> = LazyLock::new(Screen::new);

/// The bars on the terminal, and a blank line below them.
struct Screen {
    bars: MultiProgress,
    /// The line on which the cursor rests. The terminal echoes ^C there: at the end of a full line the echo would wrap,
    /// and the bars could no longer be removed.
    bottom: ProgressBar,
}

/// The length of the bar of a whole run, which shows a share of the work.
const PERMILLE: f64 = 1000.;

/// The template of a blank line that leaves the cursor ten columns before the margin.
const BOTTOM: &str = "{wide_msg}          \x1b[10D";

/// Removes all bars from the terminal.
pub fn clear() {
    let _ = SCREEN.bars.clear();
}

/// The output of a run on standard error: progress, notes and closing sentences.
pub struct Progress {
    format: ProgressFormat,
    /// Whether bars, lines and notes are suppressed.
    quiet: bool,
    hasher: RandomState,
    /// Hashes of the notes printed so far.
    printed: Mutex<HashSet<u64>>,
    run: OnceLock<Run>,
}

/// The progress of the whole run.
struct Run {
    clock: Arc<Clock>,
    bar: Option<ProgressBar>,
    lines: Mutex<Lines>,
    batches: usize,
    n_drawn: AtomicUsize,
}

/// The progress of one operation, such as loading or sampling. Its bar is removed on drop.
pub struct Bar<'a> {
    progress: &'a Progress,
    shown: Option<ProgressBar>,
    name: &'static str,
    /// The pass that the steps belong to, if it is not the first.
    pass: Option<usize>,
    /// The name of the device, if there are several.
    device: Option<String>,
    clock: Arc<Clock>,
    done: AtomicUsize,
    of: usize,
    /// The run's work per tick.
    work: f64,
}

impl Progress {
    /// Creates a progress that shows nothing yet. `quiet` suppresses bars, lines and notes, but not events.
    pub fn new(format: ProgressFormat, quiet: bool) -> Self {
        let (hasher, printed, run) = (RandomState::new(), Mutex::default(), OnceLock::new());
        Self { format, quiet: format.hides_notes(quiet), hasher, printed, run }
    }

    /// Starts to count the tensors read while a device's model loads.
    pub fn loading(&self, device: Option<&str>, tensors: usize) -> Bar<'_> {
        self.bar("loading", "loading {prefix}{wide_bar} {percent:>3}% {elapsed}", device, tensors, 0.)
    }

    /// Starts to count the run's batches and their work: `work` in total, in any unit.
    pub fn begin_run(&self, batches: usize, work: f64) {
        let clock = Arc::new(Clock::start(work));
        let template = "{msg} {wide_bar} {percent:>3}% {time}, {left} left";
        let bar = self.shown(template, PERMILLE as u64, &clock);
        let run = Run { clock, bar, lines: Mutex::default(), batches, n_drawn: AtomicUsize::new(0) };
        run.show_batches();
        let _ = self.run.set(run);
    }

    /// Starts to count the steps of a device's batch. `is_second`: whether they are those of the second pass. `work`: the run's
    /// work per step.
    pub fn steps(&self, device: Option<&str>, is_second: bool, steps: usize, work: f64) -> Bar<'_> {
        let template = match is_second {
            false => "{prefix}step {pos} of {len} {wide_bar} {speed}",
            true => "{prefix}second pass, step {pos} of {len} {wide_bar} {speed}",
        };
        let mut bar = self.bar("step", template, device, steps, work);
        bar.pass = is_second.then_some(2);
        bar
    }

    /// Adds to the work done.
    pub fn worked(&self, work: f64) {
        let Some(run) = self.run.get() else { return };
        run.clock.add(work);
        let share = run.clock.share();
        if let Some(bar) = &run.bar {
            bar.set_position((PERMILLE * share) as u64);
        } else if self.format == ProgressFormat::Bar && !self.quiet {
            self.print_line(run, share);
        }
    }

    /// Adds to the total work, as some must be repeated.
    pub fn lost(&self, work: f64) {
        if let Some(run) = self.run.get() {
            run.clock.add_to_total(work);
        }
    }

    /// Counts a finished batch.
    pub fn batch_drawn(&self) {
        let Some(run) = self.run.get() else { return };
        let done = run.n_drawn.fetch_add(1, Ordering::Relaxed) + 1;
        run.show_batches();
        if self.format == ProgressFormat::Json && is_reported(done, run.batches) {
            emit(&json!({ "event": "batch", "done": done, "of": run.batches }));
        }
    }

    /// Starts to count the bytes of files that are downloaded one after another.
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
            write_line(&format!("Progress: {percent:.0}%, {n} of {of} batches in {elapsed}, about {left} left"));
        }
    }

    fn bar(&self, name: &'static str, template: &str, device: Option<&str>, of: usize, work: f64) -> Bar<'_> {
        let clock = Arc::new(Clock::start(of as f64));
        let shown = self.shown(template, of as u64, &clock);
        if let (Some(bar), Some(device)) = (&shown, device) {
            bar.set_prefix(format!("{device} "));
        }
        let (device, done) = (device.map(Into::into), AtomicUsize::new(0));
        Bar { progress: self, shown, name, pass: None, device, clock, done, of, work }
    }

    fn bytes(&self, file: &str, of: Option<u64>) -> Option<ProgressBar> {
        let template = "{msg} {bytes} of {total_bytes} {wide_bar} {bytes_per_sec}, {eta} left";
        let clock = Arc::new(Clock::start(0.));
        self.shown(template, of.unwrap_or(0), &clock).inspect(|bar| bar.set_message(file.to_owned()))
    }

    /// Returns a visible bar of length `of`; `None` if bars are off or there is no terminal.
    fn shown(&self, template: &str, of: u64, clock: &Arc<Clock>) -> Option<ProgressBar> {
        if self.format != ProgressFormat::Bar || self.quiet || SCREEN.bars.is_hidden() {
            return None;
        }
        let bar = SCREEN.add(ProgressBar::new(of).with_style(style(template, clock)));
        // The clock must advance during steps that take seconds.
        bar.enable_steady_tick(Duration::from_millis(500));
        Some(bar)
    }

    /// Prints a note above the bars. A sentence that was printed before is not repeated.
    pub fn note(&self, sentence: &str) {
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        if self.quiet || !printed.insert(self.hasher.hash_one(sentence)) {
            return;
        }
        match self.format {
            ProgressFormat::Bar => SCREEN.bars.suspend(|| terminal::print(Label::Note, sentence)),
            ProgressFormat::Json => emit(&json!({ "event": "note", "text": sentence })),
        }
    }

    /// Prints a line of `--verbose`.
    pub fn detail(&self, line: &str) {
        match self.format {
            ProgressFormat::Bar => SCREEN.bars.suspend(|| terminal::print(Label::None, line)),
            ProgressFormat::Json => emit(&json!({ "event": "detail", "text": line })),
        }
    }

    /// Prints the last sentence of a run, even if quiet; not with JSON events.
    pub fn closing(&self, sentence: &str) {
        if self.format == ProgressFormat::Bar {
            self.remove_bars();
            terminal::print(Label::None, sentence);
        }
    }

    /// Prints an event with JSON events; otherwise does nothing.
    pub fn event(&self, event: &Value) {
        if self.format == ProgressFormat::Json {
            emit(event);
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

/// Returns the style of a bar whose template may also use the clock's `{time}`, `{left}` and `{speed}`.
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

fn emit(event: &Value) {
    write_line(&event.to_string());
}

fn write_line(line: &str) {
    // One write per line, as other processes may write to the same file. A closed standard error does not stop the run.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Whether to emit an event for `done` of `of`. There are at most about 100 events, besides the last.
fn is_reported(done: usize, of: usize) -> bool {
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
    /// Counts one step.
    pub fn tick(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.clock.add(1.);
        if let Some(bar) = &self.shown {
            bar.inc(1);
        }
        if self.progress.format == ProgressFormat::Json && is_reported(done, self.of) {
            let mut event = json!({ "event": self.name, "done": done, "of": self.of });
            if let Some(pass) = self.pass {
                event["pass"] = json!(pass);
            }
            if let Some(device) = &self.device {
                event["device"] = json!(device);
            }
            emit(&event);
        }
        if self.work > 0. {
            self.progress.worked(self.work);
        }
    }

    /// Marks the counted work as lost: the run repeats it.
    pub fn give_up(&self) {
        self.progress.lost(self.work * self.done.load(Ordering::Relaxed) as f64);
    }
}

/// The progress of downloads.
pub struct Downloads<'a> {
    progress: &'a Progress,
    current: Option<Download>,
}

struct Download {
    file: String,
    shown: Option<ProgressBar>,
    /// The last percentage that was emitted.
    emitted: Option<u64>,
}

impl Downloads<'_> {
    /// Shows that `done` bytes of `file` have arrived, of `of` if its size is known.
    pub fn show(&mut self, file: &str, done: u64, of: Option<u64>) {
        if self.current.as_ref().is_none_or(|current| current.file != file) {
            let shown = self.progress.bytes(file, of);
            self.current = Some(Download { file: file.to_owned(), shown, emitted: None });
        }
        let Some(current) = &mut self.current else { return };
        let percent = Some(100 * done / of.unwrap_or(0).max(1));
        if let Some(bar) = &current.shown {
            bar.set_position(done);
        } else if self.progress.format == ProgressFormat::Json && current.emitted != percent {
            current.emitted = percent;
            emit(&json!({ "event": "download", "file": file, "done": done, "of": of }));
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
