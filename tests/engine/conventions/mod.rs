//! Declarations in a model's files, such as v-prediction, are honoured or refused.

mod ema;
mod folders;
mod guidance_input;
mod prediction;
mod program;
mod schedule;

use crate::support::{fixture, nano_config};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use txt2img::checkpoint::names::{self, Level};
use txt2img::checkpoint::{Checkpoint, Dtype as Stored};
use txt2img::config::ModelConfig;
use txt2img::conventions::Conventions;

/// The shape and values of each tensor.
type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Returns the small model's weights.
fn weights() -> Weights {
    let nano = Checkpoint::open(&fixture("nano.ckpt")).unwrap();
    let float = |name: &&str| nano.dtype(name) != Some(Stored::I64);
    let tensor = |name: &str| (nano.shape(name).unwrap().to_vec(), nano.read_f32(name).unwrap());
    nano.names().filter(float).map(|name| (name.to_string(), tensor(name))).collect()
}

/// Returns the small model's weights with additional empty tensors as markers.
fn marked(markers: &[&str]) -> Weights {
    let mut weights = weights();
    weights.extend(markers.iter().map(|name| (name.to_string(), (vec![0], vec![]))));
    weights
}

fn write(path: &Path, weights: &Weights, metadata: Option<HashMap<String, String>>, dtype: Dtype) {
    let bytes = |values: &[f32]| -> Vec<u8> {
        match dtype {
            Dtype::F16 => values.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    };
    let tensors: Vec<_> = weights.iter().map(|(name, (shape, values))| (name, shape, bytes(values))).collect();
    let views =
        tensors.iter().map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.to_vec(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, metadata).unwrap()).unwrap();
}

/// A checkpoint in a temporary folder.
struct Model {
    folder: TempDir,
    path: PathBuf,
}

impl Model {
    /// Writes a `.safetensors` file in f32.
    fn file(weights: &Weights) -> Self {
        Self::written(weights, None, Dtype::F32)
    }

    /// Writes a `.safetensors` file in f16.
    fn half(weights: &Weights) -> Self {
        Self::written(weights, None, Dtype::F16)
    }

    /// Writes a `.safetensors` file with an entry in its metadata.
    fn with_metadata(weights: &Weights, key: &str, value: &str) -> Self {
        Self::written(weights, Some(HashMap::from([(key.into(), value.into())])), Dtype::F32)
    }

    fn written(weights: &Weights, metadata: Option<HashMap<String, String>>, dtype: Dtype) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("model.safetensors");
        write(&path, weights, metadata, dtype);
        Self { folder, path }
    }

    /// Writes a diffusers folder.
    fn folder(weights: &Weights) -> Self {
        let folder = TempDir::new().unwrap();
        let level = |resnets, attention| Level { resnets, attention };
        let unet = names::unet(
            &[level(1, true), level(1, true), level(1, false)],
            &[level(2, false), level(2, true), level(2, true)],
        );
        let vae = names::vae(&[level(1, false); 4], &[level(2, false); 4]);
        let layers = names::text_layers(|name| weights.contains_key(&format!("cond_stage_model.transformer.{name}")));
        for (file, names) in [
            ("unet/diffusion_pytorch_model.safetensors", unet),
            ("vae/diffusion_pytorch_model.safetensors", vae),
            ("text_encoder/model.safetensors", names::text_encoder(layers)),
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let part = names.into_iter().filter_map(|(ldm, name)| Some((name, weights.get(&ldm)?.clone())));
            write(&path, &part.collect(), None, Dtype::F32);
        }
        let path = folder.path().to_owned();
        Self { folder, path }
    }

    /// Adds a JSON file to the folder.
    fn with_json(self, file: &str, content: Value) -> Self {
        self.with_text(file, &content.to_string())
    }

    fn with_text(self, file: &str, text: &str) -> Self {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint::open(&self.path).unwrap()
    }

    /// Returns the model's conventions with the small model's config.
    fn conventions(&self) -> Conventions {
        self.conventions_with(&nano_config())
    }

    fn conventions_with(&self, config: &ModelConfig) -> Conventions {
        Conventions::new(&self.checkpoint(), config).unwrap()
    }

    /// Asserts that the model is refused in one sentence that contains `reason`.
    #[track_caller]
    fn is_refused(&self, reason: &str) {
        let error = Checkpoint::open(&self.path).and_then(|checkpoint| {
            let config = nano_config();
            txt2img::engine::text_config(&checkpoint, &config)?;
            Conventions::new(&checkpoint, &config)
        });
        let error = format!("{:#}", error.expect_err("it is accepted"));
        assert!(error.contains(reason) && !error.contains('\n') && !error.ends_with('.'), "{error}");
        assert!(error.contains(self.folder.path().to_str().unwrap()), "{error}");
    }
}

/// Returns the small model's config with `from` replaced by `to`.
fn nano_yaml(from: &str, to: &str) -> String {
    let yaml = fs::read_to_string(fixture("nano.yaml")).unwrap();
    assert!(yaml.contains(from), "{from}");
    yaml.replace(from, to)
}

fn changed_config(from: &str, to: &str) -> ModelConfig {
    ModelConfig::parse(&nano_yaml(from, to)).unwrap()
}
