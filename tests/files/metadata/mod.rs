//! Metadata in picture files of every format, and damaged or forged files.

mod hostile;
mod parameters;
mod round_trips;

use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;
use txt2img::diffusion::samplers::{Kind, SamplerConfig, Spacing};
use txt2img::output::{self, Format, Picture, Record};
use txt2img::params::SamplingParams;
use txt2img::rng::Origin;

/// Returns a picture with a different colour at every pixel.
fn picture() -> Picture {
    let (width, height) = (24, 16);
    let pixels = (0..width * height).flat_map(|at| [(at % width * 10) as u8, (at / width * 15) as u8, 100]);
    Picture { width, height, rgb: pixels.collect() }
}

fn params(kind: Kind, spacing: Spacing) -> SamplingParams {
    let sampler = SamplerConfig { kind, steps: 20, spacing, ..SamplerConfig::default() };
    SamplingParams { height: 16, width: 24, sampler, ..SamplingParams::default() }
}

fn drawn(prompt: &str) -> Record {
    Record {
        version: "0.1.0".into(),
        prompt: prompt.into(),
        negative_prompt: String::new(),
        origin: Origin::alone(42),
        rng: "cuda".into(),
        params: params(Kind::EulerA, Spacing::Discrete),
        latent_width: 3,
        latent_height: 2,
        emphasis: false,
        long_prompt: true,
        webui_prompts: false,
        init_img_sha256: None,
        mask_sha256: None,
        auto_orient: false,
        model: "v1-5".into(),
        model_hash: None,
        lora_files: vec![],
        prediction: None,
        vae: None,
        embeddings: vec![],
        config: None,
        products: "f32".into(),
        watermark: false,
    }
}

/// A temporary picture file.
struct PictureFile(TempDir);

impl PictureFile {
    fn of(bytes: &[u8]) -> Self {
        let file = Self(TempDir::new().unwrap());
        file.becomes(bytes);
        file
    }

    fn becomes(&self, bytes: &[u8]) {
        fs::write(self.path(), bytes).unwrap();
    }

    fn with(format: Format, record: &Record) -> Self {
        Self::of(&format.encode(&picture(), Some(record)).unwrap())
    }

    /// The path, which has no extension: the format is detected from the content.
    fn path(&self) -> PathBuf {
        self.0.path().join("picture")
    }

    fn record(&self) -> Record {
        self.read().unwrap()
    }

    /// Returns the error of reading the record.
    fn refusal(&self) -> String {
        self.read().unwrap_err()
    }

    /// Reads the record. Errors name the file `picture`, wherever it is.
    fn read(&self) -> Result<Record, String> {
        let path = self.path();
        output::record(&path).map_err(|error| format!("{error:#}").replace(&*path.to_string_lossy(), "picture"))
    }
}
