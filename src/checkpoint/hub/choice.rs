//! The choice of a repository's files when the user names none.

use crate::checkpoint::declared::CONFIGS;
use crate::checkpoint::part_files::{DIFFUSERS, Stems, TRANSFORMERS};

/// The networks of a diffusers model, by folder.
const PARTS: [(&str, Stems); 3] = [("unet/", DIFFUSERS), ("vae/", DIFFUSERS), ("text_encoder/", TRANSFORMERS)];

/// The usual names of a LoRA in a repository, the more usual ones first.
const LORAS: [&str; 2] = ["pytorch_lora_weights", "adapter_model"];

/// The extensions of LoRA files, the preferred ones first.
const LORA_EXTENSIONS: [&str; 3] = ["safetensors", "bin", "pt"];

/// The kind of files to choose.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// A checkpoint, in half precision if there is one and `half` is set.
    Checkpoint { half: bool },
    /// A LoRA.
    Lora,
}

impl Wanted {
    /// Returns the best choice among `files`.
    pub(super) fn choose(self, files: &[String]) -> Option<Choice> {
        match self {
            Self::Checkpoint { half } => choose(files, half),
            Self::Lora => lora(files).map(Choice::File),
        }
    }

    /// Whether the hub cannot have a better choice than this cached one, except a smaller one.
    pub(super) fn is_certain(self, choice: &Choice) -> bool {
        match (self, choice) {
            (Self::Checkpoint { half }, Choice::File(file)) => {
                is_safe(file) && bulk(file) == 0 && (half || !is_half(file))
            }
            (Self::Lora, Choice::File(file)) => is_safe(file) && is_usual_lora(file),
            (_, Choice::Parts(_)) => false,
        }
    }

    /// The name of the kind in errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Checkpoint { .. } => "a checkpoint",
            Self::Lora => "a LoRA",
        }
    }

    /// The clause of an error that says what a repository lacks.
    pub(super) fn lack(self) -> &'static str {
        match self {
            Self::Checkpoint { .. } => "holds neither a single-file checkpoint nor a diffusers model",
            Self::Lora => "does not hold exactly one LoRA file",
        }
    }

    /// The advice for a repository that lacks it.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Checkpoint { .. } => "give another repository",
            Self::Lora => "name the file, as OWNER/NAME:FILE",
        }
    }
}

/// Returns the LoRA among `files`: one of a usual name, or the only one.
fn lora(files: &[String]) -> Option<String> {
    LORA_EXTENSIONS.into_iter().find_map(|extension| {
        let is_it =
            |file: &&String| !file.contains('/') && file.rsplit_once('.').is_some_and(|(_, end)| end == extension);
        let all: Vec<&String> = files.iter().filter(is_it).collect();
        let usual = all.iter().find(|file| is_usual_lora(file)).copied();
        usual.or(<[&String; 1]>::try_from(all).ok().map(|[only]| only)).cloned()
    })
}

fn is_usual_lora(file: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(stem, _)| LORAS.contains(&stem))
}

/// The files to download.
#[derive(Debug, PartialEq)]
pub(super) enum Choice {
    /// A single-file checkpoint.
    File(String),
    /// A diffusers model: the weights of each network, as one file or as shards with their index, and the configs.
    Parts(Vec<String>),
}

impl Choice {
    pub(super) fn files(&self) -> &[String] {
        match self {
            Self::File(file) => std::slice::from_ref(file),
            Self::Parts(files) => files,
        }
    }
}

/// Returns the best model among `files`: a single-file checkpoint if there is one, else a diffusers model. With `half`,
/// half precision is preferred to full.
fn choose(files: &[String], half: bool) -> Option<Choice> {
    let checkpoints = files.iter().filter(|file| is_checkpoint(file));
    let order =
        |file: &&String| (is_other_kind(file), !is_safe(file), is_half(file) != half, bulk(file), file.to_string());
    let best = checkpoints.min_by_key(order);
    best.map(|file| Choice::File(file.clone())).or_else(|| parts(files, half).map(Choice::Parts))
}

/// Returns the files of a diffusers model, if those of every network are among `files`.
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

/// Returns whether a file may be a single-file checkpoint. One named like a network of a diffusers model is not.
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

/// Ranks a file by how much data for training its name suggests, from 0 for none to 2.
fn bulk(file: &str) -> usize {
    match file.to_ascii_lowercase() {
        file if file.contains("emaonly") => 0,
        file if ["full", "nonema", "non-ema"].iter().any(|word| file.contains(word)) => 2,
        _ => 1,
    }
}

/// Whether a file is named like another kind of model, which some repositories have beside the main one.
fn is_other_kind(file: &str) -> bool {
    let file = file.to_ascii_lowercase();
    ["inpaint", "lora", "vae", "safety"].iter().any(|word| file.contains(word))
}
