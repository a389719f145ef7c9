//! A diffusers folder: `unet/`, `vae/` and `text_encoder/` with the weights of a network each.

use super::names::{self, Names};
use super::part_files::{DIFFUSERS, Part, Stems, TRANSFORMERS};
use super::{Tensors, cache_folder, foreign, with_path};
use anyhow::{Error, Result, anyhow, ensure};
use std::path::{Path, PathBuf};

/// The networks of a diffusers folder.
pub(super) struct Folder {
    unet: Part,
    /// `None` if another VAE replaces it.
    vae: Option<Part>,
    text_encoder: Part,
}

impl Folder {
    /// Finds the files of the networks. With `needs_vae` false, the VAE may be missing.
    ///
    /// # Errors
    /// If the folder is not a diffusers model of Stable Diffusion, or lacks files.
    pub fn find(folder: &Path, needs_vae: bool) -> Result<Self> {
        check(folder).map_err(|e| with_path(folder, e))?;
        let vae = if needs_vae { Some(find(folder, "vae", DIFFUSERS)?) } else { None };
        Ok(Self {
            unet: find(folder, "unet", DIFFUSERS)?,
            vae,
            text_encoder: find(folder, "text_encoder", TRANSFORMERS)?,
        })
    }

    /// The files that hold the weights.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        [&self.unet].into_iter().chain(&self.vae).chain([&self.text_encoder]).flat_map(Part::files)
    }

    /// Reads the tensors, under LDM's names.
    pub fn read_tensors(&self) -> Result<Tensors> {
        let mut tensors = unet(self.unet.read_tensors()?);
        if let Some(part) = &self.vae {
            tensors.extend(vae(part.read_tensors()?));
        }
        tensors.extend(text_encoder(self.text_encoder.read_tensors()?));
        Ok(tensors)
    }
}

/// Finds the weights of a single network in a folder written by transformers.
pub(super) fn single_network(folder: &Path) -> Result<Part> {
    find(folder, "", TRANSFORMERS)
}

/// Returns the weight files in a diffusers folder, or in the folder of a single network: their paths relative to
/// the folder, sorted.
pub fn weight_files(folder: &Path) -> Vec<String> {
    let parts = [
        ("", DIFFUSERS),
        ("", TRANSFORMERS),
        ("text_encoder/", TRANSFORMERS),
        ("unet/", DIFFUSERS),
        ("vae/", DIFFUSERS),
    ];
    let names = |(part, stems): (&str, Stems)| {
        let found = Part::find(&folder.join(part), stems).ok().flatten();
        let names = found.map_or(vec![], |found| found.names().to_vec());
        names.into_iter().map(move |name| format!("{part}{name}")).collect::<Vec<_>>()
    };
    parts.into_iter().flat_map(names).collect()
}

/// Checks that the folder is a diffusers model of Stable Diffusion.
fn check(folder: &Path) -> Result<()> {
    let has = |part: &str| folder.join(part).is_dir();
    ensure!(!has("text_encoder_2"), foreign::refusal("a Stable Diffusion XL model"));
    ensure!(has("unet") || !has("transformer"), foreign::refusal("a Stable Diffusion 3 or Flux model"));
    cache_folder::refuse(folder)?;
    ensure!(
        has("unet") || has("vae") || has("text_encoder"),
        "is a folder, but not a diffusers model (unet/, vae/, text_encoder/); give a .ckpt or .safetensors file in it"
    );
    Ok(())
}

/// Finds the weights in the subfolder `part`, or in the folder itself if `part` is empty.
///
/// # Errors
/// If weights are missing.
pub(super) fn find(folder: &Path, part: &str, stems: Stems) -> Result<Part> {
    Part::find(&folder.join(part), stems)?.ok_or_else(|| with_path(folder, missing_weights(folder, part, stems)))
}

fn missing_weights(folder: &Path, part: &str, stems: Stems) -> Error {
    let first = Path::new(part).join(stems.first());
    let missing = anyhow!(
        "lacks {} (or a .bin file, a variant such as fp16, or shards with their index); download it whole",
        first.display()
    );
    cache_folder::refuse(folder).err().unwrap_or(missing)
}

fn unet(tensors: Tensors) -> Tensors {
    let has = |name: &str| tensors.contains_key(name);
    let names = names::unet(&names::levels("down_blocks", has), &names::levels("up_blocks", has));
    renamed(tensors, names)
}

/// Gives the tensors of a diffusers VAE LDM's names and shapes.
pub(super) fn vae(tensors: Tensors) -> Tensors {
    let tensors: Tensors = tensors.into_iter().map(|(name, tensor)| (names::new_vae_name(&name), tensor)).collect();
    let has = |name: &str| tensors.contains_key(name);
    let down = names::levels("encoder.down_blocks", has);
    let up = names::levels("decoder.up_blocks", has);
    let mut tensors = renamed(tensors, names::vae(&down, &up));
    for (name, tensor) in &mut tensors {
        // LDM's attention has 1×1 convolutions where diffusers' has linear layers.
        if name.contains(".attn_1.") && tensor.view.shape.len() == 2 {
            tensor.view.shape.extend([1, 1]);
            tensor.view.strides.extend([1, 1]);
        }
    }
    tensors
}

fn text_encoder(tensors: Tensors) -> Tensors {
    let tensors: Tensors = tensors.into_iter().map(|(name, tensor)| (names::with_text_model(&name), tensor)).collect();
    let layers = names::text_layers(|name| tensors.contains_key(name));
    renamed(tensors, names::text_encoder(layers))
}

/// Renames diffusers' tensors to LDM's names. Tensors that are not in `names` are dropped.
fn renamed(mut tensors: Tensors, names: Names) -> Tensors {
    let known = |(ldm, diffusers): (String, String)| Some((ldm, tensors.remove(&diffusers)?));
    names.into_iter().filter_map(known).collect()
}
