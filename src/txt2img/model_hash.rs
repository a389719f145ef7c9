//! The hashes of a run's model and its LoRAs, computed on a thread while the first pictures are drawn.

use crate::checkpoint::{Checkpoint, model_sha256};
use crate::demo;
use crate::files::sha256;
use crate::job::{Job, LoraFiles, ModelSource};
use anyhow::Result;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

/// A hash that is known or being computed.
#[derive(Default)]
pub struct ModelHash<'scope> {
    /// The thread that computes it.
    thread: Option<ScopedJoinHandle<'scope, Result<Option<String>>>>,
    /// Whether the thread should continue.
    is_needed: Arc<AtomicBool>,
    /// The hash, once it is known; `None` also if it is not needed.
    value: Option<String>,
}

impl<'scope> ModelHash<'scope> {
    /// Starts to read the model's files, if the run needs the hash, and those of its LoRAs.
    pub fn start<'env>(
        job: &'env Job,
        checkpoint: &'env Checkpoint,
        loras: &'env LoraFiles,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Self {
        if !are_needed(job) {
            return Self::default();
        }
        // Ctrl-C does not stop it: the pictures drawn until then are saved with it.
        let is_needed = Arc::new(AtomicBool::new(true));
        let is_needed_still = is_needed.clone();
        let thread = scope.spawn(move || {
            loras.compute_hashes();
            match job.model.ckpt {
                ModelSource::Demo => Ok(Some(sha256::of_bytes(demo::WEIGHTS))),
                _ => model_sha256(checkpoint.path(), &|| is_needed_still.load(Ordering::Relaxed)),
            }
        });
        Self { thread: Some(thread), is_needed, value: None }
    }

    /// Returns the hash, and waits for it if necessary; `None` if the run does not need it.
    ///
    /// # Errors
    /// If the model's files cannot be read.
    pub fn get(&mut self) -> Result<Option<String>> {
        if let Some(thread) = self.thread.take() {
            self.value = thread.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        }
        Ok(self.value.clone())
    }
}

/// Returns whether a run needs the hashes of its model and its LoRAs.
pub fn are_needed(job: &Job) -> bool {
    let are_written = job.output.metadata && job.output.saves_samples || job.output.report.is_some();
    let are_compared = job.images.replay.is_some();
    are_written || are_compared || job.output.fname.as_ref().is_some_and(|fname| fname.has_hash())
}

impl Drop for ModelHash<'_> {
    /// Stops the thread.
    fn drop(&mut self) {
        self.is_needed.store(false, Ordering::Relaxed);
    }
}
