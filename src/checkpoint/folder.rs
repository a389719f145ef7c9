//! A diffusers folder: `unet/`, `vae/` and `text_encoder/`, each with a file of its own.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, ensure};

use super::names::{self, Names};
use super::{Tensors, about, other_models, read_file};

/// Names of a part's file, best first: full precision before half, .safetensors before torch's own.
pub(super) type FileNames = [&'static str; 4];

pub(super) const MODEL: FileNames = [
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.fp16.bin",
];

pub(super) const TEXT_MODEL: FileNames =
    ["model.safetensors", "pytorch_model.bin", "model.fp16.safetensors", "pytorch_model.fp16.bin"];

/// The files of a folder: UNet, VAE and text encoder.
pub(super) fn files(folder: &Path) -> Result<[PathBuf; 3]> {
    check(folder).map_err(|e| about(folder, e))?;
    let file = |part, files| find(folder, part, files).map_err(|e| about(folder, e));
    Ok([file("unet", MODEL)?, file("vae", MODEL)?, file("text_encoder", TEXT_MODEL)?])
}

/// The tensors of these files, under LDM's names.
pub(super) fn read([unet_file, vae_file, text_encoder_file]: &[PathBuf; 3]) -> Result<Tensors> {
    let unet_tensors = read_file(unet_file)?;
    other_models::refuse_guidance_input(&unet_tensors).map_err(|e| about(unet_file, e))?;
    let mut tensors = unet(unet_tensors);
    tensors.extend(vae(read_file(vae_file)?));
    tensors.extend(text_encoder(read_file(text_encoder_file)?));
    Ok(tensors)
}

/// The file in a folder as transformers writes it, for a model alone.
pub(super) fn lone_model(folder: &Path) -> Result<PathBuf> {
    find(folder, "", TEXT_MODEL).map_err(|e| about(folder, e))
}

/// The files in a diffusers folder, or in that of one part, that a model is read from: their names within it, sorted.
pub fn weight_files(folder: &Path) -> Vec<String> {
    let parts = [("", MODEL), ("", TEXT_MODEL), ("text_encoder/", TEXT_MODEL), ("unet/", MODEL), ("vae/", MODEL)];
    let exists = |name: &String| folder.join(name).is_file();
    let file = |(part, files): (_, FileNames)| files.iter().map(|file| format!("{part}{file}")).find(exists);
    parts.into_iter().filter_map(file).collect()
}

/// An error if the folder is of another kind.
fn check(folder: &Path) -> Result<()> {
    let has = |part: &str| folder.join(part).is_dir();
    ensure!(!has("text_encoder_2"), other_models::refusal("a Stable Diffusion XL model"));
    ensure!(has("unet") || !has("transformer"), other_models::refusal("a Stable Diffusion 3 or Flux model"));
    ensure!(
        has("unet") || has("vae") || has("text_encoder"),
        "is a folder, but no diffusers model (unet/, vae/, text_encoder/); give a .ckpt or .safetensors file in it"
    );
    Ok(())
}

/// The file of a part; `part` is empty if the folder is the part.
pub(super) fn find(folder: &Path, part: &str, files: FileNames) -> Result<PathBuf> {
    let mut paths = files.iter().map(|file| folder.join(part).join(file));
    paths.find(|path| path.exists()).ok_or_else(|| {
        let [first, others @ ..] = files;
        let first = Path::new(part).join(first);
        anyhow!("lacks {} (or {}); download it whole", first.display(), others.join(", "))
    })
}

fn unet(tensors: Tensors) -> Tensors {
    let has = |name: &str| tensors.contains_key(name);
    let names = names::unet(&names::levels("down_blocks", has), &names::levels("up_blocks", has));
    renamed(tensors, names)
}

pub(super) fn vae(tensors: Tensors) -> Tensors {
    let tensors: Tensors = tensors.into_iter().map(|(name, tensor)| (names::new_vae_name(&name), tensor)).collect();
    let has = |name: &str| tensors.contains_key(name);
    let down = names::levels("encoder.down_blocks", has);
    let up = names::levels("decoder.up_blocks", has);
    let mut tensors = renamed(tensors, names::vae(&down, &up));
    for (name, tensor) in &mut tensors {
        // LDM's attention is made of 1×1 convolutions, diffusers' of linear layers.
        if name.contains(".attn_1.") && tensor.view.shape.len() == 2 {
            tensor.view.shape.extend([1, 1]);
            tensor.view.strides.extend([1, 1]);
        }
    }
    tensors
}

fn text_encoder(tensors: Tensors) -> Tensors {
    let layers = names::text_layers(|name| tensors.contains_key(name));
    renamed(tensors, names::text_encoder(layers))
}

/// The tensors that have a name in LDM; there is no use for others.
fn renamed(mut tensors: Tensors, names: Names) -> Tensors {
    let known = |(ldm, diffusers): (String, String)| Some((ldm, tensors.remove(&diffusers)?));
    names.into_iter().filter_map(known).collect()
}
