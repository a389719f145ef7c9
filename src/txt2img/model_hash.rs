//! The hash of a run's model, computed on a thread while the first pictures are drawn.

use crate::checkpoint::{Checkpoint, model_sha256};
use crate::demo;
use crate::files::sha256;
use crate::job::{Job, ModelSource};
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
    /// Starts to read the model's files, if the run needs the hash.
    pub fn start<'env>(job: &'env Job, checkpoint: &'env Checkpoint, scope: &'scope Scope<'scope, 'env>) -> Self {
        let is_written = job.output.metadata && job.output.saves_samples || job.output.report.is_some();
        let is_compared = job.images.replay.is_some();
        if !is_written && !is_compared && !job.output.fname.as_ref().is_some_and(|fname| fname.has_hash()) {
            return Self::default();
        }
        if job.model.ckpt == ModelSource::Demo {
            let value = Some(sha256::of_bytes(demo::WEIGHTS));
            return Self { thread: None, is_needed: Arc::default(), value };
        }
        // Ctrl-C does not stop it: the pictures drawn until then are saved with it.
        let is_needed = Arc::new(AtomicBool::new(true));
        let is_needed_still = is_needed.clone();
        let thread = scope.spawn(move || model_sha256(checkpoint.path(), &|| is_needed_still.load(Ordering::Relaxed)));
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

impl Drop for ModelHash<'_> {
    /// Stops the thread.
    fn drop(&mut self) {
        self.is_needed.store(false, Ordering::Relaxed);
    }
}
