//! The thread pool of a CPU device.

use crate::ranges::ranges;
use anyhow::{Result, bail};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::ops::RangeInclusive;

/// The threads that compute on a CPU device.
#[derive(Debug)]
pub struct Threads(ThreadPool);

impl Threads {
    /// Starts `count` threads, which run on any core.
    ///
    /// # Errors
    /// If they cannot be started.
    pub fn new(count: usize) -> Result<Self> {
        Self::start(ThreadPoolBuilder::new().num_threads(count), count)
    }

    /// Starts a thread on each core of a range, which runs on that core only.
    ///
    /// # Errors
    /// If this machine lacks one of the cores, this process may not use it, or the threads cannot be started.
    pub fn on_cores(cores: RangeInclusive<usize>) -> Result<Self> {
        let allowed = allowed_cores();
        if let Some(core) = cores.clone().find(|core| !allowed.contains(core)) {
            bail!("core {core} is not available; use {}", ranges(allowed.iter().copied()));
        }
        let (first, count) = (*cores.start(), cores.count());
        let pool = ThreadPoolBuilder::new().num_threads(count).start_handler(move |thread| pin_to(first + thread));
        Self::start(pool, count)
    }

    fn start(pool: ThreadPoolBuilder, count: usize) -> Result<Self> {
        match pool.build() {
            Ok(threads) => Ok(Self(threads)),
            Err(error) => bail!("cannot start {count} threads: {error}; use fewer"),
        }
    }

    /// The number of threads.
    pub fn count(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `work` on one of these threads. What it computes in parallel is computed by these threads alone.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.0.install(work)
    }
}

/// The cores that this process may use.
#[cfg(target_os = "linux")]
fn allowed_cores() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// Pins the current thread to a core.
#[cfg(target_os = "linux")]
fn pin_to(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    // If the system refuses, the thread runs on any core.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

#[cfg(not(target_os = "linux"))]
fn allowed_cores() -> Vec<usize> {
    (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
}

#[cfg(not(target_os = "linux"))]
fn pin_to(_: usize) {}
