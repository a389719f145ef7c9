//! Checkpoints: whatever the layout on disk, tensors under LDM's names.
//!
//! What a path holds is told by its first bytes, never by its extension. Files stay mapped, numbers
//! are read when asked for, and nothing a file says is run or believed unchecked.

mod archive;
#[cfg(test)]
mod damage_tests;
mod folder;
pub mod names;
mod opcodes;
mod other_models;
mod pickle;
mod safetensors;
mod sniff;
mod tensor;
mod torch;
#[cfg(test)]
mod torch_tests;
pub mod weights;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Error, Result, anyhow, ensure};
use memmap2::Mmap;

use sniff::Kind;
pub use tensor::Dtype;
use tensor::Tensor;

type Tensors = BTreeMap<String, Tensor>;

/// A Stable Diffusion 1.x checkpoint.
pub struct Checkpoint {
    path: PathBuf,
    tensors: Tensors,
}

impl Checkpoint {
    /// Opens a `.ckpt` or `.safetensors` file or a diffusers folder.
    pub fn open(path: &Path) -> Result<Self> {
        let tensors = if path.is_dir() { folder::read(path)? } else { read_file(path)? };
        let renamed = |(name, tensor): (String, _)| (names::new_text_name(&name), tensor);
        let tensors = tensors.into_iter().map(renamed).collect();
        other_models::refuse(&tensors).map_err(|e| about(path, e))?;
        Ok(Self { path: path.to_path_buf(), tensors })
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.path
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

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A tensor's numbers, row by row, whatever floating point type they are stored in.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        let path = self.path.display();
        let tensor = self
            .tensors
            .get(name)
            .with_context(|| format!("'{path}' has no tensor '{name}'; is it a Stable Diffusion 1.x checkpoint?"))?;
        tensor.to_f32().with_context(|| {
            let dtype = tensor.dtype;
            format!("'{path}' holds '{name}' as {dtype:?}, not as floating point numbers")
        })
    }
}

/// The tensors of one file, under the names they have there.
fn read_file(path: &Path) -> Result<Tensors> {
    let read = || {
        let file = Arc::new(map(path)?);
        let tensors = match sniff::kind(&file)? {
            Kind::Safetensors => safetensors::read(&file)?,
            Kind::Torch => torch::read(&file)?,
        };
        ensure!(!tensors.is_empty(), "holds no tensors; is it a Stable Diffusion 1.x checkpoint?");
        Ok(tensors)
    };
    read().map_err(|e| about(path, e))
}

#[allow(unsafe_code)]
fn map(path: &Path) -> Result<Mmap> {
    // Asked before opening, which would wait at a pipe.
    let metadata = fs::metadata(path).map_err(unreadable)?;
    ensure!(metadata.is_file(), "is neither a file nor a folder; give the path of a checkpoint");
    ensure!(metadata.len() > 0, "is empty; download it again");
    let file = File::open(path).map_err(unreadable)?;
    // SAFETY: the map is read-only and seen as bytes, which may be anything. Should another program
    // cut the file short meanwhile, reading it ends this one, as with every program that maps weights.
    unsafe { Mmap::map(&file) }.map_err(unreadable)
}

/// Gives the memory of some bytes of the map back: each tensor is read once, and the file would fill memory beside it.
#[allow(unsafe_code)]
fn release(file: &Mmap, bytes: Range<usize>) {
    #[cfg(unix)]
    // SAFETY: the map is of a file and read-only, so pages that are needed again are read again, the same.
    // Should the system refuse, they stay, which does no harm.
    let _ = unsafe { file.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
    #[cfg(not(unix))]
    let _ = (file, bytes);
}

fn unreadable(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            anyhow!("does not exist; give the path of a checkpoint with --ckpt")
        }
        io::ErrorKind::PermissionDenied => {
            anyhow!("cannot be read: permission denied; make it readable with chmod +r")
        }
        _ => anyhow!("cannot be read: {error}"),
    }
}

/// Errors below this module are what a sentence says of a file; here it gets its subject.
fn about(path: &Path, error: Error) -> Error {
    anyhow!("'{}' {error}", path.display())
}

fn damaged(what: impl Display) -> Error {
    anyhow!("is cut short or damaged ({what}); download it again")
}
