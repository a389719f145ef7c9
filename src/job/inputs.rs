//! The pictures that images start from (`--init-img`), and their masks.

use crate::args::Args;
use crate::engine::Input;
use crate::files::sha256;
use crate::output::{self, Mask, Pattern, Picture, resized};
use crate::params::{ParamValue, SamplingParams};
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The sides of the picture that an input of the original is resized to are multiples of this.
const SIDE_STEP: usize = 32;

/// The value of `--mask` for the transparency of the input picture.
const ALPHA: &str = "alpha";

/// The extensions of pictures in a folder.
const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// The input pictures of a run, each read and checked.
#[derive(Debug)]
pub struct Inputs {
    /// The pictures by their paths as given.
    pictures: BTreeMap<String, PictureFile>,
    /// The SHA-256 of the masks by their paths as given, except those that are the transparency of pictures.
    masks: BTreeMap<String, String>,
    /// The masks that were checked: their paths and those of their pictures, their sizes (width, height), and the bits of their
    /// blurs.
    checked: BTreeSet<(String, String, (usize, usize), u64)>,
    /// If true, pictures are turned upright (`--auto_orient`).
    auto_orient: bool,
    /// If true, images have the proportions of their pictures (`--fit`).
    fit: bool,
}

/// The file of an input picture.
#[derive(Debug)]
struct PictureFile {
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
    ensure!(!paths.is_empty(), "--init-img '{path}' is a folder without PNG, JPEG or WebP files");
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
    /// Returns a run's inputs before any is read. `auto_orient`: whether they are turned upright. `fit`: whether images have their
    /// proportions.
    pub fn new(auto_orient: bool, fit: bool) -> Self {
        Self { pictures: BTreeMap::new(), masks: BTreeMap::new(), checked: BTreeSet::new(), auto_orient, fit }
    }

    /// Completes the parameters of an image by those that follow from its input picture: the strength, and the height and the
    /// width unless they are stated. `is_stated`: whether a parameter is, by its flag.
    ///
    /// # Errors
    /// If the picture or the mask cannot be read, they do not fit together, or the picture is too small or too large.
    pub fn complete(&mut self, params: &mut SamplingParams, is_stated: impl Fn(&str) -> bool) -> Result<()> {
        let Some(path) = params.init_img.clone() else {
            params.sampler.strength = None;
            return Ok(());
        };
        let default_strength = if params.outpaint.is_empty() { SamplingParams::DEFAULT_STRENGTH } else { 1. };
        params.sampler.strength.get_or_insert(default_strength);
        let PictureFile { width, height, .. } = *self.read(&path)?;
        self.complete_size(params, (width, height), is_stated)
            .with_context(|| format!("--init-img '{path}' has {width}×{height} pixels"))?;
        self.check_mask(params, &path)
    }

    /// Completes the size of an image whose input picture has `size` (width, height).
    fn complete_size(
        &self,
        params: &mut SamplingParams,
        size: (usize, usize),
        is_stated: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let borders = params.outpaint;
        let sides =
            [("H", size.1, params.height, borders.vertical()), ("W", size.0, params.width, borders.horizontal())];
        for (flag, _, whole, border) in sides {
            ensure!(
                !is_stated(flag) || whole > border,
                "--outpaint {borders} leaves no room for the picture in --{flag} {whole}"
            );
        }
        // With `--fit`, the scale of the picture.
        let scale = self.fit.then(|| {
            let stated = sides.iter().filter(|(flag, ..)| is_stated(flag));
            let scales = stated.map(|(_, side, whole, border)| whole.saturating_sub(*border) as f64 / *side as f64);
            scales.reduce(f64::min).unwrap_or(1.)
        });
        for (flag, side, _, border) in sides {
            let rounded = match scale {
                Some(scale) => ((scale * side as f64 / params.factor as f64).round() as usize).max(1) * params.factor,
                None if is_stated(flag) => continue,
                None => side - side % SIDE_STEP,
            };
            ensure!(
                rounded > 0,
                "fewer than {SIDE_STEP} on a side; give the size of the new picture with --H and --W, or --fit"
            );
            let set = params.set(flag, &ParamValue::Whole((rounded + border) as i64));
            match (scale, border) {
                (None, 0) => set?,
                (None, _) => set.with_context(|| format!("with --outpaint {borders}"))?,
                (Some(_), _) => set.context("with --fit")?,
            }
        }
        Ok(())
    }

    /// Checks that the mask of an image fits its picture, and marks a region.
    fn check_mask(&mut self, params: &SamplingParams, path: &str) -> Result<()> {
        let Some(mask) = &params.mask else { return Ok(()) };
        let size = size_within_borders(params);
        let checked = (mask.clone(), path.to_owned(), size, params.mask_blur.to_bits());
        if self.checked.contains(&checked) {
            return Ok(());
        }
        let (opened, sha256) = self.open_mask(mask, path)?;
        let picture = &self.pictures[path];
        ensure!(
            (opened.width, opened.height) == (picture.width, picture.height),
            "--mask '{mask}' has {}×{} pixels, but '{path}' has {}×{}; they must have the same size",
            opened.width,
            opened.height,
            picture.width,
            picture.height
        );
        if mask != ALPHA {
            let first = self.masks.entry(mask.clone()).or_insert_with(|| sha256.clone());
            check_unchanged("--mask", mask, Some(first), &sha256)?;
        }
        let marked = opened.resized(size.0, size.1);
        ensure!(
            marked.has_region(),
            "{}, so nothing would be redrawn",
            match mask == ALPHA {
                true => format!("--mask alpha: '{path}' is nowhere more than half transparent"),
                false => format!("--mask '{mask}' is nowhere white"),
            }
        );
        ensure!(
            marked.blurred(params.mask_blur).has_region(),
            "--mask_blur {} blurs away the whole region of --mask '{mask}'; use a smaller value",
            params.mask_blur
        );
        self.checked.insert(checked);
        Ok(())
    }

    /// Reads a picture, unless it was read before.
    fn read(&mut self, path: &str) -> Result<&PictureFile> {
        if !self.pictures.contains_key(path) {
            let (picture, sha256) = self.open(path, "--init-img")?;
            let file = PictureFile { width: picture.width, height: picture.height, sha256 };
            self.pictures.insert(path.to_owned(), file);
        }
        Ok(&self.pictures[path])
    }

    /// Returns whether pictures are turned upright.
    pub fn auto_orient(&self) -> bool {
        self.auto_orient
    }

    /// Returns whether there are no pictures.
    pub fn is_empty(&self) -> bool {
        self.pictures.is_empty()
    }

    /// Returns the SHA-256 of the file of an image's input picture.
    pub fn sha256(&self, params: &SamplingParams) -> Option<&str> {
        self.pictures.get(params.init_img.as_ref()?).map(|file| &*file.sha256)
    }

    /// Returns the SHA-256 of the file of an image's mask.
    pub fn mask_sha256(&self, params: &SamplingParams) -> Option<&str> {
        self.masks.get(params.mask.as_ref()?).map(String::as_str)
    }

    /// Returns the SHA-256 of all files, sorted.
    pub fn all_sha256(&self) -> Vec<&str> {
        let pictures = self.pictures.values().map(|file| &file.sha256);
        let mut all: Vec<&str> = pictures.chain(self.masks.values()).map(String::as_str).collect();
        all.sort_unstable();
        all
    }

    /// Returns the paths of all pictures.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &str> {
        self.pictures.keys().map(|path| &**path)
    }

    /// Returns an image's input picture and its mask, as large as the image, or `None` if it has none.
    ///
    /// # Errors
    /// If a file can no longer be read, or has changed.
    pub fn input(&self, params: &SamplingParams) -> Result<Option<Input>> {
        let Some(path) = &params.init_img else { return Ok(None) };
        let (picture, sha256) = self.open(path, "--init-img")?;
        check_unchanged("--init-img", path, self.pictures.get(path).map(|file| &file.sha256), &sha256)?;
        let borders = params.outpaint;
        let (width, height) = size_within_borders(params);
        let picture = resized(&picture, width, height).with_borders(borders);
        let mask = params.mask.as_ref().map(|mask| self.mask(mask, path, (width, height))).transpose()?;
        let mask = match mask {
            None if borders.is_empty() => None,
            mask => {
                Some(mask.unwrap_or(Mask::filled(width, height, 0)).with_borders(borders).blurred(params.mask_blur))
            }
        };
        Ok(Some(Input { picture, mask }))
    }

    /// Returns a mask of the picture at `path`, resized to `size` (width, height).
    fn mask(&self, mask: &str, path: &str, size: (usize, usize)) -> Result<Mask> {
        let (opened, sha256) = self.open_mask(mask, path)?;
        if mask != ALPHA {
            check_unchanged("--mask", mask, self.masks.get(mask), &sha256)?;
        }
        Ok(opened.resized(size.0, size.1))
    }

    /// Reads a mask of the picture at `path`, with the SHA-256 of its file.
    fn open_mask(&self, mask: &str, path: &str) -> Result<(Mask, String)> {
        if mask != ALPHA {
            let (picture, sha256) = self.open(mask, "--mask")?;
            return Ok((Mask::of_white(&picture), sha256));
        }
        let file = Path::new(path);
        let alpha = output::open_alpha(file).context("--mask alpha")?;
        let alpha = if self.auto_orient { output::upright(alpha, file)? } else { alpha };
        Ok((Mask::of_black(&alpha), String::new()))
    }

    /// Reads a picture that `flag` names, with the SHA-256 of its file.
    fn open(&self, path: &str, flag: &'static str) -> Result<(Picture, String)> {
        let file = Path::new(path);
        let read = if self.auto_orient { output::open_upright } else { output::open };
        let picture = read(file).context(flag)?;
        let sha256 = sha256::of_file(file, &|| true).context(flag)?;
        Ok((picture, sha256.unwrap_or_default()))
    }
}

/// Returns the size (width, height) of an image without its borders.
fn size_within_borders(params: &SamplingParams) -> (usize, usize) {
    let borders = params.outpaint;
    (params.width - borders.horizontal(), params.height - borders.vertical())
}

/// Checks that a file, which `flag` names, is still the one that was read first. `first`: the SHA-256 of that.
fn check_unchanged(flag: &str, path: &str, first: Option<&String>, sha256: &str) -> Result<()> {
    ensure!(
        first.is_some_and(|first| first == sha256),
        "{flag} '{path}' has changed since this run began; keep it until the run is finished"
    );
    Ok(())
}
