//! A diffusers folder: `unet/`, `vae/` and `text_encoder/`, each with the weights of one network.

use std::path::{Path, PathBuf};

use anyhow::{Error, Result, anyhow, ensure};

use super::names::{self, Names};
use super::part_files::{DIFFUSERS, Part, Stems, TRANSFORMERS};
use super::{Tensors, about, cache_folder, other_models};

/// The networks of a diffusers folder.
pub(super) struct Folder {
    unet: Part,
    /// None if another VAE takes its place.
    vae: Option<Part>,
    text_encoder: Part,
}

impl Folder {
    /// Finds the files of the networks. With `needs_vae` false, the VAE's may be missing.
    pub fn find(folder: &Path, needs_vae: bool) -> Result<Self> {
        check(folder).map_err(|e| about(folder, e))?;
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
    pub fn read(&self) -> Result<Tensors> {
        let unet_tensors = self.unet.read()?;
        other_models::refuse_guidance_input(&unet_tensors).map_err(|e| about(&self.unet.path(), e))?;
        let mut tensors = unet(unet_tensors);
        if let Some(part) = &self.vae {
            tensors.extend(vae(part.read()?));
        }
        tensors.extend(text_encoder(self.text_encoder.read()?));
        Ok(tensors)
    }
}

/// The weights in a folder as transformers writes it, for a model alone.
pub(super) fn lone_model(folder: &Path) -> Result<Part> {
    find(folder, "", TRANSFORMERS)
}

/// Returns the files in a diffusers folder, or in that of one network, that hold its weights: their names within the
/// folder, sorted.
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

/// An error if the folder is of another kind.
fn check(folder: &Path) -> Result<()> {
    let has = |part: &str| folder.join(part).is_dir();
    ensure!(!has("text_encoder_2"), other_models::refusal("a Stable Diffusion XL model"));
    ensure!(has("unet") || !has("transformer"), other_models::refusal("a Stable Diffusion 3 or Flux model"));
    cache_folder::refuse(folder)?;
    ensure!(
        has("unet") || has("vae") || has("text_encoder"),
        "is a folder, but no diffusers model (unet/, vae/, text_encoder/); give a .ckpt or .safetensors file in it"
    );
    Ok(())
}

/// The weights of a part; `part` is empty if the folder is the part.
pub(super) fn find(folder: &Path, part: &str, stems: Stems) -> Result<Part> {
    Part::find(&folder.join(part), stems)?.ok_or_else(|| about(folder, lacks(folder, part, stems)))
}

fn lacks(folder: &Path, part: &str, stems: Stems) -> Error {
    let first = Path::new(part).join(stems.first());
    let lacks = anyhow!(
        "lacks {} (or a .bin file, a variant such as fp16, or shards with their index); download it whole",
        first.display()
    );
    cache_folder::refuse(folder).err().unwrap_or(lacks)
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
    let tensors: Tensors = tensors.into_iter().map(|(name, tensor)| (names::with_text_model(&name), tensor)).collect();
    let layers = names::text_layers(|name| tensors.contains_key(name));
    renamed(tensors, names::text_encoder(layers))
}

/// The tensors that have a name in LDM; there is no use for others.
fn renamed(mut tensors: Tensors, names: Names) -> Tensors {
    let known = |(ldm, diffusers): (String, String)| Some((ldm, tensors.remove(&diffusers)?));
    names.into_iter().filter_map(known).collect()
}
