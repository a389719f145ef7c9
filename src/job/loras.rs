//! LoRAs: the files that `--lora`, prompts files and tags in prompts name.

use super::files_below::files_below;
use super::model::is_file_name;
use super::requests::Request;
use super::{Location, ModelFiles, Requests, name_of};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::hub::{Hub, OnProgress, Repo};
use crate::checkpoint::lora::{LoraFile, LoraWeights, Loras, PEFT, content_hash};
use crate::human::truncated;
use crate::output::LoraRecord;
use crate::params::{LoraChoice, SamplingParams};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The extensions of LoRA files, the more usual ones first.
const EXTENSIONS: [&str; 4] = ["safetensors", "pt", "ckpt", "bin"];

/// The starts of tags. A prompt may have any number of them. The web UI's older tag for LyCORIS files means the same.
const TAGS: [&str; 2] = ["<lora:", "<lyco:"];

/// Finds the LoRAs of all requests, by the names that these use. `dir`: the folder of `--lora_dir`. `of_flags`: the names
/// given by flags; where prompts may have tags, only these may be those of repositories on the hub.
///
/// # Errors
/// If there is no such file, or several, or the folder cannot be read.
pub fn find_all(
    requests: &Requests,
    dir: Option<&Path>,
    of_flags: &BTreeSet<String>,
) -> Result<BTreeMap<String, Location>> {
    if let Some(dir) = dir {
        let read = fs::read_dir(dir).with_context(|| format!("--lora_dir: cannot read the folder '{}'", dir.display()));
        drop(read?);
    }
    let loras = requests.params().iter().flat_map(|params| &params.loras);
    let names: BTreeSet<&String> = loras.map(|lora| &lora.name).collect();
    let files = if names.is_empty() { vec![] } else { files(dir) };
    let located = |name: &String| {
        let is_of_flag = of_flags.contains(name);
        let location = find(name, dir, &files, dir.is_none() || is_of_flag);
        let location = if is_of_flag { location } else { location.with_context(|| first_use(name, requests)) };
        Ok((name.clone(), location?))
    };
    names.into_iter().map(located).collect()
}

/// Returns the prompt that a LoRA is first used with, for errors.
fn first_use(name: &str, requests: &Requests) -> String {
    let uses = |request: &Request| request.params.loras.iter().any(|lora| lora.name == name);
    let prompt = requests.iter().find(uses).map(|request| truncated(&request.prompt, 40)).unwrap_or_default();
    format!("prompt '{prompt}'")
}

/// Finds the file of a LoRA, or the repository that may have it: `name` is a path, one of `files`, which are those in `dir`,
/// with or without its folders and its extension, or a file in the current folder without its extension, or a repository's
/// name.
fn find(name: &str, dir: Option<&Path>, files: &[PathBuf], may_download: bool) -> Result<Location> {
    let path = Path::new(name);
    if path.is_file() {
        return Ok(Location::Path(path.to_owned()));
    }
    let in_dir: Vec<&Path> = files.iter().filter_map(|file| file.strip_prefix(dir?).ok()).collect();
    let is_exact = |file: &&&Path| **file == path || file.with_extension("") == path;
    let is_named = |file: &&&Path| name_of(file) == name || file.file_name().is_some_and(|file| file == name);
    let exact: Vec<_> = in_dir.iter().filter(is_exact).collect();
    let found = if exact.is_empty() { in_dir.iter().filter(is_named).collect() } else { exact };
    if let [one, other, ..] = found[..] {
        let (one, other) = (one.display(), other.display());
        bail!("LoRA name '{name}' is ambiguous: --lora_dir contains '{one}' and '{other}'; give one of these paths");
    }
    let in_dir = dir.zip(found.first()).map(|(dir, file)| dir.join(file));
    if let Some(path) = in_dir.or_else(|| in_this_folder(name).find(|path| path.is_file())) {
        return Ok(Location::Path(path));
    }
    ensure!(!path.is_dir(), "LoRA '{name}' is a folder; give the LoRA file in it");
    match (Location::new(path), dir) {
        (location @ Location::Hub(_), _) if may_download => Ok(location),
        (_, Some(dir)) => bail!("LoRA '{name}' was not found in '{}'; check its name and --lora_dir", dir.display()),
        (_, None) => bail!("LoRA '{name}' was not found; give a file, or its folder with --lora_dir"),
    }
}

/// Returns the path of a LoRA that a flag names, or `None` if it is on a hub.
///
/// # Errors
/// As [`find_all`].
pub fn located(name: &str, dir: Option<&Path>) -> Result<Option<PathBuf>> {
    match find(name, dir, &files(dir), true)? {
        Location::Path(path) => Ok(Some(path)),
        Location::Hub(_) => Ok(None),
    }
}

/// Finds the file of a LoRA by its hash, in `dir` or the current folder.
pub fn find_by_hash(record: &LoraRecord, dir: Option<&Path>) -> Option<PathBuf> {
    let here = in_this_folder(&record.name).filter(|_| is_file_name(&record.name));
    let (named, others): (Vec<_>, Vec<_>) =
        files(dir).into_iter().chain(here).partition(|path| name_of(path) == record.name);
    let is_it = |path: &PathBuf| path.is_file() && content_hash(path).is_ok_and(|hash| hash == record.sha256);
    named.into_iter().chain(others).find(is_it)
}

/// Returns the LoRA files in a folder and its subfolders. Folders that cannot be read are left out.
fn files(dir: Option<&Path>) -> Vec<PathBuf> {
    let is_lora = |path: &PathBuf| path.extension().is_some_and(|end| EXTENSIONS.iter().any(|other| end == *other));
    dir.into_iter().flat_map(files_below).flatten().filter(is_lora).collect()
}

/// Returns the paths that a LoRA without its extension may have in the current folder.
fn in_this_folder(name: &str) -> impl Iterator<Item = PathBuf> {
    EXTENSIONS.iter().map(move |extension| PathBuf::from(format!("{name}.{extension}")))
}

/// Returns the path of a LoRA, and downloads it if it is on a hub.
///
/// # Errors
/// If it cannot be downloaded.
pub fn path(location: &Location, on_progress: OnProgress) -> Result<PathBuf> {
    location.resolved(|repo| fetch(&Hub::from_env()?, repo, on_progress))
}

/// Returns the path of a LoRA like [`path`], without downloading it.
///
/// # Errors
/// If it is neither on this machine nor in the cache.
pub fn local_path(location: &Location) -> Result<PathBuf> {
    location.resolved_offline(|hub, repo| fetch(hub, repo, &mut |_| ()))
}

/// Returns the path of a repository's LoRA in the cache, with the config beside it if PEFT wrote it.
fn fetch(hub: &Hub, repo: &Repo, on_progress: OnProgress) -> Result<PathBuf> {
    let path = hub.fetch_lora(repo, on_progress)?;
    let (peft, config) = PEFT;
    if path.file_stem().is_some_and(|stem| stem == peft) {
        hub.fetch_files(repo, &[&[config]], on_progress)?;
    }
    Ok(path)
}

/// The LoRA files of a run, by the names that its requests use.
pub struct LoraFiles(BTreeMap<String, Arc<LoraFile>>);

impl LoraFiles {
    /// Opens the LoRAs of a job, for the model of `checkpoint`. Reads no weights. `path` returns the path of a location, and
    /// may download it.
    ///
    /// # Errors
    /// If `path` fails, or a file does not fit the model.
    pub fn open(
        model: &ModelFiles,
        checkpoint: &Checkpoint,
        mut path: impl FnMut(&Location) -> Result<PathBuf>,
    ) -> Result<Self> {
        let open = |(name, location): (&String, &Location)| {
            let path = path(location)?;
            let file = LoraFile::open(&path, checkpoint, &model.config.unet);
            // The error of the file names its path.
            let file = if path == Path::new(name) { file } else { file.with_context(|| format!("LoRA '{name}'")) };
            Ok((name.clone(), Arc::new(file?)))
        };
        Ok(Self(model.loras.iter().map(open).collect::<Result<_>>()?))
    }

    /// Returns the LoRAs of a request with their weights.
    pub fn of(&self, params: &SamplingParams) -> Loras {
        let lora = |choice: &LoraChoice| {
            let weight = |weight: f64| weight * params.lora_weight;
            let weights = LoraWeights { text: weight(choice.text), unet: weight(choice.unet) };
            self.0.get(&choice.name).map(|file| (file.clone(), weights))
        };
        Loras::new(params.loras.iter().filter_map(lora))
    }

    /// Returns a summary of each file.
    pub fn summaries(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(name, file)| format!("'{name}': {}", file.summary()))
    }

    /// Returns parameters as metadata record them: with the files' names, without their folders.
    pub fn recorded(&self, params: SamplingParams) -> SamplingParams {
        let name = |name: &str| self.0.get(name).map_or(name.to_owned(), |file| name_of(file.path()));
        let loras = params.loras.iter().map(|lora| LoraChoice { name: name(&lora.name), ..lora.clone() }).collect();
        SamplingParams { loras, ..params }
    }

    /// Returns the metadata of a request's files.
    pub fn records(&self, params: &SamplingParams) -> Vec<LoraRecord> {
        let files = params.loras.iter().filter_map(|lora| self.0.get(&lora.name));
        let record = |file: &Arc<LoraFile>| LoraRecord {
            name: name_of(file.path()),
            hash: file.hash(),
            sha256: file.content_hash().to_owned(),
        };
        files.map(record).collect()
    }

    /// Returns the fingerprints of all files, which a run and its resumption must share.
    pub fn fingerprints(&self) -> Vec<String> {
        self.0.values().map(|file| file.fingerprint()).collect()
    }

    /// Computes the hashes that metadata contain, which takes a while, so that [`Self::records`] takes none.
    pub fn compute_hashes(&self) {
        self.0.values().for_each(|file| _ = file.content_hash());
    }
}

/// Returns whether a prompt may contain a tag.
pub fn has_tag(prompt: &str) -> bool {
    tags(prompt).next().is_some()
}

/// Returns whether a prompt contains a tag within the braces of wildcards.
pub fn has_tag_in_braces(prompt: &str) -> bool {
    let prompt = prompt.replace("\\{", "").replace("\\}", "");
    tags(&prompt).map(|(at, _)| &prompt[..at]).any(|before| before.matches('{').count() > before.matches('}').count())
}

/// Takes the tags `<lora:NAME:WEIGHT>` out of a prompt: returns the rest of it, and the LoRAs. A tag may have a weight for
/// the text encoder and one for the UNet, also as `te=…` and `unet=…`. Without weights, both are 1.
///
/// # Errors
/// If a weight is not a number.
pub fn without_tags(prompt: &str) -> Result<(String, Vec<LoraChoice>)> {
    let (mut text, mut rest, mut loras) = (String::new(), prompt, vec![]);
    while let Some((start, opening)) = tags(rest).next() {
        let tag = &rest[start + opening.len()..];
        let Some(end) = tag.find('>') else { break };
        text += &rest[..start];
        rest = &tag[end + 1..];
        loras.push(choice(&tag[..end]).with_context(|| format!("in the tag '{opening}{}>'", &tag[..end]))?);
    }
    Ok((text + rest, loras))
}

/// Returns the positions of the tags in a prompt, and what each begins with.
fn tags(prompt: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let opening = |at: usize| TAGS.into_iter().find(|tag| prompt[at..].starts_with(tag));
    prompt.match_indices('<').filter_map(move |(at, _)| Some((at, opening(at)?)))
}

/// Reads what is between the opening of a tag and `>`.
fn choice(tag: &str) -> Result<LoraChoice> {
    let mut arguments = tag.split(':').map(str::trim);
    let name = arguments.next().unwrap_or_default().to_owned();
    let (mut weights, mut text, mut unet) = (vec![], None, None);
    for argument in arguments {
        let (key, value) = argument.split_once('=').unwrap_or(("", argument));
        let weight = value.parse::<f64>().ok().filter(|weight| weight.is_finite());
        let weight = weight.with_context(|| format!("'{argument}' is not a weight; write a number, such as 0.8"))?;
        match key {
            "" => weights.push(weight),
            "te" => text = Some(weight),
            "unet" => unet = Some(weight),
            _ => bail!("'{key}' is neither te nor unet; write a weight for both, or te=WEIGHT:unet=WEIGHT"),
        }
    }
    ensure!(
        weights.len() <= 2,
        "there are {} weights; give at most two, the text encoder's and the UNet's",
        weights.len()
    );
    let text = text.or(weights.first().copied());
    let unet = unet.or(weights.get(1).copied()).or(text).unwrap_or(1.);
    Ok(LoraChoice { name, text: text.unwrap_or(1.), unet })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(prompt: &str) -> (String, Vec<(String, f64, f64)>) {
        let (text, loras) = without_tags(prompt).unwrap();
        (text, loras.into_iter().map(|lora| (lora.name, lora.text, lora.unet)).collect())
    }

    #[test]
    fn tags_are_cut_out_and_leave_nothing() {
        assert_eq!(parsed("a cat <lora:x:1>, b"), ("a cat , b".into(), vec![("x".into(), 1., 1.)]));
        assert_eq!(parsed("a < b, <lora:open"), ("a < b, <lora:open".into(), vec![]));
        assert_eq!(parsed("<lyco:x:1>a<lora:y>"), ("a".into(), vec![("x".into(), 1., 1.), ("y".into(), 1., 1.)]));
    }

    #[test]
    fn weights_may_be_missing_two_or_named() {
        let weights = |tag: &str| parsed(tag).1[0].clone();
        assert_eq!(weights("<lora:x>"), ("x".into(), 1., 1.));
        assert_eq!(weights("<lora:x:0.8>"), ("x".into(), 0.8, 0.8));
        assert_eq!(weights("<lora:x:0.5:1>"), ("x".into(), 0.5, 1.));
        assert_eq!(weights("<lora:x:unet=0.7>"), ("x".into(), 1., 0.7));
        assert_eq!(weights("<lora:x:te=0.2:unet=0.7>"), ("x".into(), 0.2, 0.7));
    }

    #[test]
    fn a_weight_that_is_no_number_is_an_error() {
        let error = format!("{:#}", without_tags("<lora:x:much>").unwrap_err());
        assert_eq!(error, "in the tag '<lora:x:much>': 'much' is not a weight; write a number, such as 0.8");
    }
}
