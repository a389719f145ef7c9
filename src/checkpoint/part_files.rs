//! The files of one network, in a folder that diffusers or transformers wrote: a single file or shards with an index, of
//! the model itself or of a variant such as `fp16`, in `.safetensors` or torch's own format.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Error, Result, anyhow, bail, ensure};
use serde::Deserialize;

use super::{Tensors, about, damaged, read_file};

/// How a library names weights: the beginning of the names of `.safetensors` files and of torch's.
#[derive(Clone, Copy)]
pub(super) struct Stems([&'static str; 2]);

/// The names that diffusers gives, to a UNet or a VAE.
pub(super) const DIFFUSERS: Stems = Stems(["diffusion_pytorch_model"; 2]);
/// The names that transformers gives, to a text encoder.
pub(super) const TRANSFORMERS: Stems = Stems(["model", "pytorch_model"]);

const FORMATS: [&str; 2] = ["safetensors", "bin"];

/// Variants in the order in which they are preferred; none is full precision, any other comes last but for `non_ema`,
/// the weights that are not meant for drawing.
const VARIANTS: [&str; 4] = ["", "fp32", "fp16", "bf16"];
const NON_EMA: &str = "non_ema";

/// An index of more bytes lists more than tensors; those of the largest models have less than one MiB.
const MAX_INDEX: u64 = 16 << 20;

/// Missing shards that an error names.
const MAX_NAMED: usize = 3;

/// What a file's name says of it.
struct Named<'a> {
    name: &'a str,
    stem: &'static str,
    variant: &'a str,
    format: &'static str,
    /// Whether it is not weights but the index of shards.
    is_index: bool,
}

impl Stems {
    /// The file that is looked for first.
    pub fn first(self) -> String {
        format!("{}.{}", self.0[0], FORMATS[0])
    }

    /// The names among `files` that are needed to read one set of weights, the index of shards among them: the best of
    /// the sets that are complete. With `half`, half precision is better than full.
    pub fn choose(self, files: &[&str], half: bool) -> Option<Vec<String>> {
        let sets = self.candidates(files, half).into_iter();
        sets.filter_map(|candidate| candidate.set(files)).next()
    }

    /// Whether a file is a network's, by its name, and cannot be a whole model.
    pub fn is_part(self, file: &str) -> bool {
        let is_usual = |named: &Named| named.variant == NON_EMA || VARIANTS.contains(&named.variant);
        let is_shard = || self.0.iter().any(|stem| file.strip_prefix(stem).is_some_and(|rest| rest.contains("-of-")));
        self.parse(file).as_ref().is_some_and(is_usual) || is_shard()
    }

    fn candidates<'a>(self, files: &[&'a str], half: bool) -> Vec<Named<'a>> {
        let mut candidates: Vec<Named> = files.iter().filter_map(|file| self.parse(file)).collect();
        candidates.sort_by_key(|named| (named.rank(half), named.name));
        candidates
    }

    /// STEM[.VARIANT].FORMAT, or the same with `.index` and `.json`: libraries put the variant in different places.
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
    /// Smaller is better.
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

    /// The file, or the index and its shards if all of them are among `files`.
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

    /// Number and count of STEM-NUMBER-of-COUNT.FORMAT, with the variant somewhere in it.
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

/// The weights of one network.
pub(super) struct Part {
    folder: PathBuf,
    /// Names of the files that hold the weights.
    names: Vec<String>,
    /// Of several files.
    index: Option<Index>,
}

struct Index {
    path: PathBuf,
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

impl Part {
    /// Finds the best weights in a folder; none if no file is named like weights.
    ///
    /// # Errors
    /// When there are only indices, and shards of theirs are missing.
    pub fn find(folder: &Path, stems: Stems) -> Result<Option<Self>> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.path().is_file());
        let names: Vec<String> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut failed = None;
        for named in stems.candidates(&names, false) {
            match Self::of(folder, &named) {
                Ok(part) => return Ok(Some(part)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    fn of(folder: &Path, named: &Named) -> Result<Self> {
        let folder = folder.to_path_buf();
        if !named.is_index {
            return Ok(Self { folder, names: vec![named.name.to_string()], index: None });
        }
        let path = folder.join(named.name);
        let (names, weight_map) = shards(&folder, &path).map_err(|e| about(&path, e))?;
        Ok(Self { folder, names, index: Some(Index { path, weight_map }) })
    }

    /// The names of the files that hold the weights, within their folder.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The paths of the files that hold the weights.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.names.iter().map(|name| self.folder.join(name))
    }

    /// The file with the weights, or the index of several.
    pub fn path(&self) -> PathBuf {
        match &self.index {
            Some(index) => index.path.clone(),
            None => self.files().next().unwrap_or_default(),
        }
    }

    /// Reads all tensors, under the names they have in the files.
    pub fn read(&self) -> Result<Tensors> {
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
                let lacking = anyhow!("expects tensor '{tensor}' in '{file}', which lacks it; download both again");
                Err(about(&index.path, lacking))
            }
            None => Ok(tensors),
        }
    }
}

#[derive(Deserialize)]
struct IndexFile {
    weight_map: BTreeMap<String, String>,
}

/// The files that an index names, and which tensor is in which.
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
        return Err(lacks_shards(first, missing.map(|name| name.as_str()).collect()));
    }
    Ok((names.into_iter().cloned().collect(), weight_map))
}

fn lacks_shards(first: &str, others: Vec<&str>) -> Error {
    let named: Vec<String> = [first].iter().chain(&others).take(MAX_NAMED).map(|name| format!("'{name}'")).collect();
    let more = if others.len() < MAX_NAMED { "" } else { ", …" };
    anyhow!("names shards that are missing beside it: {}{more}; download them too", named.join(", "))
}

/// Whether a name leads to a file in the same folder, on any system.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let is_one =
        matches!((components.next(), components.next()), (Some(Component::Normal(part)), None) if part == name);
    is_one && !name.contains(['/', '\\', ':']) && !name.contains(char::is_control)
}
