//! The pictures that images start from (`--init-img`).

use crate::args::Args;
use crate::files::sha256;
use crate::output::{self, Pattern, Picture, resized};
use crate::params::{ParamValue, SamplingParams};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The sides of the picture that an input of the original is resized to are multiples of this.
const SIDE_STEP: usize = 32;

/// The extensions of pictures in a folder.
const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// The input pictures of a run, each read and checked.
#[derive(Debug)]
pub struct Inputs {
    /// The pictures by their paths as given.
    all: BTreeMap<String, Input>,
    /// If true, pictures are turned upright (`--auto_orient`).
    auto_orient: bool,
}

/// An input picture.
#[derive(Debug)]
struct Input {
    width: usize,
    height: usize,
    sha256: String,
}

/// Returns the paths that `--init-img` stands for: the given one, or the pictures in that folder.
///
/// # Errors
/// If the folder cannot be read, or contains no pictures.
pub fn paths(path: &str) -> Result<Vec<String>> {
    if !Path::new(path).is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let reading = || format!("--init-img '{path}'");
    let is_picture = |path: &Path| {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        path.is_file() && extension.is_some_and(|extension| EXTENSIONS.contains(&&*extension))
    };
    let mut paths = vec![];
    for entry in fs::read_dir(path).with_context(reading)? {
        let file = entry.with_context(reading)?.path();
        if is_picture(&file) {
            let name = file.to_str().with_context(|| format!("the name of '{}' is not UTF-8", file.display()))?;
            paths.push(name.to_owned());
        }
    }
    ensure!(!paths.is_empty(), "--init-img '{path}' is a folder without PNG, JPEG and WebP files");
    paths.sort();
    Ok(paths)
}

/// Returns the pattern of file names for pictures that start from those in a folder, so that their names contain those of
/// their inputs.
pub fn pattern(args: &Args) -> Option<Pattern> {
    let is_folder = args.sampling.init_img.as_ref().is_some_and(|path| Path::new(path).is_dir());
    is_folder.then(|| Pattern::parse("{index}-{init_img}").ok()).flatten()
}

impl Inputs {
    /// Returns a run's inputs before any is read. `auto_orient`: whether they are turned upright.
    pub fn new(auto_orient: bool) -> Self {
        Self { all: BTreeMap::new(), auto_orient }
    }

    /// Completes the parameters of an image by those that follow from its input picture: the strength, and the height and the
    /// width unless they are stated. `is_stated`: whether a parameter is, by its flag.
    ///
    /// # Errors
    /// If the picture cannot be read, or is too small or too large.
    pub fn complete(&mut self, params: &mut SamplingParams, is_stated: impl Fn(&str) -> bool) -> Result<()> {
        let Some(path) = params.init_img.clone() else {
            params.sampler.strength = None;
            return Ok(());
        };
        params.sampler.strength.get_or_insert(SamplingParams::DEFAULT_STRENGTH);
        let Input { width, height, .. } = *self.read(&path)?;
        for (flag, side) in [("H", height), ("W", width)].into_iter().filter(|(flag, _)| !is_stated(flag)) {
            let rounded = side - side % SIDE_STEP;
            ensure!(
                rounded > 0,
                "--init-img '{path}' has {width}×{height} pixels, fewer than {SIDE_STEP} on a side; give the size of the new picture with \
                 --H and --W"
            );
            let set = params.set(flag, &ParamValue::Whole(rounded as i64));
            set.with_context(|| format!("--init-img '{path}' has {width}×{height} pixels"))?;
        }
        Ok(())
    }

    /// Reads a picture, unless it was read before.
    fn read(&mut self, path: &str) -> Result<&Input> {
        if !self.all.contains_key(path) {
            let (picture, sha256) = self.open(path)?;
            self.all.insert(path.to_owned(), Input { width: picture.width, height: picture.height, sha256 });
        }
        Ok(&self.all[path])
    }

    /// Returns whether pictures are turned upright.
    pub fn auto_orient(&self) -> bool {
        self.auto_orient
    }

    /// Returns whether there are no pictures.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns the SHA-256 of the file of an image's input picture.
    pub fn sha256(&self, params: &SamplingParams) -> Option<&str> {
        self.all.get(params.init_img.as_ref()?).map(|input| &*input.sha256)
    }

    /// Returns the SHA-256 of all files, sorted.
    pub fn all_sha256(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.all.values().map(|input| &*input.sha256).collect();
        all.sort_unstable();
        all
    }

    /// Returns the paths of all pictures.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &str> {
        self.all.keys().map(|path| &**path)
    }

    /// Returns an image's input picture, as large as the image, or `None` if it has none.
    ///
    /// # Errors
    /// If the file can no longer be read, or has changed.
    pub fn picture(&self, params: &SamplingParams) -> Result<Option<Picture>> {
        let Some(path) = &params.init_img else { return Ok(None) };
        let (picture, sha256) = self.open(path)?;
        ensure!(
            self.all.get(path).is_some_and(|input| input.sha256 == sha256),
            "--init-img '{path}' has changed since this run began; keep it until the run is finished"
        );
        Ok(Some(resized(&picture, params.width, params.height).into_owned()))
    }

    /// Reads a picture, with the SHA-256 of its file.
    fn open(&self, path: &str) -> Result<(Picture, String)> {
        let (reading, file) = (|| "--init-img", Path::new(path));
        let read = if self.auto_orient { output::open_upright } else { output::open };
        let picture = read(file).with_context(reading)?;
        let sha256 = sha256::of_file(file, &|| true).with_context(reading)?;
        Ok((picture, sha256.unwrap_or_default()))
    }
}
