//! CLIP's text transformer (Radford et al. 2021, arXiv 2103.00020), candle-transformers' own.

use super::Tokens;
use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::clip::text_model::{Activation, ClipTextConfig, ClipTextTransformer};

/// Tokens to context.
pub struct TextEncoder {
    transformer: ClipTextTransformer,
    device: Device,
}

/// Sizes that the yaml files leave out: they are read off the checkpoint's tensors.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TextConfig {
    /// Width of a token.
    pub width: usize,
    /// Width inside a layer's feed-forward part.
    pub intermediate: usize,
    /// The number of layers.
    pub layers: usize,
    /// The number of rows in the table of tokens: those of CLIP's vocabulary, and any that training added, which no prompt
    /// asks for.
    pub vocabulary: usize,
}

impl TextConfig {
    /// The number of tokens in CLIP's vocabulary.
    pub const VOCABULARY: usize = 49408;

    /// CLIP's heads are 64 wide.
    fn heads(&self) -> usize {
        (self.width / 64).max(1)
    }

    /// Checks the number of attention heads, which no tensor's shape shows, if the checkpoint states it.
    ///
    /// # Errors
    /// If it is not CLIP's for this width.
    pub fn check_heads(&self, stated: Option<usize>) -> Result<()> {
        let (ours, width) = (self.heads(), self.width);
        ensure!(
            stated.is_none_or(|heads| heads == ours),
            "text_encoder/config.json says num_attention_heads {}, and a CLIP text encoder of width {width} has {ours}; no \
             other number is supported",
            stated.unwrap_or(ours)
        );
        Ok(())
    }

    /// shape: what the checkpoint says of a tensor below `text_model`.
    ///
    /// # Errors
    /// When the tensors are no CLIP text encoder's, or their width is not the UNet's `context_dim`.
    pub fn from_shapes<'a>(shape: impl Fn(&str) -> Option<&'a [usize]>, context_dim: usize) -> Result<Self> {
        let last = |name: &str, of: usize| shape(name).filter(|shape| shape.len() == 2).map(|shape| shape[of]);
        let layers = (0..).take_while(|i| shape(&format!("encoder.layers.{i}.mlp.fc1.weight")).is_some()).count();
        let width = last("embeddings.token_embedding.weight", 1).unwrap_or(context_dim);
        let intermediate = last("encoder.layers.0.mlp.fc1.weight", 0).unwrap_or(4 * width);
        let vocabulary = last("embeddings.token_embedding.weight", 0).unwrap_or(Self::VOCABULARY);
        let config = Self { width, intermediate, layers, vocabulary };
        ensure!(
            width == context_dim,
            "the text encoder gives tokens of width {width}, the config's UNet takes {context_dim}; give the config \
             that belongs to it"
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
    /// Reads the weights below `vb`, which stands at `text_model`.
    pub fn new(config: TextConfig, vb: VarBuilder) -> candle_core::Result<Self> {
        let clip = ClipTextConfig {
            vocab_size: config.vocabulary,
            embed_dim: config.width,
            activation: Activation::QuickGelu,
            intermediate_size: config.intermediate,
            max_position_embeddings: Tokens::LENGTH,
            pad_with: None,
            num_hidden_layers: config.layers,
            num_attention_heads: config.heads(),
            projection_dim: config.width,
        };
        Ok(Self { device: vb.device().clone(), transformer: ClipTextTransformer::new(vb, &clip)? })
    }

    /// The hidden state after the last layer norm, weighed: (B, M, C) in f32, 77 of M for each chunk.
    ///
    /// # Errors
    /// When the prompts have different numbers of chunks, or the device fails.
    pub fn encode(&self, prompts: &[Tokens]) -> Result<Tensor> {
        let chunks = prompts.first().map_or(1, Tokens::chunks);
        ensure!(
            prompts.iter().all(|tokens| tokens.chunks() == chunks),
            "prompts of different lengths do not fit into one context; encode each by itself"
        );
        let ids: Vec<u32> = prompts.iter().flat_map(|tokens| tokens.ids.iter().copied()).collect();
        let weights: Vec<f32> = prompts.iter().flat_map(|tokens| tokens.weights.iter().copied()).collect();
        let ids = Tensor::from_vec(ids, (prompts.len() * chunks, Tokens::LENGTH), &self.device)?; // (B·k, 77)
        // No token is padding to CLIP: the end token is looked at wherever it stands.
        let context = self.transformer.forward_with_mask(&ids, Tokens::LENGTH)?; // (B·k, 77, C)
        let context = weighted(&context.to_dtype(DType::F32)?, &weights)?;
        Ok(context.reshape((prompts.len(), chunks * Tokens::LENGTH, ()))?)
    }
}

/// context: (B, 77, C), weights: 77 of each → (B, 77, C).
fn weighted(context: &Tensor, weights: &[f32]) -> candle_core::Result<Tensor> {
    if weights.iter().all(|&weight| weight == 1.) {
        return Ok(context.clone());
    }
    let chunks = weights.chunks(Tokens::LENGTH).enumerate();
    let chunks = chunks.map(|(i, weights)| weighted_chunk(&context.narrow(0, i, 1)?, weights));
    Tensor::cat(&chunks.collect::<candle_core::Result<Vec<_>>>()?, 0)
}

/// Each token times its weight, then all of them scaled to the mean they had: the web UI's "original" emphasis.
fn weighted_chunk(chunk: &Tensor, weights: &[f32]) -> candle_core::Result<Tensor> {
    if weights.iter().all(|&weight| weight == 1.) {
        return Ok(chunk.clone());
    }
    let weights = Tensor::from_slice(weights, (Tokens::LENGTH, 1), chunk.device())?;
    let heavy = chunk.broadcast_mul(&weights)?; // (1, 77, C)
    let scale = mean(chunk)? / mean(&heavy)?;
    // A mean of 0 is no number's multiple.
    if scale.is_finite() { heavy * scale } else { Ok(heavy) }
}

fn mean(x: &Tensor) -> candle_core::Result<f64> {
    x.to_dtype(DType::F64)?.mean_all()?.to_scalar()
}
