//! CLIP's text encoder (Radford et al. 2021, arXiv 2103.00020).

use super::Tokens;
use super::transformer::Layer;
use crate::checkpoint::Embedding;
use crate::ops::{LayerBuilder, LayerNorm, layer_norm};
use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};

/// The text encoder, which turns tokens into the UNet's context.
pub struct TextEncoder {
    tokens: Tensor, // (V, C), of f32 or f16
    /// The vectors of the embeddings, whose ids follow CLIP's vocabulary.
    added: Option<Tensor>, // (n, C)
    positions: Tensor, // (77, C)
    layers: Vec<Layer>,
    norm: LayerNorm,
    device: Device,
}

/// The sizes of the text encoder, from the shapes of the checkpoint's tensors, since the yaml files lack them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TextConfig {
    /// The width of a token.
    pub width: usize,
    /// The width inside the feed-forward part of a layer.
    pub intermediate: usize,
    /// The number of layers.
    pub layers: usize,
    /// The number of token embeddings: those of CLIP's vocabulary, and any that training added, which no prompt uses.
    pub vocabulary: usize,
}

impl TextConfig {
    /// The number of tokens in CLIP's vocabulary.
    pub const VOCABULARY: usize = 49408;

    /// The number of attention heads, which are 64 wide in CLIP.
    fn heads(&self) -> usize {
        (self.width / 64).max(1)
    }

    /// Checks the number of attention heads, which no tensor's shape shows, if the checkpoint states it.
    ///
    /// # Errors
    /// If `stated` is not CLIP's number for this width.
    pub(crate) fn check_heads(&self, stated: Option<usize>) -> Result<()> {
        let (ours, width) = (self.heads(), self.width);
        ensure!(
            stated.is_none_or(|heads| heads == ours),
            "text_encoder/config.json has num_attention_heads {}, but a CLIP text encoder of width {width} has {ours}; no \
             other number is supported",
            stated.unwrap_or(ours)
        );
        Ok(())
    }

    /// Determines the sizes. `shape` returns the shape of a tensor below `text_model`, if the checkpoint has it.
    ///
    /// # Errors
    /// If the tensors are not a CLIP text encoder's, or their width is not the UNet's `context_dim`.
    pub fn from_shapes<'a>(shape: impl Fn(&str) -> Option<&'a [usize]>, context_dim: usize) -> Result<Self> {
        let size = |name: &str, dim: usize| shape(name).filter(|shape| shape.len() == 2).map(|shape| shape[dim]);
        let layers = (0..).take_while(|i| shape(&format!("encoder.layers.{i}.mlp.fc1.weight")).is_some()).count();
        let width = size("embeddings.token_embedding.weight", 1).unwrap_or(context_dim);
        let intermediate = size("encoder.layers.0.mlp.fc1.weight", 0).unwrap_or(4 * width);
        let vocabulary = size("embeddings.token_embedding.weight", 0).unwrap_or(Self::VOCABULARY);
        let config = Self { width, intermediate, layers, vocabulary };
        ensure!(
            width == context_dim,
            "the text encoder's tokens have width {width}, but the config's UNet needs {context_dim}; give the config that \
             belongs to the model"
        );
        ensure!(width % config.heads() == 0, "a text encoder of width {width} is not CLIP's");
        ensure!(layers > 0, "the text encoder has no layers");
        ensure!(
            vocabulary >= Self::VOCABULARY,
            "the text encoder has {vocabulary} tokens, not the {} of CLIP's vocabulary; give a checkpoint with all of them",
            Self::VOCABULARY
        );
        Ok(config)
    }
}

impl TextEncoder {
    /// Loads the weights below `lb`, which is at `text_model`.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, or the device fails.
    pub fn new(config: TextConfig, lb: LayerBuilder) -> candle_core::Result<Self> {
        let TextConfig { width, intermediate, layers, vocabulary } = config;
        let (embeddings, encoder) = (lb.pp("embeddings"), lb.pp("encoder.layers"));
        let layer = |i: usize| Layer::new(width, intermediate, config.heads(), encoder.pp(i));
        Ok(Self {
            tokens: embeddings.pp("token_embedding").weight((vocabulary, width))?,
            added: None,
            positions: embeddings.pp("position_embedding").get((Tokens::LENGTH, width), "weight")?,
            layers: (0..layers).map(layer).collect::<candle_core::Result<_>>()?,
            norm: layer_norm(width, lb.pp("final_layer_norm"))?,
            device: lb.device().clone(),
        })
    }

    /// Adds the vectors of embeddings, whose ids follow CLIP's vocabulary.
    ///
    /// # Errors
    /// If a vector has another width, or the device fails.
    pub fn with_embeddings(mut self, embeddings: &[Embedding]) -> candle_core::Result<Self> {
        let vectors: Vec<f32> = embeddings.iter().flat_map(|embedding| embedding.vectors()).copied().collect();
        if !vectors.is_empty() {
            let count: usize = embeddings.iter().map(Embedding::count).sum();
            self.added = Some(Tensor::from_vec(vectors, (count, self.tokens.dim(1)?), &self.device)?);
        }
        Ok(self)
    }

    /// The number of layers, which is the largest `clip_skip`.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Encodes B prompts of k chunks each. Returns the weighted output of the last layer norm, (B, 77·k, C) in f32.
    /// `clip_skip`: the layer before it, counted from the last, which is 1.
    ///
    /// # Errors
    /// If the prompts have different numbers of chunks, there is no such layer, or the device fails.
    pub fn encode(&self, prompts: &[Tokens], clip_skip: usize) -> Result<Tensor> {
        let chunks = prompts.first().map_or(1, Tokens::chunks);
        ensure!(
            prompts.iter().all(|tokens| tokens.chunks() == chunks),
            "prompts of different lengths do not fit into one context; encode each by itself"
        );
        check_clip_skip(clip_skip, self.layers.len())?;
        let weights: Vec<f32> = prompts.iter().flat_map(|tokens| tokens.weights.iter().copied()).collect();
        let mut x = self.embed(prompts)?.reshape((prompts.len() * chunks, Tokens::LENGTH, ()))?; // (B·k, 77, C)
        x = x.broadcast_add(&self.positions)?;
        // Without a padding mask: CLIP attends to all end tokens.
        for layer in &self.layers[..=self.layers.len() - clip_skip] {
            x = layer.forward(&x)?;
        }
        let context = weighted(&self.norm.forward(&x)?, &weights)?;
        Ok(context.reshape((prompts.len(), chunks * Tokens::LENGTH, ()))?)
    }

    /// Returns the embedding of each token of `prompts`, one after the other: (B·k·77, C).
    fn embed(&self, prompts: &[Tokens]) -> Result<Tensor> {
        let ids: Vec<u32> = prompts.iter().flat_map(|tokens| tokens.ids.iter().copied()).collect();
        let last = TextConfig::VOCABULARY as u32 - 1;
        let known: Vec<u32> = ids.iter().map(|&id| id.min(last)).collect();
        let tokens = self.tokens.index_select(&Tensor::new(known, &self.device)?, 0)?.to_dtype(DType::F32)?;
        let Some(added) = self.added.as_ref().filter(|_| ids.iter().any(|&id| id > last)) else { return Ok(tokens) };
        // The vectors of embeddings follow the tokens, and take the places of theirs.
        let n = ids.len() as u32;
        let rows: Vec<u32> = (0..n).zip(ids).map(|(i, id)| if id > last { n + id - last - 1 } else { i }).collect();
        Ok(Tensor::cat(&[&tokens, added], 0)?.index_select(&Tensor::new(rows, &self.device)?, 0)?)
    }
}

/// Checks that a text encoder of `layers` layers has the one that `clip_skip` asks for.
///
/// # Errors
/// If it has not.
pub fn check_clip_skip(clip_skip: usize, layers: usize) -> Result<()> {
    ensure!(
        (1..=layers).contains(&clip_skip),
        "--clip_skip {clip_skip} is not between 1 and {layers}, the number of layers of the model's text encoder"
    );
    Ok(())
}

/// Weights the tokens of `context` (B, 77, C) by `weights` (B·77): (B, 77, C).
fn weighted(context: &Tensor, weights: &[f32]) -> candle_core::Result<Tensor> {
    if weights.iter().all(|&weight| weight == 1.) {
        return Ok(context.clone());
    }
    let chunks = weights.chunks(Tokens::LENGTH).enumerate();
    let chunks = chunks.map(|(i, weights)| weighted_chunk(&context.narrow(0, i, 1)?, weights));
    Tensor::cat(&chunks.collect::<candle_core::Result<Vec<_>>>()?, 0)
}

/// Multiplies the tokens of `chunk` (1, 77, C) by their weights, then scales all of them to restore the mean: the web
/// UI's "original" emphasis.
fn weighted_chunk(chunk: &Tensor, weights: &[f32]) -> candle_core::Result<Tensor> {
    if weights.iter().all(|&weight| weight == 1.) {
        return Ok(chunk.clone());
    }
    let weights = Tensor::from_slice(weights, (Tokens::LENGTH, 1), chunk.device())?;
    let heavy = chunk.broadcast_mul(&weights)?; // (1, 77, C)
    let scale = mean(chunk)? / mean(&heavy)?;
    // A mean of 0 cannot be restored.
    if scale.is_finite() { heavy * scale } else { Ok(heavy) }
}

fn mean(x: &Tensor) -> candle_core::Result<f64> {
    x.to_dtype(DType::F64)?.mean_all()?.to_scalar()
}
