//! The list of tensors that a model needs, against the tensors that its networks load.

use crate::support::{fixture, nano_config};
use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use txt2img::checkpoint::Checkpoint;
use txt2img::checkpoint::names::{TEXT, UNET, VAE};
use txt2img::commands::dry_run::inventory;
use txt2img::config::ModelConfig;
use txt2img::demo;
use txt2img::diffusion::unet::UNet;
use txt2img::engine::text_config;
use txt2img::ops::{Compute, LayerBuilder, Packing};
use txt2img::text::{TextConfig, TextEncoder};
use txt2img::vae::Decoder;

/// Shapes of tensors by name.
type Shapes = BTreeMap<String, Vec<usize>>;

/// A checkpoint with every tensor, which records the requested ones.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Shapes>>);

impl SimpleBackend for Asked {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let before = self.0.lock().unwrap().insert(name.to_owned(), shape.dims().to_vec());
        assert!(before.is_none(), "'{name}' is read twice");
        Tensor::zeros(shape, dtype, device)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        panic!("'{name}' is read without a shape");
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// Returns the tensors that the networks request on loading.
fn asked(config: &ModelConfig, text: TextConfig) -> Shapes {
    let asked = Asked::default();
    let vb = VarBuilder::from_backend(Box::new(asked.clone()), DType::F32, Device::Cpu);
    let lb = LayerBuilder::new(vb, Compute::F32, Packing::Fast).unwrap();
    TextEncoder::new(text, lb.pp(TEXT)).unwrap();
    UNet::new(&config.unet, lb.pp(UNET)).unwrap();
    Decoder::new(&config.vae, config.scale_factor, lb.pp(VAE)).unwrap();
    asked.0.lock().unwrap().clone()
}

#[track_caller]
fn is_what_is_asked_for(config: &ModelConfig, checkpoint: &Checkpoint) {
    let text = text_config(checkpoint, config).unwrap();
    let inventory = inventory(config, text).unwrap();
    let shapes: Shapes = inventory.iter().cloned().collect();
    assert_eq!(shapes.len(), inventory.len(), "a tensor is listed twice");
    assert_eq!(shapes, asked(config, text));
}

#[test]
fn loading_the_small_model_asks_for_the_inventory() {
    is_what_is_asked_for(&nano_config(), &Checkpoint::open(&fixture("nano.ckpt")).unwrap());
}

#[test]
fn loading_the_demo_model_asks_for_the_inventory() {
    is_what_is_asked_for(&demo::config().unwrap(), &demo::checkpoint().unwrap());
}

#[test]
fn loading_an_odd_model_asks_for_the_inventory() {
    let mut config = nano_config();
    config.unet.transformer_depth = 2;
    config.unet.attention_resolutions = vec![4];
    config.unet.num_res_blocks = 2;
    config.vae.attn_resolutions = vec![128, 64];
    config.vae.ch_mult = vec![1, 2, 1];
    is_what_is_asked_for(&config, &Checkpoint::open(&fixture("nano.ckpt")).unwrap());
}

#[test]
fn stable_diffusion_1_5_is_the_inventory_tensor_by_tensor() {
    let is_read = |name: &str| {
        let parts =
            ["cond_stage_model.", "model.diffusion_model.", "first_stage_model.decoder.", "first_stage_model.post_"];
        parts.iter().any(|part| name.starts_with(part)) && !name.ends_with(".position_ids")
    };
    let table = std::fs::read_to_string(fixture("sd15_ldm_tensors.tsv")).unwrap();
    let rows = table.lines().map(|line| line.split('\t').collect::<Vec<_>>()).filter(|row| is_read(row[0]));
    let shape = |text: &str| text.split([',', 'x', ' ']).map(|size| size.parse().unwrap()).collect();
    let expected: Shapes = rows.map(|row| (row[0].to_owned(), shape(row[1]))).collect();
    let text = TextConfig { width: 768, intermediate: 3072, layers: 12, vocabulary: TextConfig::VOCABULARY };
    let inventory: Shapes = inventory(&ModelConfig::v1(), text).unwrap().into_iter().collect();
    assert_eq!(inventory, expected);
}
