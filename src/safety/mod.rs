//! The original's safety checker: diffusers' `StableDiffusionSafetyChecker`.
//!
//! CLIP sees the picture (Radford et al. 2021, arXiv 2103.00020; candle-transformers' own), and what it sees is compared
//! with directions in its space that stand for what a picture should not show.

mod action;
mod concepts;
mod config;
mod pixels;
mod resize;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use candle_core::{Device, Module, Tensor};
use candle_nn::{Linear, VarBuilder};
use candle_transformers::models::clip::vision_model::{ClipVisionConfig, ClipVisionTransformer};

use crate::checkpoint::{Checkpoint, weights};
use crate::output::Picture;
use concepts::{Concepts, Sizes, score};

pub use action::Action;
pub use pixels::pixels;

/// The safety checker, ready to look at pictures.
pub struct Checker {
    vision: ClipVisionTransformer,
    projection: Linear,
    concepts: Concepts,
    special_care: Concepts,
    /// Of the square that CLIP sees, in pixels.
    side: usize,
    device: Device,
    fingerprint: String,
}

/// What the checker says of a picture.
///
/// A score is a concept's cosine less its threshold, in thousandths, and adjusted: above 0 the concept is there.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// Whether a concept is there that a picture should not show.
    pub flagged: bool,
    /// Scores of such concepts.
    pub concepts: Vec<f32>,
    /// Scores of concepts that alone are no reason to flag, but make the checker stricter.
    pub special_care: Vec<f32>,
}

/// How near a picture is to each concept, 1 being nearest.
#[derive(Clone, PartialEq, Debug)]
pub struct Cosines {
    /// To those that a picture should not show.
    pub concepts: Vec<f32>,
    /// To those that make the checker stricter.
    pub special_care: Vec<f32>,
}

/// Returns the fingerprint of the checker in a folder, without loading it.
///
/// # Errors
/// When the folder is not a safety checker's.
pub fn fingerprint(folder: &Path) -> Result<String> {
    Ok(open(folder)?.1.fingerprint())
}

/// Opens the checkpoint of a folder, or of `safety_checker` in it; returns the one it is in too.
fn open(folder: &Path) -> Result<(PathBuf, Checkpoint)> {
    let inner = folder.join("safety_checker");
    let folder = if inner.is_dir() { inner } else { folder.to_owned() };
    ensure!(
        folder.is_dir(),
        "'{}' is no folder; give that of a safety checker, with config.json and model.safetensors in it",
        folder.display()
    );
    let checkpoint = Checkpoint::open_alone(&folder)?;
    Ok((folder, checkpoint))
}

/// What is added to scores after one that calls for special care.
const STRICTER: f64 = 0.01;

impl Checker {
    /// Reads a folder as diffusers or Hugging Face write it: `config.json` and `model.safetensors` or
    /// `pytorch_model.bin`, or such a folder as `safety_checker` in it. All is f32.
    ///
    /// # Errors
    /// When one of the files is missing, or is not a safety checker's.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let (folder, checkpoint) = open(folder)?;
        let sizes = Sizes::of(&checkpoint)?;
        let config = config::read(&folder.join("config.json"), sizes.width)?;
        // diffusers has a model in a model.
        let inner = checkpoint.names().any(|name| name.starts_with("vision_model.vision_model."));
        let vision = if inner { "vision_model.vision_model" } else { "vision_model" };
        let fingerprint = checkpoint.fingerprint();
        weights::load(&checkpoint, device, &|| (), |vb| Self::new(&config, &sizes, fingerprint, vb.pp(vision), vb))
    }

    /// Returns what tells this checker from others, wherever its files are.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn new(
        config: &ClipVisionConfig,
        sizes: &Sizes,
        fingerprint: String,
        vision: VarBuilder,
        vb: VarBuilder,
    ) -> candle_core::Result<Self> {
        let &Sizes { concepts, special_care, width } = sizes;
        // The transformer would put random numbers in its place.
        vision.get(config.embed_dim, "embeddings.class_embedding")?;
        Ok(Self {
            vision: ClipVisionTransformer::new(vision, config)?,
            projection: candle_nn::linear_no_bias(config.embed_dim, width, vb.pp("visual_projection"))?,
            concepts: Concepts::new((concepts, width), "concept_embeds", &vb)?,
            special_care: Concepts::new((special_care, width), "special_care_embeds", &vb)?,
            side: config.image_size,
            device: vb.device().clone(),
            fingerprint,
        })
    }

    /// Looks at a picture.
    ///
    /// # Errors
    /// When the picture has no pixels, the weights are no numbers, or the device fails.
    pub fn check(&self, picture: &Picture) -> Result<Verdict> {
        let cosines = self.cosines(picture)?;
        let mut adjustment = 0.;
        let special = |excess| {
            let score = score(excess, adjustment);
            if score > 0. {
                adjustment = STRICTER;
            }
            score
        };
        let special_care: Vec<f32> = self.special_care.excess(&cosines.special_care).map(special).collect();
        let plain = |excess| score(excess, adjustment);
        let concepts: Vec<f32> = self.concepts.excess(&cosines.concepts).map(plain).collect();
        // NaN is above no threshold: such weights would let every picture pass.
        let are_numbers = concepts.iter().chain(&special_care).all(|score| score.is_finite());
        ensure!(are_numbers, "the safety checker's weights are damaged: it gives no numbers; download it again");
        Ok(Verdict { flagged: concepts.iter().any(|&score| score > 0.), concepts, special_care })
    }

    /// What the scores are made of.
    ///
    /// # Errors
    /// When the picture has no pixels, or the device fails.
    pub fn cosines(&self, picture: &Picture) -> Result<Cosines> {
        let embedding = self.embedding(picture)?;
        Ok(Cosines { concepts: self.concepts.cosines(&embedding), special_care: self.special_care.cosines(&embedding) })
    }

    /// Where the picture is in CLIP's space.
    ///
    /// # Errors
    /// When the picture has no pixels, or the device fails.
    pub fn embedding(&self, picture: &Picture) -> Result<Vec<f32>> {
        let pixels = pixels(picture, self.side);
        ensure!(!pixels.is_empty(), "a picture of {}x{} cannot be checked", picture.width, picture.height);
        let x = Tensor::from_vec(pixels, (1, 3, self.side, self.side), &self.device)?; // (1, C, h, w)
        let x = self.vision.forward(&x)?; // (1, C)
        Ok(self.projection.forward(&x)?.flatten_all()?.to_vec1()?) // D
    }
}
