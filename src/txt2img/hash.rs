//! The hash of a run's model, made on a thread beside the first pictures.

use crate::checkpoint::Checkpoint;
use crate::demo;
use crate::interrupt;
use crate::job::{Ckpt, Job};
use crate::output::{sha256, sha256_of};
use anyhow::Result;
use std::panic::resume_unwind;
use std::thread::{Scope, ScopedJoinHandle};

/// A hash that is there, or will be.
#[derive(Default)]
pub struct Hash<'scope> {
    /// In the making.
    coming: Option<Coming<'scope>>,
    /// None if nobody wants it.
    known: Option<String>,
}

struct Coming<'scope> {
    checkpoint: &'scope Checkpoint,
    /// None if Ctrl-C was pressed before it was done.
    made: ScopedJoinHandle<'scope, Result<Option<String>>>,
}

impl<'scope> Hash<'scope> {
    /// Begins to read the model's files, if anything will tell of the hash.
    pub fn begin<'env>(job: &'env Job, checkpoint: &'env Checkpoint, scope: &'scope Scope<'scope, 'env>) -> Self {
        let is_told = job.metadata && job.saves_samples || job.report.is_some();
        let is_compared = job.replay.is_some();
        if !is_told && !is_compared && !job.fname.as_ref().is_some_and(|fname| fname.has_hash()) {
            return Self::default();
        }
        if job.ckpt == Ckpt::Demo {
            return Self { coming: None, known: Some(sha256_of(demo::WEIGHTS)) };
        }
        let goes_on = || interrupt::check().is_ok();
        let made = scope.spawn(move || sha256(checkpoint.path(), &goes_on));
        Self { coming: Some(Coming { checkpoint, made }), known: None }
    }

    /// The hash, waited for if need be.
    ///
    /// # Errors
    /// When the model's files cannot be read.
    pub fn get(&mut self) -> Result<Option<String>> {
        if let Some(Coming { checkpoint, made }) = self.coming.take() {
            self.known = match made.join().unwrap_or_else(|panic| resume_unwind(panic))? {
                // A picture that was drawn before Ctrl-C is saved as if nobody had pressed it.
                None => sha256(checkpoint.path(), &|| true)?,
                made => made,
            };
        }
        Ok(self.known.clone())
    }
}
