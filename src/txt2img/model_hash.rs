//! The hashes of a run's models and its LoRAs, computed on a thread while the first pictures are drawn. They are not computed
//! while the first model is loaded, because that would slow loading down.

use super::OpenModel;
use crate::checkpoint::model_sha256;
use crate::demo;
use crate::files::sha256;
use crate::job::{Job, ModelSource};
use anyhow::Result;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::{Scope, ScopedJoinHandle};

/// Hashes that are known or being computed.
#[derive(Default)]
pub struct ModelHash<'scope> {
    /// The thread that computes them.
    thread: Option<ScopedJoinHandle<'scope, Result<Vec<Option<String>>>>>,
    /// Whether the thread should continue.
    is_needed: Arc<AtomicBool>,
    /// The hash of each model, once they are known; empty also if they are not needed.
    values: Vec<Option<String>>,
}

impl<'scope> ModelHash<'scope> {
    /// Starts a thread that reads the files of the models and their LoRAs once the sender of `loading` is dropped, if the run
    /// needs the hashes.
    pub fn start<'env>(
        job: &'env Job,
        models: &'env [OpenModel],
        loading: Receiver<()>,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Self {
        if !are_needed(job) {
            return Self::default();
        }
        // Ctrl-C does not stop it: the pictures drawn until then are saved with it.
        let is_needed = Arc::new(AtomicBool::new(true));
        let is_needed_still = is_needed.clone();
        let thread = scope.spawn(move || {
            let _ = loading.recv(); // fails when the sender is dropped
            models.iter().for_each(|model| model.loras.compute_hashes());
            let mut hashes: Vec<Option<String>> = vec![];
            for model in models {
                // Models that differ in their autoencoder alone are read once.
                let same = models[..hashes.len()].iter().position(|other| other.files.ckpt == model.files.ckpt);
                hashes.push(match (same, &model.files.ckpt) {
                    (Some(same), _) => hashes[same].clone(),
                    (None, ModelSource::Demo) => Some(sha256::of_bytes(demo::WEIGHTS)),
                    _ => model_sha256(model.checkpoint.path(), &|| is_needed_still.load(Ordering::Relaxed))?,
                });
            }
            Ok(hashes)
        });
        Self { thread: Some(thread), is_needed, values: vec![] }
    }

    /// Returns the hash of a model by its number, and waits for it if necessary; `None` if the run does not need it.
    ///
    /// # Errors
    /// If the model's files cannot be read.
    pub fn get(&mut self, model: usize) -> Result<Option<String>> {
        if let Some(thread) = self.thread.take() {
            self.values = thread.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        }
        Ok(self.values.get(model).cloned().flatten())
    }
}

/// Returns whether a run needs the hashes of its models and its LoRAs.
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
