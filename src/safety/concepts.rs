//! The concepts that images are compared with.

use super::config::MAX_CHANNELS;
use crate::checkpoint::Checkpoint;
use anyhow::{Result, ensure};
use candle_nn::VarBuilder;

/// The sizes of the concept tensors.
pub struct Sizes {
    /// The number of unsafe concepts.
    pub concepts: usize,
    /// The number of special-care concepts, which make the checker stricter.
    pub special_care: usize,
    /// D, the width of CLIP's embedding space.
    pub width: usize,
}

impl Sizes {
    /// Reads the sizes from the shapes of the checkpoint's tensors.
    ///
    /// # Errors
    /// If a size is 0 or too large.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self> {
        // A missing tensor gets its usual size here. The error is reported when it is loaded.
        let rows = |name: &str, usual: usize| {
            let rows = checkpoint.shape(name).and_then(|shape| shape.first()).copied().unwrap_or(usual);
            let path = checkpoint.path().display();
            ensure!((1..=MAX_CHANNELS).contains(&rows), "'{path}' has {rows} rows in '{name}'; download it again");
            Ok(rows)
        };
        Ok(Self {
            concepts: rows("concept_embeds", 17)?,
            special_care: rows("special_care_embeds", 3)?,
            width: rows("visual_projection.weight", 768)?,
        })
    }
}

/// Directions in CLIP's embedding space, each with a threshold for an image's cosine.
pub struct Concepts {
    embeds: Vec<Vec<f32>>, // (n, D)
    thresholds: Vec<f32>,  // (n)
}

impl Concepts {
    /// Reads the embeddings `name` (n, D) and their thresholds `{name}_weights` (n).
    pub fn new((n, width): (usize, usize), name: &str, vb: &VarBuilder) -> candle_core::Result<Self> {
        Ok(Self {
            embeds: vb.get((n, width), name)?.to_vec2()?,
            thresholds: vb.get(n, &format!("{name}_weights"))?.to_vec1()?,
        })
    }

    /// Returns the cosine of each concept with `embedding` (D).
    pub fn cosines(&self, embedding: &[f32]) -> Vec<f32> {
        self.embeds.iter().map(|concept| cosine(embedding, concept)).collect()
    }

    /// Returns each cosine minus its threshold.
    pub fn excess(&self, cosines: &[f32]) -> impl Iterator<Item = f64> {
        cosines.iter().zip(&self.thresholds).map(|(&cosine, &threshold)| f64::from(cosine) - f64::from(threshold))
    }
}

/// Returns excess + adjustment, rounded to three decimals, ties to even, as numpy does.
pub fn score(excess: f64, adjustment: f64) -> f32 {
    (((excess + adjustment) * 1000.).round_ties_even() / 1000.) as f32
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    (dot(a, b) / (length(a) * length(b))) as f32
}

/// The Euclidean norm, at least 1e-12 as in torch's `normalize`.
fn length(a: &[f32]) -> f64 {
    dot(a, a).sqrt().max(1e-12)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
