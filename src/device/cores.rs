//! Thread pools that are pinned to a range of the CPU's cores.

use crate::ranges::ranges;
use anyhow::{Context, Result, bail};
use std::ops::RangeInclusive;

/// A range of the CPU's cores with a pinned thread on each.
#[derive(Debug)]
pub struct Cores {
    threads: rayon::ThreadPool,
}

impl Cores {
    /// Starts a thread on each core.
    ///
    /// # Errors
    /// If this machine lacks one of the cores, this process may not use it, or the threads cannot be started.
    pub fn new(cores: RangeInclusive<usize>) -> Result<Self> {
        let allowed = allowed_cores();
        if let Some(core) = cores.clone().find(|core| !allowed.contains(core)) {
            bail!("core {core} is not available; use {}", ranges(allowed.iter().copied()));
        }
        let first = *cores.start();
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(cores.count())
            .start_handler(move |thread| pin_to(first + thread))
            .build();
        Ok(Self { threads: threads.context("starting the threads")? })
    }

    /// The number of cores.
    pub fn count(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Runs `work` on these threads.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.threads.install(work)
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
