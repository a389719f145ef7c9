//! The original's safety checker, diffusers' `StableDiffusionSafetyChecker`.
//!
//! The image is embedded by CLIP (Radford et al. 2021, arXiv 2103.00020; the implementation of candle-transformers),
//! and the embedding is compared with those of unsafe concepts.

mod action;
mod concepts;
mod config;
mod pixels;

use crate::checkpoint::lora::Loras;
use crate::checkpoint::{Checkpoint, weights};
use crate::output::Picture;
use anyhow::{Result, ensure};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Linear, VarBuilder};
use candle_transformers::models::clip::vision_model::{ClipVisionConfig, ClipVisionTransformer};
use concepts::{Concepts, Sizes, score};
use std::path::{Path, PathBuf};

pub use action::Action;
pub use pixels::pixels;

/// A loaded safety checker.
pub struct Checker {
    vision: ClipVisionTransformer,
    projection: Linear,
    concepts: Concepts,
    special_care: Concepts,
    /// The side of CLIP's input in pixels.
    side: usize,
    device: Device,
    fingerprint: String,
}

/// The checker's result for an image.
///
/// A score is the cosine of a concept minus its threshold, plus an adjustment, rounded to three decimals. Above 0, the
/// concept is detected.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// Whether an unsafe concept is detected.
    pub flagged: bool,
    /// The scores of the unsafe concepts.
    pub concepts: Vec<f32>,
    /// The scores of the special-care concepts, which make the checker stricter but do not flag an image.
    pub special_care: Vec<f32>,
}

/// The cosine similarities of an image and the concepts.
#[derive(Clone, PartialEq, Debug)]
pub struct Cosines {
    /// The similarity to each unsafe concept.
    pub concepts: Vec<f32>,
    /// The similarity to each special-care concept.
    pub special_care: Vec<f32>,
}

/// The adjustment added to all scores after that of a detected special-care concept.
const ADJUSTMENT: f64 = 0.01;

/// Returns the fingerprint of the checker in a folder without loading it.
///
/// # Errors
/// If the folder does not hold a safety checker.
pub fn fingerprint(folder: &Path) -> Result<String> {
    Ok(open(folder)?.1.fingerprint())
}

/// Opens the checkpoint in a folder or in its subfolder `safety_checker`. Also returns the folder that contains it.
fn open(folder: &Path) -> Result<(PathBuf, Checkpoint)> {
    let inner = folder.join("safety_checker");
    let folder = if inner.is_dir() { inner } else { folder.to_owned() };
    ensure!(
        folder.is_dir(),
        "'{}' is not a folder; give that of a safety checker, with config.json and model.safetensors in it",
        folder.display()
    );
    let checkpoint = Checkpoint::open_alone(&folder)?;
    Ok((folder, checkpoint))
}

impl Checker {
    /// Loads a checker in f32 from a folder as written by diffusers or Hugging Face, with `config.json` and
    /// `model.safetensors` or `pytorch_model.bin` in it or in its subfolder `safety_checker`.
    ///
    /// # Errors
    /// If a file is missing, or does not belong to a safety checker.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let (folder, checkpoint) = open(folder)?;
        let sizes = Sizes::from_checkpoint(&checkpoint)?;
        let config = config::read_vision_config(&folder.join("config.json"), sizes.width)?;
        // In diffusers' checkpoints the vision model is nested in another module.
        let inner = checkpoint.names().any(|name| name.starts_with("vision_model.vision_model."));
        let vision = if inner { "vision_model.vision_model" } else { "vision_model" };
        let fingerprint = checkpoint.fingerprint();
        weights::load(&checkpoint, &Loras::default(), device, &|| (), |vb| {
            let vb = vb.to_dtype(DType::F32);
            Ok(Self::new(&config, &sizes, fingerprint, vb.pp(vision), vb)?)
        })
    }

    /// A hash that identifies the checker, whatever the path of its files.
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
        // candle's transformer would initialise a missing class embedding with random numbers.
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

    /// Checks an image.
    ///
    /// # Errors
    /// If the image has no pixels, a score is NaN or infinite, or the device fails.
    pub fn check(&self, picture: &Picture) -> Result<Verdict> {
        let cosines = self.cosines(picture)?;
        let mut adjustment = 0.;
        let special = |excess| {
            let score = score(excess, adjustment);
            if score > 0. {
                adjustment = ADJUSTMENT;
            }
            score
        };
        let special_care: Vec<f32> = self.special_care.excess(&cosines.special_care).map(special).collect();
        let plain = |excess| score(excess, adjustment);
        let concepts: Vec<f32> = self.concepts.excess(&cosines.concepts).map(plain).collect();
        // NaN exceeds no threshold, so damaged weights would let every image pass.
        let are_finite = concepts.iter().chain(&special_care).all(|score| score.is_finite());
        ensure!(
            are_finite,
            "the safety checker's weights are damaged: its scores are NaN or infinite; download it again"
        );
        Ok(Verdict { flagged: concepts.iter().any(|&score| score > 0.), concepts, special_care })
    }

    /// Returns the cosines of an image and the concepts, before thresholds.
    ///
    /// # Errors
    /// If the image has no pixels, or the device fails.
    pub fn cosines(&self, picture: &Picture) -> Result<Cosines> {
        let embedding = self.embedding(picture)?;
        Ok(Cosines { concepts: self.concepts.cosines(&embedding), special_care: self.special_care.cosines(&embedding) })
    }

    /// Returns the CLIP embedding (D) of an image.
    ///
    /// # Errors
    /// If the image has no pixels, or the device fails.
    pub fn embedding(&self, picture: &Picture) -> Result<Vec<f32>> {
        let pixels = pixels(picture, self.side);
        ensure!(!pixels.is_empty(), "an image of {}x{} pixels cannot be checked", picture.width, picture.height);
        let x = Tensor::from_vec(pixels, (1, 3, self.side, self.side), &self.device)?; // (1, C, h, w)
        let x = self.vision.forward(&x)?; // (1, C)
        Ok(self.projection.forward(&x)?.flatten_all()?.to_vec1()?) // D
    }
}
