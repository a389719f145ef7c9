//! The files of a network in a folder written by diffusers or transformers: a single file or shards with an index, of
//! the default variant or another such as `fp16`, in `.safetensors` or torch's format.

use super::{Tensors, damaged, read_file, with_path};
use anyhow::{Error, Result, anyhow, bail, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The prefixes of a library's names of weights: for `.safetensors` files and for torch's.
#[derive(Clone, Copy)]
pub(super) struct Stems([&'static str; 2]);

/// The names in diffusers, for a UNet or a VAE.
pub(super) const DIFFUSERS: Stems = Stems(["diffusion_pytorch_model"; 2]);
/// The names in transformers, for a text encoder.
pub(super) const TRANSFORMERS: Stems = Stems(["model", "pytorch_model"]);

/// The file extensions of the formats, in the order of `Stems`.
const FORMATS: [&str; 2] = ["safetensors", "bin"];

/// The variants in order of preference. The empty name stands for full precision. Unknown variants come after these.
const VARIANTS: [&str; 4] = ["", "fp32", "fp16", "bf16"];

/// The variant of last resort: weights for training, which are not meant for inference.
const NON_EMA: &str = "non_ema";

/// The largest index to read, in bytes. Those of the largest models have less than one MiB.
const MAX_INDEX: u64 = 16 << 20;

/// The maximum number of missing shards that an error names.
const MAX_NAMED: usize = 3;

/// The parts of a file's name.
struct Named<'a> {
    name: &'a str,
    stem: &'static str,
    variant: &'a str,
    format: &'static str,
    /// Whether the file is the index of shards.
    is_index: bool,
}

impl Stems {
    /// Returns the preferred name of a file.
    pub fn first(self) -> String {
        format!("{}.{}", self.0[0], FORMATS[0])
    }

    /// Returns the best complete set of weights among `files`: a single file, or shards and their index. With `half`,
    /// half precision is preferred to full.
    pub fn choose(self, files: &[&str], half: bool) -> Option<Vec<String>> {
        let sets = self.candidates(files, half).into_iter();
        sets.filter_map(|candidate| candidate.set(files)).next()
    }

    /// Returns whether a file is named like a single network's, and so cannot be a whole model.
    pub fn is_part(self, file: &str) -> bool {
        let is_usual = |named: &Named| named.variant == NON_EMA || VARIANTS.contains(&named.variant);
        let is_shard = || self.0.iter().any(|stem| file.strip_prefix(stem).is_some_and(|rest| rest.contains("-of-")));
        self.parse(file).as_ref().is_some_and(is_usual) || is_shard()
    }

    /// Parses the names of weights and indices among `files`, best first.
    fn candidates<'a>(self, files: &[&'a str], half: bool) -> Vec<Named<'a>> {
        let mut candidates: Vec<Named> = files.iter().filter_map(|file| self.parse(file)).collect();
        candidates.sort_by_key(|named| (named.rank(half), named.name));
        candidates
    }

    /// Parses `STEM[.VARIANT].FORMAT`, or the name of an index, which has `.index` and `.json` in addition. Libraries
    /// put the variant in different places.
    fn parse(self, name: &str) -> Option<Named<'_>> {
        let (stem, format, mut words) = self.0.into_iter().zip(FORMATS).find_map(|(stem, format)| {
            let words: Vec<&str> = name.strip_prefix(stem)?.strip_prefix('.')?.split('.').collect();
            words.contains(&format).then_some((stem, format, words))
        })?;
        let is_index = words.last() == Some(&"json") && words.contains(&"index");
        let last = if is_index { "json" } else { format };
        (words.last() == Some(&last)).then_some(())?;
        words.retain(|word| *word != format && !(is_index && ["index", "json"].contains(word)));
        let variant = match words[..] {
            [] => "",
            [variant] if !variant.is_empty() && !variant.contains("-of-") => variant,
            _ => return None,
        };
        Some(Named { name, stem, variant, format, is_index })
    }
}

impl Named<'_> {
    /// Returns the rank of a candidate; smaller is better.
    fn rank(&self, half: bool) -> (bool, usize, bool, bool) {
        let is_torch = self.format != FORMATS[0];
        let usual = VARIANTS.iter().position(|variant| *variant == self.variant);
        let precision = usual.unwrap_or(VARIANTS.len() + usize::from(self.variant == NON_EMA));
        if half {
            let is_half = ["fp16", "bf16"].contains(&self.variant);
            return (is_torch, if is_half { 0 } else { 1 + precision }, self.variant == "bf16", self.is_index);
        }
        (false, precision, is_torch, self.is_index)
    }

    /// Returns the file, or the index and its shards; `None` if a shard is not among `files`.
    fn set(&self, files: &[&str]) -> Option<Vec<String>> {
        if !self.is_index {
            return Some(vec![self.name.to_string()]);
        }
        let mut sets: BTreeMap<usize, BTreeMap<usize, &str>> = BTreeMap::new();
        for file in files {
            if let Some((number, count)) = self.shard(file) {
                sets.entry(count).or_default().insert(number, file);
            }
        }
        let (_, shards) = sets.into_iter().find(|(count, shards)| shards.keys().copied().eq(1..=*count))?;
        let names = shards.into_values().chain([self.name]);
        Some(names.map(str::to_string).collect())
    }

    /// Parses number and count of `STEM-NUMBER-of-COUNT.FORMAT`, which has the variant before or after the numbers.
    fn shard(&self, file: &str) -> Option<(usize, usize)> {
        let rest = file.strip_prefix(self.stem)?.strip_suffix(self.format)?.strip_suffix('.')?;
        let variant = format!(".{}", self.variant);
        let numbers = match self.variant {
            "" => rest,
            _ => rest.strip_prefix(&variant).or_else(|| rest.strip_suffix(&variant))?,
        };
        let (number, count) = numbers.strip_prefix('-')?.split_once("-of-")?;
        Some((number.parse().ok()?, count.parse().ok()?))
    }
}

/// The files of a network's weights.
pub(super) struct Part {
    folder: PathBuf,
    /// The names of the weight files.
    names: Vec<String>,
    /// The index, if the weights are in shards.
    index: Option<Index>,
}

/// The index of shards.
struct Index {
    path: PathBuf,
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

impl Part {
    /// Finds the best weights in a folder. Returns `None` if no file is named like weights.
    ///
    /// # Errors
    /// If there are only indices, and they are damaged or shards are missing.
    pub fn find(folder: &Path, stems: Stems) -> Result<Option<Self>> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.path().is_file());
        let names: Vec<String> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut failed = None;
        for named in stems.candidates(&names, false) {
            match Self::open(folder, &named) {
                Ok(part) => return Ok(Some(part)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Reads the index, if `named` is one.
    fn open(folder: &Path, named: &Named) -> Result<Self> {
        let folder = folder.to_path_buf();
        if !named.is_index {
            return Ok(Self { folder, names: vec![named.name.to_string()], index: None });
        }
        let path = folder.join(named.name);
        let (names, weight_map) = shards(&folder, &path).map_err(|e| with_path(&path, e))?;
        Ok(Self { folder, names, index: Some(Index { path, weight_map }) })
    }

    /// The names of the weight files within their folder.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The paths of the weight files.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.names.iter().map(|name| self.folder.join(name))
    }

    /// The path of the weights, or of the index of shards.
    pub fn path(&self) -> PathBuf {
        match &self.index {
            Some(index) => index.path.clone(),
            None => self.files().next().unwrap_or_default(),
        }
    }

    /// Reads all tensors, under the names in the files.
    ///
    /// # Errors
    /// If a file cannot be read, or lacks a tensor that the index lists.
    pub fn read_tensors(&self) -> Result<Tensors> {
        let mut tensors = Tensors::new();
        for (name, path) in self.names.iter().zip(self.files()) {
            let mut shard = read_file(&path)?;
            if let Some(index) = &self.index {
                shard.retain(|tensor, _| index.weight_map.get(tensor) == Some(name));
            }
            tensors.extend(shard);
        }
        let Some(index) = &self.index else { return Ok(tensors) };
        match index.weight_map.iter().find(|(tensor, _)| !tensors.contains_key(*tensor)) {
            Some((tensor, file)) => {
                let missing = anyhow!("expects tensor '{tensor}' in '{file}', which lacks it; download both again");
                Err(with_path(&index.path, missing))
            }
            None => Ok(tensors),
        }
    }
}

/// The contents of an index.
#[derive(Deserialize)]
struct IndexFile {
    weight_map: BTreeMap<String, String>,
}

/// Reads an index. Returns its files, and the file of each tensor.
fn shards(folder: &Path, index: &Path) -> Result<(Vec<String>, BTreeMap<String, String>)> {
    let unreadable = |e: std::io::Error| anyhow!("cannot be read: {e}");
    ensure!(fs::metadata(index).map_err(unreadable)?.len() <= MAX_INDEX, "is too large for an index of shards");
    let text = fs::read(index).map_err(unreadable)?;
    let IndexFile { weight_map } =
        serde_json::from_slice(&text).map_err(|e| damaged(format!("not a valid index: {e}")))?;
    let names: BTreeSet<&String> = weight_map.values().collect();
    ensure!(!names.is_empty(), damaged("it names no files"));
    if let Some(name) = names.iter().find(|name| !is_plain(name)) {
        bail!("names '{name}', which is not a file in its folder; download the model again");
    }
    let mut missing = names.iter().filter(|name| !folder.join(name).is_file());
    if let Some(first) = missing.next() {
        return Err(missing_shards(first, missing.map(|name| name.as_str()).collect()));
    }
    Ok((names.into_iter().cloned().collect(), weight_map))
}

fn missing_shards(first: &str, others: Vec<&str>) -> Error {
    let named: Vec<String> = [first].iter().chain(&others).take(MAX_NAMED).map(|name| format!("'{name}'")).collect();
    let more = if others.len() < MAX_NAMED { "" } else { ", …" };
    anyhow!("lists shards that are missing: {}{more}; download them too", named.join(", "))
}

/// Returns whether a name is that of a file in the same folder, on any operating system.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let is_one =
        matches!((components.next(), components.next()), (Some(Component::Normal(part)), None) if part == name);
    is_one && !name.contains(['/', '\\', ':']) && !name.contains(char::is_control)
}
