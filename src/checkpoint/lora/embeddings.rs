//! Textual inversions within LoRA files: embeddings that were trained together with the LoRA.
//!
//! They are named `bundle_emb.{name}.{key}`. The key is `string_to_param.*` in LyCORIS's bundles and `emb_params` or
//! `clip_l` in those of other trainers.

use super::super::Embedding;
use super::super::tensor::Tensor;
use super::super::weights::product;
use super::refusals::ADVICE;
use super::summary::plain;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor as Candle};
use std::collections::BTreeMap;

/// The start of the names of embeddings' tensors.
const PREFIX: &str = "bundle_emb.";

/// The endings of the names of vectors for the text encoder of Stable Diffusion 1.x.
const ENDINGS: [&str; 3] = [".emb_params", ".clip_l", ".string_to_param.*"];

/// The embeddings in a file, by name: vectors (n, width) in f32.
pub(super) type Embeddings = BTreeMap<String, Candle>;

/// Parses the name of an embedding's tensor. Returns the embedding's name, or `None` for other tensors.
pub(super) fn parse(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(PREFIX)?;
    let word = ENDINGS.iter().find_map(|ending| rest.strip_suffix(ending));
    // The key in `string_to_param` may be the word itself.
    word.or_else(|| rest.rsplit_once(".string_to_param.").map(|(word, _)| word)).filter(|word| !word.is_empty())
}

/// Adds the vectors of an embedding. `width`: that of the model's text encoder.
///
/// # Errors
/// If the vectors have another width, or are damaged, or the name occurs twice.
pub(super) fn add(embeddings: &mut Embeddings, name: &str, tensor: &Tensor, width: Option<usize>) -> Result<()> {
    let word = plain(name);
    let shape = &tensor.view.shape[..];
    let (n, found) = match *shape {
        [found] => (1, found),
        [n, found] => (n, found),
        _ => bail!("holds an embedding '{word}' of the shape {}; give another file", product(shape)),
    };
    ensure!(
        width.is_none_or(|width| width == found),
        "holds an embedding '{word}' that is {found} wide, not {} as in the model; {ADVICE}",
        width.unwrap_or(0)
    );
    ensure!(n > 0 && found > 0, "holds an embedding '{word}' without vectors; download it again");
    let most = Embedding::MAX_VECTORS;
    ensure!(n <= most, "holds an embedding '{word}' of {n} vectors, but an embedding has at most {most}");
    let numbers = tensor.to_f32().with_context(|| {
        format!("holds an embedding '{word}' of {}, not of floating point numbers; download it again", tensor.dtype)
    })?;
    let is_finite = numbers.iter().all(|number| number.is_finite());
    ensure!(is_finite, "is damaged: its embedding '{word}' holds NaN or infinity; download it again");
    let vectors = Candle::from_vec(numbers, (n, found), &Device::Cpu)?;
    ensure!(embeddings.insert(name.to_owned(), vectors).is_none(), "holds two embeddings '{word}'; give another file");
    Ok(())
}
