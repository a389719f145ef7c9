//! LoRA files: what they change, whatever their layout, and which files are refused.

mod damage;
mod embeddings;
mod kinds;
mod layouts;
mod reference;
mod refusals;
mod speed;
mod strengths;
mod summary;

use crate::support::{fixture, nano_config};
use candle_core::Tensor;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use txt2img::checkpoint::Checkpoint;
use txt2img::checkpoint::lora::{LoraFile, LoraWeights, Loras};

fn nano_checkpoint() -> Checkpoint {
    Checkpoint::open(&fixture("nano.ckpt")).unwrap()
}

/// Opens a LoRA for the small model.
fn open(path: &Path) -> anyhow::Result<LoraFile> {
    LoraFile::open(path, &nano_checkpoint(), &nano_config().unet)
}

/// Opens one of the files that LyCORIS's library merged.
fn reference(name: &str) -> Arc<LoraFile> {
    Arc::new(open(&fixture(&format!("lora/{name}.safetensors"))).unwrap())
}

fn both(weight: f64) -> LoraWeights {
    LoraWeights { text: weight, unet: weight }
}

/// A module of the small model with a weight of 64×32, under LDM's and diffusers' names.
const LDM: &str = "input_blocks.3.1.transformer_blocks.0.attn2.to_v";
const DIFFUSERS: &str = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v";

/// The shape of the module's weight.
const SHAPE: [usize; 2] = [64, 32];

/// LDM's name of a UNet's weight.
fn weight(module: &str) -> String {
    format!("model.diffusion_model.{module}.weight")
}

/// A tensor: its type, shape and bytes.
type Stored = (&'static str, Vec<usize>, Vec<u8>);

/// A LoRA file under construction.
#[derive(Clone, Default)]
struct Lora {
    tensors: BTreeMap<String, Stored>,
    metadata: BTreeMap<String, String>,
}

impl Lora {
    /// Adds a tensor of small numbers, all different.
    fn with(self, name: impl Into<String>, shape: &[usize]) -> Self {
        let (name, count) = (name.into(), shape.iter().product::<usize>());
        let seed = name.len() + self.tensors.len();
        let number = |i: usize| ((i * 7919 + seed * 104_729) % 1999) as f32 / 1999. - 0.5;
        self.with_numbers(name, shape, (0..count).map(number).collect())
    }

    fn with_numbers(self, name: impl Into<String>, shape: &[usize], numbers: Vec<f32>) -> Self {
        self.with_bytes(name, "F32", shape, numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
    }

    fn with_bytes(mut self, name: impl Into<String>, dtype: &'static str, shape: &[usize], bytes: Vec<u8>) -> Self {
        self.tensors.insert(name.into(), (dtype, shape.to_vec(), bytes));
        self
    }

    /// The numbers of a tensor in f32.
    fn numbers(&self, name: &str) -> Vec<f32> {
        self.tensors[name].2.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn with_number(self, name: impl Into<String>, number: f32) -> Self {
        self.with_numbers(name, &[], vec![number])
    }

    fn with_metadata(mut self, key: &str, text: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), text.into());
        self
    }

    /// A LoRA of rank 4 of the module `LDM`, with these names. The numbers do not depend on them.
    fn plain(down: impl Into<String>, up: impl Into<String>) -> Self {
        let numbers = |n: usize| (0..n).map(|i| (i * 7919 % 1999) as f32 / 1999. - 0.5).collect();
        let lora = Self::default().with_numbers(down, &[4, SHAPE[1]], numbers(4 * SHAPE[1]));
        lora.with_numbers(up, &[SHAPE[0], 4], numbers(SHAPE[0] * 4))
    }

    /// A LoRA of rank 4 of the module `LDM`, in kohya's layout.
    fn kohya() -> Self {
        let module = format!("lora_unet_{}", DIFFUSERS.replace('.', "_"));
        Self::plain(format!("{module}.lora_down.weight"), format!("{module}.lora_up.weight"))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut header = serde_json::Map::from_iter([("__metadata__".into(), json!(self.metadata))]);
        let mut data = vec![];
        for (name, (dtype, shape, bytes)) in &self.tensors {
            let start = data.len();
            data.extend(bytes);
            header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}));
        }
        let header = serde_json::to_vec(&header).unwrap();
        [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
    }

    fn open(&self) -> anyhow::Result<Arc<LoraFile>> {
        self.save().open()
    }

    fn save(&self) -> Saved {
        Saved::new(&self.bytes())
    }

    /// The error of opening the file, without its path.
    #[track_caller]
    fn refusal(&self) -> String {
        self.save().refusal()
    }

    /// Returns tensor `name` of the small model with this LoRA.
    fn merged(&self, name: &str, strength: f64) -> Vec<f32> {
        merged(&[(self.open().unwrap(), both(strength))], name)
    }
}

/// A file in a temporary folder.
struct Saved {
    _folder: TempDir,
    path: PathBuf,
}

impl Saved {
    fn new(bytes: &[u8]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a.safetensors");
        std::fs::write(&path, bytes).unwrap();
        Self { _folder: folder, path }
    }

    fn open(&self) -> anyhow::Result<Arc<LoraFile>> {
        Ok(Arc::new(open(&self.path)?))
    }

    #[track_caller]
    fn refusal(&self) -> String {
        let error = format!("{:#}", self.open().err().expect("the file is refused"));
        let rest = error.strip_prefix(&format!("'{}' ", self.path.display()));
        let rest = rest.unwrap_or_else(|| panic!("{error} does not begin with the path")).to_owned();
        assert!(!rest.contains('\n') && !rest.ends_with('.'), "{rest}");
        rest
    }
}

/// Returns tensor `name` of the small model with these LoRAs.
fn merged(loras: &[(Arc<LoraFile>, LoraWeights)], name: &str) -> Vec<f32> {
    let merged = merged_into(&nano_checkpoint(), &Loras::new(loras.to_vec()), name).unwrap();
    merged.flatten_all().unwrap().to_vec1().unwrap()
}

/// Returns tensor `name` of a model with these LoRAs.
fn merged_into(checkpoint: &Checkpoint, loras: &Loras, name: &str) -> anyhow::Result<Tensor> {
    loras.read(checkpoint, name, name, &checkpoint.shape(name).unwrap().into())
}

/// The largest difference, relative to the largest number.
fn difference(ours: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(ours.len(), expected.len());
    let largest = expected.iter().fold(0f64, |a, b| a.max(b.abs()));
    ours.iter().zip(expected).fold(0f64, |d, (a, b)| d.max((f64::from(*a) - b).abs())) / largest
}
