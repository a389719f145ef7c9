//! The hash of a run's model, made on a thread beside the first pictures.

use crate::checkpoint::{Checkpoint, model_sha256};
use crate::demo;
use crate::files::sha256;
use crate::job::{Job, ModelSource};
use anyhow::Result;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

/// A hash that is there, or will be.
#[derive(Default)]
pub struct ModelHash<'scope> {
    /// In the making.
    coming: Option<ScopedJoinHandle<'scope, Result<Option<String>>>>,
    /// Whether somebody may ask for it yet.
    is_wanted: Arc<AtomicBool>,
    /// None if nothing will tell of it.
    known: Option<String>,
}

impl<'scope> ModelHash<'scope> {
    /// Begins to read the model's files, if anything will tell of the hash.
    pub fn begin<'env>(job: &'env Job, checkpoint: &'env Checkpoint, scope: &'scope Scope<'scope, 'env>) -> Self {
        let is_told = job.output.metadata && job.output.saves_samples || job.output.report.is_some();
        let is_compared = job.images.replay.is_some();
        if !is_told && !is_compared && !job.output.fname.as_ref().is_some_and(|fname| fname.has_hash()) {
            return Self::default();
        }
        if job.model.ckpt == ModelSource::Demo {
            return Self { coming: None, is_wanted: Arc::default(), known: Some(sha256::of_bytes(demo::WEIGHTS)) };
        }
        // Ctrl-C does not stop it: what was drawn until then is saved with it.
        let is_wanted = Arc::new(AtomicBool::new(true));
        let goes_on = is_wanted.clone();
        let coming = scope.spawn(move || model_sha256(checkpoint.path(), &|| goes_on.load(Ordering::Relaxed)));
        Self { coming: Some(coming), is_wanted, known: None }
    }

    /// The hash, waited for if need be.
    ///
    /// # Errors
    /// When the model's files cannot be read.
    pub fn get(&mut self) -> Result<Option<String>> {
        if let Some(coming) = self.coming.take() {
            self.known = coming.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        }
        Ok(self.known.clone())
    }
}

impl Drop for ModelHash<'_> {
    fn drop(&mut self) {
        self.is_wanted.store(false, Ordering::Relaxed);
    }
}
