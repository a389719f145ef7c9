//! LoRA files and their relatives: small changes to the weights of a model, added while the weights are read.

mod delta;
mod modules;
mod summary;

use super::declared::metadata;
use super::names::TEXT;
use super::safetensors::LENGTH;
use super::tensor::Tensor;
use super::{Checkpoint, ema, read_file, with_path};
use crate::config::UNetConfig;
use crate::files::sha256;
use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::{Device, Tensor as Candle};
use delta::Change;
use modules::{Key, Modules};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use summary::Summary;

/// The number of digits of a hash that names a LoRA file, as in AUTOMATIC1111's metadata.
const HASH_DIGITS: usize = 12;

/// A LoRA file, matched to the modules of a model.
pub struct LoraFile {
    path: PathBuf,
    /// The metadata of a `.safetensors` file.
    metadata: BTreeMap<String, String>,
    /// The changes to the model's modules, by LDM's names of these.
    changes: BTreeMap<String, Change>,
    /// The modules in the file that the model lacks.
    unmatched: Vec<String>,
    hash: String,
    content_hash: String,
}

impl LoraFile {
    /// Opens a LoRA file for a model, whose names and shapes are `checkpoint`'s. Reads no weights.
    ///
    /// # Errors
    /// If the file cannot be read, is not a LoRA of a Stable Diffusion 1.x model, changes nothing of this one, or has
    /// tensors whose shapes do not fit it or each other.
    pub fn open(path: &Path, checkpoint: &Checkpoint, unet: &UNetConfig) -> Result<Self> {
        let tensors = read_file(path)?;
        let entries = metadata::entries(path).unwrap_or_default();
        let text = |(key, value): (String, Value)| Some((key, value.as_str()?.to_owned()));
        let metadata = entries.into_iter().filter_map(text).collect();
        Self::matched(path, tensors, metadata, checkpoint, unet).map_err(|error| with_path(path, error))
    }

    fn matched(
        path: &Path,
        tensors: BTreeMap<String, Tensor>,
        metadata: BTreeMap<String, String>,
        checkpoint: &Checkpoint,
        unet: &UNetConfig,
    ) -> Result<Self> {
        modules::refuse_others(&tensors, &metadata)?;
        let known = Modules::new(checkpoint, unet);
        let mut parts: BTreeMap<String, BTreeMap<&'static str, Tensor>> = BTreeMap::new();
        let mut unmatched = BTreeSet::new();
        let mut n_keys = 0;
        for (name, tensor) in tensors {
            let Some(Key { module, part }) = Key::parse(&name) else { continue };
            n_keys += 1;
            match known.find(module) {
                Some(name) => _ = parts.entry(name.to_owned()).or_default().insert(part, tensor),
                None => _ = unmatched.insert(module.to_owned()),
            }
        }
        ensure!(n_keys > 0, "has no tensors of a LoRA; give a LoRA file of a Stable Diffusion 1.x model");
        ensure!(
            !parts.is_empty(),
            "matches nothing in the model: '{}' and the others are not modules of Stable Diffusion 1.x; give a LoRA that \
             was made for it",
            unmatched.first().map_or("", String::as_str)
        );
        let mut changes = BTreeMap::new();
        for (name, parts) in parts {
            let shape = |kind: &str| checkpoint.shape(&format!("{name}.{kind}"));
            let change = Change::new(parts, alpha_of(&name, &metadata), shape("weight"), shape("bias"));
            changes
                .insert(name.clone(), change.map_err(|error| anyhow!("does not fit the model: '{name}' {error:#}"))?);
        }
        let content_hash = content_hash(path)?;
        let stated = metadata.get("sshs_model_hash").filter(|hash| hash.chars().all(|c| c.is_ascii_hexdigit()));
        let hash = stated.unwrap_or(&content_hash);
        let hash = hash.get(..HASH_DIGITS).unwrap_or(hash).to_owned();
        let unmatched = unmatched.into_iter().collect();
        Ok(Self { path: path.to_owned(), metadata, changes, unmatched, hash, content_hash })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SHA-256 of the file's tensors, without the header.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }

    /// The file's hash as AUTOMATIC1111's web UI shows it: the first twelve digits of the one in its metadata, or else of
    /// [`Self::content_hash`].
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Returns what the file contains, and which of it the model has.
    pub fn summary(&self) -> Summary<'_> {
        Summary { file: self }
    }
}

/// Returns PEFT's alpha of a module, which is in the metadata.
fn alpha_of(module: &str, metadata: &BTreeMap<String, String>) -> Option<f64> {
    let config: Value = serde_json::from_str(metadata.get("lora_adapter_metadata")?).ok()?;
    let part = if module.starts_with(TEXT) { "text_encoder.lora_alpha" } else { "unet.lora_alpha" };
    config.get(part).or_else(|| config.get("lora_alpha"))?.as_f64()
}

/// Returns the SHA-256 of a file: of a `.safetensors` file without its header, which tools rewrite.
///
/// # Errors
/// If the file cannot be read.
pub fn content_hash(path: &Path) -> Result<String> {
    let skip =
        if path.extension().is_some_and(|extension| extension == "safetensors") { header_bytes(path)? } else { 0 };
    Ok(sha256::of_file_from(path, skip, &|| true)?.unwrap_or_default())
}

/// Returns the number of bytes before the tensors of a `.safetensors` file.
fn header_bytes(path: &Path) -> Result<u64> {
    Ok(metadata::header_length(&mut File::open(path)?)?.saturating_add(LENGTH as u64))
}

/// The weights of a LoRA: factors of its changes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LoraWeights {
    /// The factor of changes to the text encoder.
    pub text: f64,
    /// The factor of changes to the UNet.
    pub unet: f64,
}

/// The LoRAs that are added to a model.
#[derive(Clone, Default)]
pub struct Loras(Vec<(Arc<LoraFile>, LoraWeights)>);

impl PartialEq for Loras {
    /// Compares the files' paths, and the weights.
    fn eq(&self, other: &Self) -> bool {
        let key = |(file, weights): &(Arc<LoraFile>, LoraWeights)| (file.path.clone(), *weights);
        self.0.iter().map(key).eq(other.0.iter().map(key))
    }
}

impl Loras {
    /// Returns the LoRAs. Weights of the same file are added up, so that opposite ones cancel exactly.
    pub fn new(loras: impl IntoIterator<Item = (Arc<LoraFile>, LoraWeights)>) -> Self {
        let mut all: Vec<(Arc<LoraFile>, LoraWeights)> = vec![];
        for (file, weights) in loras {
            match all.iter_mut().find(|(other, _)| other.path == file.path) {
                Some((_, sum)) => (sum.text, sum.unet) = (sum.text + weights.text, sum.unet + weights.unet),
                None => all.push((file, weights)),
            }
        }
        Self(all)
    }

    /// Returns the LoRAs that change tensor `name`, with their weights. `name` is LDM's, or that of a moving average.
    fn changes_of(&self, name: &str) -> impl Iterator<Item = (&LoraFile, &Change, f64)> {
        let (module, _) = name.rsplit_once('.').unwrap_or((name, ""));
        let is_text = name.starts_with(TEXT);
        self.0.iter().filter_map(move |(file, weights)| {
            let weight = if is_text { weights.text } else { weights.unet };
            let change = file.changes.get(module)?;
            (weight != 0.).then_some((&**file, change, weight))
        })
    }

    /// Returns whether the LoRAs change tensor `name`.
    pub fn change(&self, name: &str) -> bool {
        let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
        self.changes_of(name).any(|(_, change, _)| change.has(kind))
    }

    /// Adds the changes to a tensor: `base`, in f32, in any shape.
    ///
    /// # Errors
    /// If a change is not finite, or memory does not suffice.
    pub fn merge(&self, name: &str, base: Vec<f32>, shape: &[usize]) -> Result<Vec<f32>> {
        let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
        let mut x = Candle::from_vec(base, shape, &Device::Cpu)?;
        for (file, change, weight) in self.changes_of(name).filter(|(_, change, _)| change.has(kind)) {
            let changed = change.apply(kind, &x, weight);
            x = changed.with_context(|| format!("'{}' cannot be added to '{name}'", file.path.display()))?;
        }
        let merged = x.flatten_all()?.to_vec1::<f32>()?;
        if let Some((file, ..)) = self.changes_of(name).next()
            && !merged.iter().all(|number| number.is_finite())
        {
            bail!(
                "'{}' makes '{name}' infinite or NaN; it is damaged, or its weight is too large",
                file.path.display()
            );
        }
        Ok(merged)
    }

    /// The names of the tensors of moving averages that belong to LDM's names, for checkpoints drawn with these.
    pub fn names_of_averages(&self) -> HashMap<String, String> {
        let modules = self.0.iter().flat_map(|(file, _)| file.changes.keys());
        let tensors = modules.flat_map(|module| ["weight", "bias"].map(|kind| format!("{module}.{kind}")));
        tensors.map(|name| (ema::name(&name), name)).collect()
    }
}
