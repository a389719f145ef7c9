//! Checkpoints: whatever the layout on disk, tensors under LDM's names.
//!
//! What a path holds is told by its first bytes, never by its extension. Files stay mapped, numbers
//! are read when asked for, and nothing a file says is run or believed unchecked.

mod archive;
mod bytes;
mod cache_folder;
#[cfg(test)]
mod damage_tests;
mod declared;
pub mod ema;
mod float8;
mod folder;
mod hash;
pub mod hub;
mod legacy;
#[cfg(test)]
mod legacy_tests;
pub mod names;
mod opcodes;
mod other_models;
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
pub mod weights;
mod wrapped;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Error, Result, anyhow, ensure};
use candle_core::{DType, Device};
use sha2::{Digest, Sha256};

use crate::files::sha256::hex;
use bytes::Bytes;
pub use declared::{Declared, MARKERS, Stated};
use folder::Folder;
pub use folder::weight_files;
pub use hash::model_sha256;
pub use tensor::Dtype;
use tensor::Tensor;

type Tensors = BTreeMap<String, Tensor>;

/// How a checkpoint is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// One file of torch's.
    Torch,
    /// One `.safetensors` file.
    Safetensors,
    /// A diffusers folder.
    Diffusers,
}

/// A Stable Diffusion 1.x checkpoint.
pub struct Checkpoint {
    path: PathBuf,
    /// Where the autoencoder is from, if from elsewhere.
    vae: Option<PathBuf>,
    layout: Layout,
    /// What it was read from; none if it is a part of the program.
    files: Vec<PathBuf>,
    declared: Declared,
    tensors: Tensors,
}

impl Checkpoint {
    /// Opens a `.ckpt` or `.safetensors` file or a diffusers folder.
    ///
    /// # Errors
    /// When there is none at `path`, or it is of another model; the error names the file.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_parts(path, true)
    }

    /// Opens a checkpoint with the autoencoder of `vae`, which the checkpoint itself may lack.
    ///
    /// # Errors
    /// As those of [`Self::open`] and [`Self::with_vae`].
    pub fn open_with_vae(path: &Path, vae: &Path) -> Result<Self> {
        Self::open_parts(path, false)?.with_vae(vae)
    }

    fn open_parts(path: &Path, needs_vae: bool) -> Result<Self> {
        if path.is_dir() {
            let folder = Folder::find(path, needs_vae)?;
            return Self::new(path, Layout::Diffusers, folder.files().collect(), folder.read()?);
        }
        let (layout, tensors) = Bytes::map(path).and_then(tensors).map_err(|e| about(path, e))?;
        Self::new(path, layout, vec![path.to_path_buf()], tensors)
    }

    /// Opens a folder as transformers writes it, with `model.safetensors` or `pytorch_model.bin` for a model alone. The
    /// tensors keep the names they have there.
    pub fn open_alone(folder: &Path) -> Result<Self> {
        let part = folder::lone_model(folder)?;
        let (layout, tensors) = (Layout::Diffusers, part.read()?);
        let (files, declared) = (part.files().collect(), Declared::default());
        Ok(Self { path: part.path(), vae: None, layout, files, declared, tensors })
    }

    /// Opens bytes that are a part of the program. path: what to call them.
    pub fn built_in(path: &Path, bytes: &'static [u8]) -> Result<Self> {
        let (layout, tensors) = tensors(Bytes::BuiltIn(bytes)).map_err(|e| about(path, e))?;
        Self::new(path, layout, vec![], tensors)
    }

    fn new(path: &Path, layout: Layout, files: Vec<PathBuf>, tensors: Tensors) -> Result<Self> {
        let tensors = wrapped::ldm_names(tensors);
        other_models::refuse(&tensors).map_err(|e| about(path, e))?;
        let declared = Declared::read(path, layout, &files, &tensors)?;
        Ok(Self { path: path.to_path_buf(), vae: None, layout, files, declared, tensors })
    }

    /// The same with another autoencoder: that of a full checkpoint, one alone (LDM's or diffusers'), or a
    /// diffusers folder's.
    ///
    /// # Errors
    /// When there is none in it, or it can't be read; the sentence names the file.
    pub fn with_vae(mut self, path: &Path) -> Result<Self> {
        let tensors = vae::read(path)?;
        self.declared.scale_factor = Declared::vae_scale_factor(path)?;
        self.tensors.retain(|name, _| !name.starts_with(vae::ROOT));
        self.tensors.extend(tensors);
        self.vae = Some(path.to_path_buf());
        Ok(self)
    }

    /// Checks that the networks of Stable Diffusion 1.x are there.
    ///
    /// # Errors
    /// When one is missing, named in the error.
    pub fn check_complete(&self) -> Result<()> {
        other_models::check_complete(&self.tensors).map_err(|e| about(&self.path, e))
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a tensor is from, or should be.
    pub fn path_of(&self, name: &str) -> &Path {
        let is_vae = name.starts_with(vae::ROOT);
        self.vae.as_deref().filter(|_| is_vae).unwrap_or(&self.path)
    }

    /// How it is kept.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The files it was read from; none if it is a part of the program.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Returns what it states about the model beside its weights.
    pub fn declared(&self) -> &Declared {
        &self.declared
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The sizes of a tensor's dimensions.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| &tensor.view.shape[..])
    }

    /// The type in which a tensor's numbers are stored.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.get(name).map(|tensor| tensor.dtype)
    }

    /// What tells it from other models without reading them whole: the sha256 of every tensor's name, type and shape,
    /// of a few of its bytes, and of what else the files state about the model. It is the same wherever the files are.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for (name, tensor) in &self.tensors {
            hash.update(format!("{name} {:?} {:?}\n", tensor.dtype, tensor.view.shape));
            tensor.some_bytes().for_each(|bytes| hash.update(bytes));
        }
        if self.declared != Declared::default() {
            hash.update(format!("{:?}", self.declared));
        }
        hex(hash)
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A tensor's numbers, row by row, whatever floating point type they are stored in.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.tensor(name)?;
        tensor.to_f32().with_context(|| self.no_numbers(name, tensor.dtype))
    }

    /// The same on a device, where they become f32 if they are not: as few bytes go there as the file has.
    pub fn read_to(&self, name: &str, shape: &[usize], device: &Device) -> Result<candle_core::Tensor> {
        let tensor = self.tensor(name)?;
        let (dtype, bytes) = tensor.to_raw().with_context(|| self.no_numbers(name, tensor.dtype))?;
        let stored = candle_core::Tensor::from_raw_buffer(&bytes, dtype, shape, device)?;
        Ok(stored.to_dtype(DType::F32)?)
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).with_context(|| {
            let path = self.path_of(name).display();
            format!("'{path}' has no tensor '{name}'; is it a Stable Diffusion 1.x checkpoint?")
        })
    }

    fn no_numbers(&self, name: &str, dtype: Dtype) -> String {
        format!("'{}' holds '{name}' as {dtype}, not as floating point numbers", self.path_of(name).display())
    }
}

/// The tensors of one file, under the names they have there.
fn read_file(path: &Path) -> Result<Tensors> {
    let (_, tensors) = Bytes::map(path).and_then(tensors).map_err(|e| about(path, e))?;
    Ok(tensors)
}

fn tensors(bytes: Bytes) -> Result<(Layout, Tensors)> {
    let file = Arc::new(bytes);
    let layout = sniff::layout(&file)?;
    let tensors = if layout == Layout::Torch { torch::read(&file)? } else { safetensors::read(&file)? };
    ensure!(!tensors.is_empty(), "holds no tensors; is it a Stable Diffusion 1.x checkpoint?");
    Ok((layout, tensors))
}

/// Errors below this module are what a sentence says of a file; here it gets its subject.
fn about(path: &Path, error: Error) -> Error {
    anyhow!("'{}' {error}", path.display())
}

fn damaged(what: impl Display) -> Error {
    anyhow!("is cut short or damaged ({what}); download it again")
}
