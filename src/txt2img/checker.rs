//! The safety checker of a run, if it has one.

use super::on_download;
use crate::checkpoint::hub::{Hub, Repo};
use crate::interrupt::Interrupted;
use crate::job::{Job, Location, ModelSource};
use crate::progress::Progress;
use crate::safety::{self, Action, Checker};
use anyhow::{Context, Result};
use candle_core::Device;
use std::path::PathBuf;

/// The files of a checker's repository, each a list of alternatives.
const FILES: [&[&str]; 2] = [&["config.json"], &["model.safetensors", "pytorch_model.bin"]];

/// Loads the requested checker, or else the model's own or the original's if it is available. Returns `None` if checking is
/// off, as it is by default for the demo model, or if no checker was requested and none is available.
///
/// # Errors
/// If a requested checker is not available; `Interrupted` after Ctrl-C.
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
                "the safety checker is not available ({error:#}), so pictures are not checked; \
                 give one with --safety_ckpt FOLDER, or turn checking off with --safety off"
            ));
            Ok(None)
        }
    }
}

/// Returns the treatment of flagged pictures, or `None` if it depends on whether a checker is available.
pub fn action(job: &Job) -> Option<Action> {
    let is_requested = job.output.safety.is_some() || job.output.safety_ckpt.is_some();
    match job.model.ckpt {
        _ if is_requested => Some(job.output.safety.unwrap_or(Action::Replace)),
        ModelSource::Demo => Some(Action::Off),
        ModelSource::Files(_) => None,
    }
}

/// Returns the fingerprint of the checker that the job names, or `None` if it would have to be downloaded first.
pub fn fingerprint(job: &Job) -> Option<String> {
    match &job.output.safety_ckpt {
        Some(Location::Path(folder)) if action(job) != Some(Action::Off) => safety::fingerprint(folder).ok(),
        _ => None,
    }
}

/// Returns the folder of the checker, and downloads it if necessary.
fn folder(job: &Job, progress: &Progress) -> Result<PathBuf> {
    let repo = match (&job.output.safety_ckpt, &job.model.ckpt) {
        (Some(Location::Path(folder)), _) => return Ok(folder.clone()),
        (None, ModelSource::Files(Location::Path(model))) if model.join("safety_checker").is_dir() => {
            return Ok(model.clone());
        }
        (Some(Location::Hub(repo)), _) => repo.clone(),
        _ => Repo::safety_checker(),
    };
    Hub::from_env()?.fetch_files(&repo, &FILES, &mut on_download(progress))
}
