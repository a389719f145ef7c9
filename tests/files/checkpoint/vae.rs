//! `--vae`: autoencoders from other files, in every layout.

use super::*;
use candle_core::{DType, Device};
use txt2img::config::ModelConfig;
use txt2img::engine::Model;

const ROOT: &str = "first_stage_model.";

/// Returns the small model's tensors with those of the autoencoder halved.
fn other() -> Contents {
    let half = |(name, (shape, numbers)): (String, (Vec<usize>, Vec<f32>))| match name.starts_with(ROOT) {
        true => (name, (shape, numbers.iter().map(|x| x / 2.).collect())),
        false => (name, (shape, numbers)),
    };
    contents(&nano()).into_iter().map(half).collect()
}

/// Returns the other autoencoder alone, as LDM saves it in training: without prefix, and with the loss.
fn alone() -> Contents {
    let bare = |(name, tensor): (String, _)| Some((name.strip_prefix(ROOT)?.to_string(), tensor));
    let loss = [("loss.logvar", 1.), ("loss.discriminator.main.0.weight", 2.), ("model_ema.decay", 3.)];
    let loss = loss.map(|(name, x)| (name.to_string(), (vec![1], vec![x])));
    other().into_iter().filter_map(bare).chain(loss).collect()
}

/// Asserts that the small model can be combined with the autoencoder of `path`.
#[track_caller]
fn is_replaced_by(path: &Path) {
    let checkpoint = nano().with_vae(path).unwrap();
    assert_eq!(checkpoint.path(), nano_path());
    assert!(contents(&checkpoint) == other(), "{}", path.display());
}

/// Returns the error of using `path` as the autoencoder, without the path.
#[track_caller]
fn refusal(path: &Path) -> String {
    let Err(error) = nano().with_vae(path) else { panic!("'{}' is taken", path.display()) };
    let sentence = format!("{error:#}");
    let start = format!("'{}", path.display());
    sentence.strip_prefix(&start).unwrap_or_else(|| panic!("{sentence}")).to_string()
}

#[test]
fn a_full_checkpoint_lends_its_autoencoder() {
    let folder = Folder::new();
    let mut full = other();
    full.get_mut("model.diffusion_model.input_blocks.0.0.bias").unwrap().1.fill(7.);
    is_replaced_by(&folder.write("full.ckpt", &safetensors(&full, Stored::F32)));
}

#[test]
fn an_autoencoder_alone_is_taken() {
    let folder = Folder::new();
    is_replaced_by(&folder.write("vae-ft.safetensors", &safetensors(&alone(), Stored::F32)));
}

#[test]
fn a_decoder_alone_is_enough() {
    let folder = Folder::new();
    let is_decoder = |name: &str| name.starts_with("decoder.") || name.starts_with("post_quant_conv.");
    let decoder: Contents = alone().into_iter().filter(|(name, _)| is_decoder(name)).collect();
    let path = folder.write("decoder.safetensors", &safetensors(&decoder, Stored::F32));
    let checkpoint = nano().with_vae(&path).unwrap();
    assert!(!checkpoint.names().any(|name| name.starts_with("first_stage_model.encoder.")));
    load(&checkpoint).unwrap();
}

#[test]
fn a_diffusers_folder_or_its_part_or_its_file_is_taken() {
    for folder in [diffusers_folder(&parts(&other())), old_diffusers_folder(&other())] {
        is_replaced_by(folder.path());
        is_replaced_by(&folder.path().join("vae"));
        is_replaced_by(&folder.path().join("vae/diffusion_pytorch_model.safetensors"));
    }
}

#[test]
fn what_holds_no_autoencoder_is_refused() {
    let folder = Folder::new();
    let lora = folder.write("lora.safetensors", &named(&["lora_unet_mid_block.lora_up.weight"]));
    assert!(refusal(&lora).starts_with("' has no VAE decoder; give a VAE's"));
    let encoder = folder.write("encoder.safetensors", &named(&["encoder.conv_in.weight"]));
    assert!(refusal(&encoder).starts_with("' has no VAE decoder"));
    let names = ["conditioner.embedders.0.x", "first_stage_model.decoder.conv_in.weight"];
    let xl = folder.write("xl.safetensors", &named(&names));
    assert!(refusal(&xl).starts_with("' is a Stable Diffusion XL model"));
    let page = folder.write("page.ckpt", b"<html>");
    assert!(refusal(&page).starts_with("' is a web page"));
    let empty = Folder::new();
    let sentence = refusal(empty.path());
    assert!(sentence.starts_with("' lacks diffusion_pytorch_model.safetensors (or "), "{sentence}");
    assert!(refusal(&empty.path().join("none.ckpt")).starts_with("'"));
}

pub fn load(checkpoint: &Checkpoint) -> anyhow::Result<Model<'static>> {
    let config = ModelConfig::from_yaml(&nano_path().with_extension("yaml"))?;
    Model::load(checkpoint, &config, &Default::default(), &Device::Cpu, DType::F32, &|| ())
}

#[test]
fn a_misfit_is_said_of_the_file_it_is_in() {
    let folder = Folder::new();
    let mut wide = alone();
    wide.insert("decoder.conv_in.bias".into(), (vec![2], vec![0.; 2]));
    let path = folder.write("wide.safetensors", &safetensors(&wide, Stored::F32));
    let Err(error) = load(&nano().with_vae(&path).unwrap()) else { panic!("it fits") };
    let start =
        format!("'{}' does not fit the model's config: 'first_stage_model.decoder.conv_in.bias' is 2", path.display());
    assert!(error.to_string().starts_with(&start), "{error}");
}
