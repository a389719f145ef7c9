//! What pictures are compared with.

use anyhow::{Result, ensure};
use candle_nn::VarBuilder;

use super::config::MOST_CHANNELS;
use crate::checkpoint::Checkpoint;

/// Sizes that tensors tell.
pub struct Sizes {
    /// Concepts that a picture should not show.
    pub concepts: usize,
    /// Concepts that make the checker stricter.
    pub special_care: usize,
    /// D, the width of CLIP's space.
    pub width: usize,
}

impl Sizes {
    pub fn of(checkpoint: &Checkpoint) -> Result<Self> {
        // Where a tensor is missing, the usual size stands in until loading says so.
        let rows = |name: &str, usual: usize| {
            let rows = checkpoint.shape(name).and_then(|shape| shape.first()).copied().unwrap_or(usual);
            let path = checkpoint.path().display();
            ensure!((1..=MOST_CHANNELS).contains(&rows), "'{path}' has {rows} rows in '{name}'; download it again");
            Ok(rows)
        };
        Ok(Self {
            concepts: rows("concept_embeds", 17)?,
            special_care: rows("special_care_embeds", 3)?,
            width: rows("visual_projection.weight", 768)?,
        })
    }
}

/// Directions in CLIP's space, each with the cosine from which on a picture is too near.
pub struct Concepts {
    embeds: Vec<Vec<f32>>, // n × D
    thresholds: Vec<f32>,  // n
}

impl Concepts {
    /// Reads `n` of them. name: of the tensor (n, D); that of the thresholds ends in `_weights`.
    pub fn new((n, width): (usize, usize), name: &str, vb: &VarBuilder) -> candle_core::Result<Self> {
        Ok(Self {
            embeds: vb.get((n, width), name)?.to_vec2()?,
            thresholds: vb.get(n, &format!("{name}_weights"))?.to_vec1()?,
        })
    }

    /// embedding: D numbers.
    pub fn cosines(&self, embedding: &[f32]) -> Vec<f32> {
        self.embeds.iter().map(|concept| cosine(embedding, concept)).collect()
    }

    /// How far each cosine is above its threshold.
    pub fn excess(&self, cosines: &[f32]) -> impl Iterator<Item = f64> {
        cosines.iter().zip(&self.thresholds).map(|(&cosine, &threshold)| f64::from(cosine) - f64::from(threshold))
    }
}

/// Rounded to thousandths, half to even, as numpy does.
pub fn score(excess: f64, adjustment: f64) -> f32 {
    (((excess + adjustment) * 1000.).round_ties_even() / 1000.) as f32
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    (dot(a, b) / (length(a) * length(b))) as f32
}

/// Not 0, as torch's `normalize`.
fn length(a: &[f32]) -> f64 {
    dot(a, a).sqrt().max(1e-12)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
