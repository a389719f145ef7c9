//! LoRA files and their relatives: small changes to the weights of a model, added while the weights are read.

mod alpha;
mod change;
mod contents;
mod delta;
mod dora;
mod embeddings;
mod keys;
mod matrix;
mod merge;
mod modules;
mod refusals;
mod summary;

use super::bytes::Bytes;
use super::declared::metadata;
use super::{Checkpoint, Layout, safetensors, sniff, with_path};
use crate::config::UNetConfig;
use crate::files::sha256::{self, Sha256};
use anyhow::{Result, ensure};
use change::Change;
use contents::Contents;
use embeddings::Embeddings;
use modules::Modules;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use alpha::PEFT;
pub use merge::{LoraWeights, Loras};
pub use summary::Summary;

/// The texts in the metadata of a `.safetensors` file.
pub type Metadata = BTreeMap<String, String>;

/// The files that hold LoRAs.
const FILES: &str = "give a .safetensors file of a LoRA, or one written by torch";

/// The number of digits of a hash that names a LoRA file, as in AUTOMATIC1111's metadata.
const HASH_DIGITS: usize = 12;

/// A LoRA file, matched to the modules of a model.
pub struct LoraFile {
    path: PathBuf,
    metadata: Metadata,
    /// The changes to the model's modules, by LDM's names of these.
    changes: BTreeMap<String, Change>,
    /// The kinds of the changes.
    kinds: BTreeSet<&'static str>,
    /// The names in the file that the model lacks.
    unmatched: Vec<String>,
    embeddings: Embeddings,
    hashed: Hashed,
}

/// The bytes that a file's hash covers.
struct Hashed {
    file: Arc<Bytes>,
    /// The number of bytes that are left out at the start.
    skipped: usize,
    hash: OnceLock<String>,
}

impl LoraFile {
    /// Opens a LoRA for a model, whose names and shapes are `checkpoint`'s: a `.safetensors` file, or one written by
    /// `torch.save`.
    ///
    /// # Errors
    /// If the file cannot be read, is not a LoRA for a Stable Diffusion 1.x model, changes nothing of this one, or has
    /// tensors that are damaged, or do not fit the model or each other.
    pub fn open(path: &Path, checkpoint: &Checkpoint, unet: &UNetConfig) -> Result<Self> {
        Self::read(path, checkpoint, unet).map_err(|error| with_path(path, refusals::advised(error)))
    }

    fn read(path: &Path, checkpoint: &Checkpoint, unet: &UNetConfig) -> Result<Self> {
        ensure!(!path.is_dir(), "is a folder; give the LoRA file in it");
        let file = Arc::new(Bytes::map(path)?);
        let layout = sniff::layout_of(&file, "LoRA", FILES)?;
        let tensors = super::tensors_in(layout, &file)?;
        ensure!(!tensors.is_empty(), "holds no tensors; {}", refusals::ADVICE);
        let is_safetensors = layout == Layout::Safetensors;
        let mut metadata = if is_safetensors { self::metadata(path) } else { Metadata::new() };
        alpha::add_config(&mut metadata, path)?;
        refusals::refuse(&tensors, &metadata)?;
        let known = Modules::new(checkpoint, unet);
        let Contents { changes, kinds, unmatched, embeddings } = Contents::new(tensors, &metadata, checkpoint, &known)?;
        // Tools rewrite the header.
        let skipped = if is_safetensors { safetensors::data_start(&file) } else { 0 };
        let hashed = Hashed { file, skipped, hash: OnceLock::new() };
        Ok(Self { path: path.to_owned(), metadata, changes, kinds, unmatched, embeddings, hashed })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The texts in the metadata of a `.safetensors` file.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The textual inversions in the file, by name: vectors (n, width) in f32 for the model's text encoder.
    pub fn embeddings(&self) -> impl Iterator<Item = (&str, &candle_core::Tensor)> {
        self.embeddings.iter().map(|(name, vectors)| (&**name, vectors))
    }

    /// Returns a hash that identifies the changes without reading all of the file, from samples of each tensor.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for (module, change) in &self.changes {
            hash.update(module);
            change.add_to_fingerprint(&mut hash);
        }
        for embedding in &self.embeddings {
            hash.update(format!("{embedding:?}\n"));
        }
        hash.finish()
    }

    /// The SHA-256 of the tensors in a `.safetensors` file, and of all of another. Reads the file on the first call.
    pub fn content_hash(&self) -> &str {
        let Hashed { file, skipped, hash } = &self.hashed;
        hash.get_or_init(|| sha256::of_bytes(file.get(*skipped..).unwrap_or_default()))
    }

    /// The hash that names the file in AUTOMATIC1111's metadata, 12 digits: the one that the trainer stated, or else that of
    /// [`Self::content_hash`].
    pub fn hash(&self) -> String {
        let is_hash = |hash: &&String| hash.len() >= HASH_DIGITS && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
        let stated = self.metadata.get("sshs_model_hash").filter(is_hash);
        stated.map_or_else(|| self.content_hash().to_owned(), |stated| stated.to_lowercase())[..HASH_DIGITS].to_owned()
    }

    /// Returns what the file contains, and which of it the model has.
    pub fn summary(&self) -> Summary<'_> {
        Summary { file: self }
    }
}

/// Returns the [`LoraFile::content_hash`] of a file without checking its contents.
///
/// # Errors
/// If the file cannot be read.
pub fn content_hash(path: &Path) -> Result<String> {
    let file = Bytes::map(path)?;
    let is_safetensors = sniff::layout(&file).is_ok_and(|layout| layout == Layout::Safetensors);
    let skipped = if is_safetensors { safetensors::data_start(&file) } else { 0 };
    Ok(sha256::of_bytes(file.get(skipped..).unwrap_or_default()))
}

/// Returns the texts in the metadata of a `.safetensors` file; none for other files, or if they cannot be read.
pub fn metadata(path: &Path) -> Metadata {
    let entries = metadata::entries(path).unwrap_or_default();
    entries.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned()))).collect()
}
