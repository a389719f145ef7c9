//! Textual inversions (Gal et al. 2022, arXiv 2208.01618): a few vectors that stand for a word of a prompt.

use super::bytes::Bytes;
use super::foreign::{self, TEXTUAL_INVERSION};
use super::tensor::Tensor;
use super::{Layout, Tensors, safetensors, sniff, torch, with_path};
use crate::files::sha256;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::sync::Arc;

/// The name of the vectors in AUTOMATIC1111's `.safetensors` files.
const EMB_PARAMS: &str = "emb_params";

/// The names of the vectors for the text encoders of Stable Diffusion XL and 3.
const OTHER_ENCODERS: [&str; 3] = ["clip_l", "clip_g", "t5xxl"];

/// The largest file in bytes, many times the size of the most vectors.
const MAX_SIZE: usize = 16 << 20;

/// The files that hold embeddings.
const FILES: &str = "give a .pt, .bin or .safetensors file of a textual inversion";

/// A textual inversion.
#[derive(Clone, PartialEq, Debug)]
pub struct Embedding {
    name: String,
    vectors: Vec<f32>, // (n, C)
    count: usize,
    sha256: String,
}

impl Embedding {
    /// The most vectors: the tokens of a prompt in CLIP's input.
    pub const MAX_VECTORS: usize = 75;

    /// Reads a file of AUTOMATIC1111's web UI or of diffusers. `name`: the text that stands for it in prompts. `width`: the
    /// width of the text encoder's tokens.
    ///
    /// # Errors
    /// If `path` does not hold one embedding of this width, of at most [`Self::MAX_VECTORS`] finite vectors; the error names
    /// the file.
    pub fn open(path: &Path, name: &str, width: usize) -> Result<Self> {
        Self::read(path, name, width).map_err(|error| with_path(path, error))
    }

    fn read(path: &Path, name: &str, width: usize) -> Result<Self> {
        ensure!(!path.is_dir(), "is a folder; {FILES}, or all of a folder with --embedding_dir");
        let file = Arc::new(Bytes::map(path)?);
        let tensors = match sniff::layout_of(&file, "embedding", FILES)? {
            Layout::Torch => torch::read_embedding(&file)?,
            _ => safetensors::read_tensors(&file)?,
        };
        let tensor = vectors(&tensors)?;
        ensure!(file.len() <= MAX_SIZE, "has {} bytes, far more than an embedding", file.len());
        let count = count(&tensor.view.shape, width)?;
        let vectors = tensor
            .to_f32()
            .with_context(|| format!("holds its vectors as {}, not as floating point numbers", tensor.dtype))?;
        ensure!(vectors.len() == count * width, "is cut short or damaged; download it again");
        ensure!(vectors.iter().all(|x| x.is_finite()), "contains NaN or infinite values; download it again");
        Ok(Self { name: name.to_owned(), vectors, count, sha256: sha256::of_bytes(&file) })
    }

    /// Returns an embedding of vectors that are checked already. `vectors`: (n, C). `sha256`: that of the file.
    pub(super) fn new(name: &str, vectors: Vec<f32>, count: usize, sha256: &str) -> Self {
        Self { name: name.to_owned(), vectors, count, sha256: sha256.to_owned() }
    }

    /// The text that stands for it in prompts.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of vectors, which is the number of tokens that they take the place of.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The vectors, one after the other: (n, C).
    pub fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    /// The SHA-256 of the file.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// Returns the tensor of an embedding's vectors, among those of its file.
fn vectors(tensors: &Tensors) -> Result<&Tensor> {
    if tensors.keys().any(|name| OTHER_ENCODERS.contains(&&**name)) {
        bail!("is an embedding for Stable Diffusion XL or 3; one for Stable Diffusion 1.x is needed");
    }
    if let Some(vectors) = tensors.get(EMB_PARAMS) {
        return Ok(vectors);
    }
    if let Some(what) = foreign::kind(tensors).filter(|what| *what != TEXTUAL_INVERSION) {
        let what = what.split(" (").next().unwrap_or(what);
        bail!("is {what}, not an embedding; {FILES}");
    }
    match tensors.values().collect::<Vec<_>>()[..] {
        [vectors] => Ok(vectors),
        [] => bail!("holds no vectors; {FILES}"),
        ref several => bail!("holds {} tensors, but an embedding is one; {FILES}", several.len()),
    }
}

/// Returns the number of vectors of a tensor.
fn count(shape: &[usize], width: usize) -> Result<usize> {
    let (count, found) = match *shape {
        [width] => (1, width),
        [count, width] => (count, width),
        _ => bail!("holds a tensor of shape {shape:?}, not vectors; {FILES}"),
    };
    let model = match found {
        1024 => " (those of Stable Diffusion 2.x)",
        768 => " (those of Stable Diffusion 1.x)",
        1280 => " (those of Stable Diffusion XL)",
        _ => "",
    };
    ensure!(
        found == width,
        "has vectors of width {found}{model}, but the tokens of the model have width {width}; give an embedding that was \
         trained for the model"
    );
    let most = Embedding::MAX_VECTORS;
    ensure!((1..=most).contains(&count), "has {count} vectors, but an embedding has 1 to {most}");
    Ok(count)
}
