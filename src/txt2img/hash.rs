//! The hash of a run's model, made on a thread beside the first pictures.

use crate::checkpoint::Checkpoint;
use crate::demo;
use crate::interrupt;
use crate::job::{Ckpt, Job};
use crate::output::{sha256, sha256_of};
use std::thread::{Scope, ScopedJoinHandle};

/// A hash that is there, or will be.
#[derive(Default)]
pub struct Hash<'scope> {
    /// In the making.
    coming: Option<ScopedJoinHandle<'scope, Option<String>>>,
    /// None also if nobody wants it, or it could not be made.
    known: Option<String>,
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
        let coming = scope.spawn(move || sha256(checkpoint.path(), &goes_on).ok().flatten());
        Self { coming: Some(coming), known: None }
    }

    /// The hash, waited for if need be.
    pub fn get(&mut self) -> Option<String> {
        if let Some(coming) = self.coming.take() {
            self.known = coming.join().unwrap_or(None);
        }
        self.known.clone()
    }
}
