//! Cores of the processor that are told apart.

use crate::ranges::ranges;
use anyhow::{Context, Result, bail};
use std::ops::RangeInclusive;

/// Some of the processor's cores, a thread on each.
#[derive(Debug)]
pub struct Cores {
    threads: rayon::ThreadPool,
}

impl Cores {
    /// Starts the threads.
    ///
    /// # Errors
    /// When this machine has no such cores, or this process may not use them.
    pub fn new(cores: RangeInclusive<usize>) -> Result<Self> {
        let allowed = allowed_cores();
        if let Some(core) = cores.clone().find(|core| !allowed.contains(core)) {
            bail!("there is no core {core} here; there are {}", ranges(allowed.iter().copied()));
        }
        let first = *cores.start();
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(cores.count())
            .start_handler(move |thread| stay_on(first + thread))
            .build();
        Ok(Self { threads: threads.context("starting the threads")? })
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Does something with these threads.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.threads.install(work)
    }
}

/// The cores this process may use.
#[cfg(target_os = "linux")]
fn allowed_cores() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// The same thread stays on the same core.
#[cfg(target_os = "linux")]
fn stay_on(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    // Where that is refused, the thread goes where it likes.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

#[cfg(not(target_os = "linux"))]
fn allowed_cores() -> Vec<usize> {
    (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
}

#[cfg(not(target_os = "linux"))]
fn stay_on(_: usize) {}
