//! The pictures that images start from (`--init-img`).

use crate::files::sha256;
use crate::output::{self, Picture, resized};
use crate::params::{ParamValue, SamplingParams};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;

/// The sides of the picture that an input of the original is resized to are multiples of this.
const SIDE_STEP: usize = 32;

/// The input pictures of a run, each read and checked, by their paths as given.
#[derive(Default, Debug)]
pub struct Inputs(BTreeMap<String, Input>);

/// An input picture.
#[derive(Debug)]
struct Input {
    width: usize,
    height: usize,
    sha256: String,
}

impl Inputs {
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
                "--init-img '{path}' has {width}×{height} pixels, and is drawn in multiples of {SIDE_STEP}; give --H and --W"
            );
            let set = params.set(flag, &ParamValue::Whole(rounded as i64));
            set.with_context(|| format!("--init-img '{path}' has {width}×{height} pixels"))?;
        }
        Ok(())
    }

    /// Reads a picture, unless it was read before.
    fn read(&mut self, path: &str) -> Result<&Input> {
        if !self.0.contains_key(path) {
            let (picture, sha256) = open(path)?;
            self.0.insert(path.to_owned(), Input { width: picture.width, height: picture.height, sha256 });
        }
        Ok(&self.0[path])
    }

    /// Returns whether there are no pictures.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the SHA-256 of the file of an image's input picture.
    pub fn sha256(&self, params: &SamplingParams) -> Option<&str> {
        self.0.get(params.init_img.as_ref()?).map(|input| &*input.sha256)
    }

    /// Returns the SHA-256 of all files, by path.
    pub fn all_sha256(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, input)| (&**path, &*input.sha256))
    }

    /// Returns an image's input picture, as large as the image, or `None` if it has none.
    ///
    /// # Errors
    /// If the file can no longer be read, or has changed.
    pub fn picture(&self, params: &SamplingParams) -> Result<Option<Picture>> {
        let Some(path) = &params.init_img else { return Ok(None) };
        let (picture, sha256) = open(path)?;
        ensure!(
            self.0.get(path).is_some_and(|input| input.sha256 == sha256),
            "--init-img '{path}' has changed since this run began; keep it until the run is finished"
        );
        Ok(Some(resized(&picture, params.width, params.height).into_owned()))
    }
}

/// Reads a picture, with the SHA-256 of its file.
fn open(path: &str) -> Result<(Picture, String)> {
    let reading = || "--init-img";
    let file = Path::new(path);
    let picture = output::open(file).with_context(reading)?;
    let sha256 = sha256::of_file(file, &|| true).with_context(reading)?;
    Ok((picture, sha256.unwrap_or_default()))
}
