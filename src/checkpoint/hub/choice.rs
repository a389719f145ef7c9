//! Which of a repository's files to take when none is named.

use crate::checkpoint::declared::CONFIGS;
use crate::checkpoint::part_files::{DIFFUSERS, Stems, TRANSFORMERS};

/// The parts of a diffusers model that draw.
const PARTS: [(&str, Stems); 3] = [("unet/", DIFFUSERS), ("vae/", DIFFUSERS), ("text_encoder/", TRANSFORMERS)];

/// What to take.
#[derive(Debug, PartialEq)]
pub(super) enum Choice {
    /// One file with all of a model.
    File(String),
    /// A diffusers model: the files of each part, one or shards with their index, and the configs that say how to draw
    /// with them.
    Parts(Vec<String>),
}

impl Choice {
    pub(super) fn files(&self) -> &[String] {
        match self {
            Self::File(file) => std::slice::from_ref(file),
            Self::Parts(files) => files,
        }
    }

    /// Whether nothing that is not in the cache could be preferred for more than its size.
    pub(super) fn is_certain(&self, half: bool) -> bool {
        matches!(self, Self::File(file) if is_safe(file) && bulk(file) == 0 && (half || !is_half(file)))
    }
}

/// A single file with all of a model before its parts; half: what is stored in half precision is enough.
pub(super) fn choose(files: &[String], half: bool) -> Option<Choice> {
    let checkpoints = files.iter().filter(|file| is_checkpoint(file));
    let order = |file: &&String| (is_odd(file), !is_safe(file), is_half(file) != half, bulk(file), file.to_string());
    let best = checkpoints.min_by_key(order);
    best.map(|file| Choice::File(file.clone())).or_else(|| parts(files, half).map(Choice::Parts))
}

fn parts(files: &[String], half: bool) -> Option<Vec<String>> {
    let part = |(part, stems): (&'static str, Stems)| {
        let names: Vec<&str> = files.iter().filter_map(|file| file.strip_prefix(part)).collect();
        let names = stems.choose(&names, half)?.into_iter();
        Some(names.map(move |name| format!("{part}{name}")))
    };
    let parts: Option<Vec<_>> = PARTS.into_iter().map(part).collect();
    let configs = CONFIGS.map(String::from).into_iter().filter(|name| files.contains(name));
    Some(parts?.into_iter().flatten().chain(configs).collect())
}

/// Whether a file may be a whole model; those of a diffusers model's parts, wherever they are, are not.
pub(super) fn is_checkpoint(file: &str) -> bool {
    let is_part = [DIFFUSERS, TRANSFORMERS].iter().any(|stems| stems.is_part(file));
    !file.contains('/') && (is_safe(file) || file.ends_with(".ckpt")) && !is_part
}

fn is_safe(file: &str) -> bool {
    file.ends_with(".safetensors")
}

fn is_half(file: &str) -> bool {
    let file = file.to_ascii_lowercase();
    file.contains("fp16") || file.contains("f16")
}

/// How much there is that only training needs: some say that it is not, some that it is.
fn bulk(file: &str) -> usize {
    match file.to_ascii_lowercase() {
        file if file.contains("emaonly") => 0,
        file if ["full", "nonema", "non-ema"].iter().any(|word| file.contains(word)) => 2,
        _ => 1,
    }
}

/// Names of models that lie beside the one that is looked for.
fn is_odd(file: &str) -> bool {
    let file = file.to_ascii_lowercase();
    ["inpaint", "lora", "vae", "safety"].iter().any(|word| file.contains(word))
}
