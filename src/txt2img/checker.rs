//! The safety checker of a run, if it has one.

use crate::checkpoint::hub::{Download, Hub, Repo};
use crate::interrupt::Interrupted;
use crate::job::{Job, Location, ModelSource};
use crate::progress::Progress;
use crate::safety::{self, Action, Checker};
use anyhow::{Context, Result};
use candle_core::Device;
use std::path::PathBuf;

/// What a checker's repository has.
const FILES: [&[&str]; 2] = [&["config.json"], &["model.safetensors", "pytorch_model.bin"]];

/// The one that is asked for; or the original's, where it can be had, unless the demo model draws, which needs none.
///
/// # Errors
/// When one is asked for and cannot be had; `Interrupted` after Ctrl-C.
pub fn load(job: &Job, progress: &Progress) -> Result<Option<Checker>> {
    let action = action(job);
    if action == Some(Action::Off) {
        return Ok(None);
    }
    match folder(job, progress).and_then(|folder| Checker::load(&folder, &Device::Cpu)) {
        Ok(checker) => Ok(Some(checker)),
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(error) if action.is_some() => Err(error).context("--safety: the safety checker is not available"),
        Err(error) => {
            progress.note(&format!(
                "pictures are not checked for safety, as the checker is not available ({error:#}); \
                 give one with --safety_ckpt FOLDER, or turn checking off with --safety off"
            ));
            Ok(None)
        }
    }
}

/// What becomes of flagged pictures; not known where it depends on whether a checker can be had.
pub fn action(job: &Job) -> Option<Action> {
    let is_wanted = job.output.safety.is_some() || job.output.safety_ckpt.is_some();
    match job.model.ckpt {
        _ if is_wanted => Some(job.output.safety.unwrap_or(Action::Replace)),
        ModelSource::Demo => Some(Action::Off),
        ModelSource::Files(_) => None,
    }
}

/// Returns the fingerprint of the checker that the job names, as far as that is known without fetching it.
pub fn fingerprint(job: &Job) -> Option<String> {
    match &job.output.safety_ckpt {
        Some(Location::Path(folder)) if action(job) != Some(Action::Off) => safety::fingerprint(folder).ok(),
        _ => None,
    }
}

fn folder(job: &Job, progress: &Progress) -> Result<PathBuf> {
    let repo = match (&job.output.safety_ckpt, &job.model.ckpt) {
        (Some(Location::Path(folder)), _) => return Ok(folder.clone()),
        (None, ModelSource::Files(Location::Path(model))) if model.join("safety_checker").is_dir() => {
            return Ok(model.clone());
        }
        (Some(Location::Hub(repo)), _) => repo.clone(),
        _ => Repo::safety_checker(),
    };
    let mut downloads = progress.downloads();
    let mut report = |at: &Download| downloads.show(&at.file, at.done, at.size);
    Hub::from_env()?.fetch_files(&repo, &FILES, &mut report)
}
