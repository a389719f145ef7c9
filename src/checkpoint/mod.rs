//! Checkpoints of Stable Diffusion 1.x in every common format, with their tensors under LDM's names.
//!
//! The format is detected by a file's first bytes, never by its extension. Files are memory-mapped, and the elements of
//! a tensor are read on demand. Loading never runs code from a file, and checks every size and offset in it.

mod archive;
mod bytes;
mod cache_folder;
#[cfg(test)]
mod damage_tests;
mod declared;
pub mod ema;
mod embedding;
#[cfg(test)]
mod embedding_tests;
mod float8;
mod folder;
mod foreign;
mod hash;
pub mod hub;
mod legacy;
#[cfg(test)]
mod legacy_tests;
pub mod lora;
pub mod names;
mod opcodes;
mod part_files;
mod pickle;
mod rebuild;
mod safetensors;
mod sniff;
mod state_dict;
mod tensor;
mod torch;
#[cfg(test)]
mod torch_tests;
mod vae;
pub(crate) mod weights;
mod wrapped;

use crate::config::{ModelConfig, UNetConfig};
use crate::files::sha256::Sha256;
use anyhow::{Context, Error, Result, anyhow, ensure};
use bytes::Bytes;
use candle_core::{DType, Device};
use folder::Folder;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tensor::{Elements, Tensor};

pub(crate) use declared::MARKERS;
pub use declared::{Declared, Stated};
pub use embedding::Embedding;
pub use folder::weight_files;
pub use hash::model_sha256;
pub use tensor::Dtype;

type Tensors = BTreeMap<String, Tensor>;

/// The format of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// A file written by `torch.save`.
    Torch,
    /// A `.safetensors` file.
    Safetensors,
    /// A folder written by diffusers or transformers.
    Diffusers,
}

/// A Stable Diffusion 1.x checkpoint.
pub struct Checkpoint {
    path: PathBuf,
    /// The path of the replacement autoencoder, if there is one.
    vae: Option<PathBuf>,
    layout: Layout,
    /// The weight files; empty for a built-in checkpoint.
    files: Vec<PathBuf>,
    declared: Declared,
    tensors: Tensors,
    /// The embeddings that were added, beside the text encoder's tokens.
    embeddings: Vec<Embedding>,
}

impl Checkpoint {
    /// Opens a `.ckpt` or `.safetensors` file or a diffusers folder.
    ///
    /// # Errors
    /// If `path` does not hold a checkpoint of Stable Diffusion 1.x; the error names the file.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_parts(path, true)
    }

    /// Opens a checkpoint with the autoencoder in `vae`. The checkpoint's own may be missing.
    ///
    /// # Errors
    /// If [`open`](Self::open) or [`with_vae`](Self::with_vae) fails.
    pub fn open_with_vae(path: &Path, vae: &Path) -> Result<Self> {
        Self::open_parts(path, false)?.with_vae(vae)
    }

    /// Opens a checkpoint. With `needs_vae` false, a diffusers folder may lack the autoencoder.
    fn open_parts(path: &Path, needs_vae: bool) -> Result<Self> {
        if path.is_dir() {
            let folder = Folder::find(path, needs_vae)?;
            return Self::new(path, Layout::Diffusers, folder.files().collect(), folder.read_tensors()?);
        }
        let (layout, tensors) = read_bytes(path)?;
        Self::new(path, layout, vec![path.to_path_buf()], tensors)
    }

    /// Opens a single network in a folder written by transformers, with `model.safetensors` or `pytorch_model.bin`. Its
    /// tensors keep their names.
    ///
    /// # Errors
    /// If the weights are missing or cannot be read; the error names the file.
    pub fn open_alone(folder: &Path) -> Result<Self> {
        let part = folder::single_network(folder)?;
        let (layout, tensors) = (Layout::Diffusers, part.read_tensors()?);
        let (files, declared) = (part.files().collect(), Declared::default());
        Ok(Self { path: part.path(), vae: None, layout, files, declared, tensors, embeddings: vec![] })
    }

    /// Opens a checkpoint that is built into the program. `path` is its name in messages.
    ///
    /// # Errors
    /// If the bytes are not a Stable Diffusion 1.x checkpoint.
    pub fn built_in(path: &Path, bytes: &'static [u8]) -> Result<Self> {
        let (layout, tensors) = tensors(&Arc::new(Bytes::BuiltIn(bytes))).map_err(|e| with_path(path, e))?;
        Self::new(path, layout, vec![], tensors)
    }

    fn new(path: &Path, layout: Layout, files: Vec<PathBuf>, tensors: Tensors) -> Result<Self> {
        let tensors = wrapped::ldm_names(tensors);
        foreign::refuse(&tensors).map_err(|e| with_path(path, e))?;
        let declared = Declared::read(path, layout, &files, &tensors)?;
        let path = path.to_path_buf();
        Ok(Self { path, vae: None, layout, files, declared, tensors, embeddings: vec![] })
    }

    /// Replaces the autoencoder with the one in `path`: a full checkpoint, an autoencoder's own file (LDM's, diffusers' or
    /// TAESD's), or a diffusers folder.
    ///
    /// # Errors
    /// If `path` cannot be read or has no autoencoder; the error names the file.
    pub fn with_vae(mut self, path: &Path) -> Result<Self> {
        let tensors = vae::read_tensors(path)?;
        // TAESD takes latents as the UNet has them.
        self.declared.scale_factor = if vae::is_tiny(&tensors) { None } else { Declared::vae_scale_factor(path)? };
        self.tensors.retain(|name, _| !name.starts_with(vae::ROOT));
        self.tensors.extend(tensors);
        self.vae = Some(path.to_path_buf());
        Ok(self)
    }

    /// Returns whether the autoencoder is TAESD's decoder.
    pub fn has_tiny_vae(&self) -> bool {
        vae::is_tiny(&self.tensors)
    }

    /// Adds embeddings, which prompts can contain by their names.
    pub fn with_embeddings(mut self, embeddings: impl IntoIterator<Item = Embedding>) -> Self {
        self.embeddings.extend(embeddings);
        self
    }

    /// The embeddings that were added.
    pub fn embeddings(&self) -> &[Embedding] {
        &self.embeddings
    }

    /// Checks that the checkpoint has all networks of Stable Diffusion 1.x.
    ///
    /// # Errors
    /// If a network is missing; the error names it.
    pub fn check_complete(&self) -> Result<()> {
        foreign::check_complete(&self.tensors).map_err(|e| with_path(&self.path, e))
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path that holds the tensor `name`, or should hold it.
    pub(crate) fn path_of(&self, name: &str) -> &Path {
        let is_vae = name.starts_with(vae::ROOT);
        self.vae.as_deref().filter(|_| is_vae).unwrap_or(&self.path)
    }

    /// The format of the checkpoint.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The weight files; empty for a built-in checkpoint. A replacement autoencoder's are not among them.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The conventions that the checkpoint states beside its weights.
    pub fn declared(&self) -> &Declared {
        &self.declared
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, if it exists.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| &tensor.view.shape[..])
    }

    /// The type of a tensor's elements, if it exists.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.get(name).map(|tensor| tensor.dtype)
    }

    /// The names of the tensors that are f16, or 8-bit numbers, which are read as f16.
    pub fn f16_names(&self) -> impl Iterator<Item = &str> {
        let f16 = self.tensors.iter().filter(|(_, tensor)| tensor.dtype.of_candle() == Some(DType::F16));
        f16.map(|(name, _)| name.as_str())
    }

    /// Returns a hash that identifies the model without reading all of it: the SHA-256 of every tensor's name, type,
    /// shape and sampled bytes, and of what the files state about the model. It does not depend on the path.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for (name, tensor) in &self.tensors {
            hash.update(name);
            tensor.add_to_fingerprint(&mut hash);
        }
        if self.declared != Declared::default() {
            hash.update(format!("{:?}", self.declared));
        }
        hash.finish()
    }

    /// Returns the shape of the UNet that `config` describes, with what only the checkpoint shows: whether the guidance scale
    /// is an input.
    pub fn unet_config(&self, config: &ModelConfig) -> UNetConfig {
        let columns = |name: &str| self.shape(&format!("{}.{name}", names::UNET))?.get(1).copied();
        // The built-in config is used for inpainting models, too.
        let with_mask = 2 * config.vae.z_channels + 1;
        let in_channels = columns("input_blocks.0.0.weight").filter(|inputs| *inputs == with_mask);
        UNetConfig {
            guidance_width: columns("time_embed.cond_proj.weight"),
            in_channels: in_channels.unwrap_or(config.unet.in_channels),
            ..config.unet.clone()
        }
    }

    /// Returns whether the checkpoint has a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Reads a tensor of any floating point type, in row-major order.
    ///
    /// # Errors
    /// If the tensor is missing, or does not hold floating point numbers.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        self.with_elements(name, |elements| elements.to_vec())
    }

    /// Calls `f` with the elements of a tensor of any floating point type.
    ///
    /// # Errors
    /// If the tensor is missing, or does not hold floating point numbers.
    fn with_elements<T>(&self, name: &str, f: impl FnOnce(&Elements) -> T) -> Result<T> {
        let tensor = self.tensor(name)?;
        tensor.with_elements(f).with_context(|| self.not_float(name, tensor.dtype))
    }

    /// Copies a tensor of any floating point type to a device, in the type in which it is stored. 8-bit numbers become f16, which
    /// represents all of them exactly.
    ///
    /// # Errors
    /// If the tensor is missing or does not hold floating point numbers, or the device fails.
    pub fn read_to(&self, name: &str, shape: &[usize], device: &Device) -> Result<candle_core::Tensor> {
        let tensor = self.tensor(name)?;
        tensor.copy_to(shape, device)?.with_context(|| self.not_float(name, tensor.dtype))
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).with_context(|| {
            let path = self.path_of(name).display();
            format!("'{path}' has no tensor '{name}'; is it a Stable Diffusion 1.x checkpoint?")
        })
    }

    fn not_float(&self, name: &str, dtype: Dtype) -> String {
        format!("'{}' holds '{name}' as {dtype}, not as floating point numbers", self.path_of(name).display())
    }
}

/// Reads the tensors of a file, under the names in it.
fn read_file(path: &Path) -> Result<Tensors> {
    Ok(read_bytes(path)?.1)
}

/// Reads the tensors of a file, under the names in it, and detects the format.
fn read_bytes(path: &Path) -> Result<(Layout, Tensors)> {
    Bytes::map(path).and_then(|bytes| tensors(&Arc::new(bytes))).map_err(|e| with_path(path, e))
}

/// Reads the tensors of a file's bytes, and detects the format.
fn tensors(file: &Arc<Bytes>) -> Result<(Layout, Tensors)> {
    let layout = sniff::layout(file)?;
    let tensors = tensors_in(layout, file)?;
    ensure!(!tensors.is_empty(), "holds no tensors; is it a Stable Diffusion 1.x checkpoint?");
    Ok((layout, tensors))
}

/// Reads the tensors of a file's bytes, of a known format.
fn tensors_in(layout: Layout, file: &Arc<Bytes>) -> Result<Tensors> {
    if layout == Layout::Torch { torch::read_tensors(file) } else { safetensors::read_tensors(file) }
}

/// Adds the path to an error. Errors below this module are clauses without a subject, such as "is empty".
fn with_path(path: &Path, error: Error) -> Error {
    anyhow!("'{}' {error}", path.display())
}

/// Returns the error of a damaged file. `what` is a noun phrase or a clause that says what is wrong.
fn damaged(what: impl Display) -> Error {
    anyhow!("is cut short or damaged ({what}); download it again")
}
