//! Numbered and named files: none is overwritten, each appears whole or not at all.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::{Builder, NamedTempFile};

use super::{Format, Named, Pattern, Picture, names};

/// How the names of unfinished files begin.
const UNFINISHED: &str = ".txt2img-";

/// `FOLDER/PREFIX00000.png`, `FOLDER/PREFIX00001.png`, …
pub struct Series {
    pub folder: PathBuf,
    pub prefix: &'static str,
    pub digits: usize,
    /// "png", or what else is in the files.
    pub extension: &'static str,
    pub next: usize,
}

impl Series {
    /// Writes the picture under the next number that is free.
    pub fn save(&mut self, picture: &Picture) -> Result<PathBuf> {
        self.save_as(png(picture)?)
    }

    /// Has a file written that gets the next number that is free.
    pub fn save_as(&mut self, write: impl FnOnce(&mut File) -> Result<()>) -> Result<PathBuf> {
        let (path, n_taken) = save(&self.folder, |n_taken| self.numbered(self.next + n_taken), write)?;
        self.next += n_taken + 1;
        Ok(path)
    }

    /// Has a file written that is named by a pattern.
    pub fn save_named(
        &mut self,
        write: impl FnOnce(&mut File) -> Result<()>,
        pattern: &Pattern,
        named: &Named,
    ) -> Result<PathBuf> {
        let path = save_alone(&self.folder, &pattern.name(self.next, named), self.extension, write)?;
        self.next += 1;
        Ok(path)
    }

    /// The name that the file after `n` others would get, if nobody else writes any.
    pub fn nth(&self, n: usize) -> Result<PathBuf> {
        let mut taken: Vec<usize> = names(&self.folder)?.iter().filter_map(|name| self.number(name)).collect();
        taken.sort_unstable();
        let mut number = self.next + n;
        for taken in taken.into_iter().filter(|&taken| taken >= self.next) {
            number += usize::from(taken <= number);
        }
        Ok(self.folder.join(self.numbered(number)))
    }

    /// Of a name of this series.
    fn number(&self, name: &OsStr) -> Option<usize> {
        let digits = name.to_str()?.strip_prefix(self.prefix)?.strip_suffix(self.extension)?.strip_suffix('.')?;
        let number = digits.parse().ok()?;
        (*self.numbered(number) == *name).then_some(number)
    }

    fn numbered(&self, number: usize) -> String {
        let Self { prefix, digits, extension, .. } = self;
        format!("{prefix}{number:0digits$}.{extension}")
    }
}

/// Has `FOLDER/NAME.EXTENSION` written, or `FOLDER/NAME-2.EXTENSION` if there is one, or `-3`, …
pub fn save_alone(
    folder: &Path,
    name: &str,
    extension: &str,
    write: impl FnOnce(&mut File) -> Result<()>,
) -> Result<PathBuf> {
    let name = |n_taken| match n_taken {
        0 => format!("{name}.{extension}"),
        _ => format!("{name}-{}.{extension}", n_taken + 1),
    };
    Ok(save(folder, name, write)?.0)
}

/// What writes a picture's bytes.
pub fn png(picture: &Picture) -> Result<impl FnOnce(&mut File) -> Result<()> + use<>> {
    let png = Format::Png.encode(picture, None)?;
    Ok(move |file: &mut File| Ok(file.write_all(&png)?))
}

/// Has a file written under the first free name, and says how many were taken; `name` is told how many are so far.
fn save(
    folder: &Path,
    name: impl Fn(usize) -> String,
    write: impl FnOnce(&mut File) -> Result<()>,
) -> Result<(PathBuf, usize)> {
    let cannot = || format!("cannot write '{}'", folder.join(name(0)).display());
    let mut file = unfinished(folder).with_context(cannot)?;
    write(file.as_file_mut()).with_context(cannot)?;
    put(file, |n_taken| folder.join(name(n_taken))).with_context(cannot)
}

fn put(mut file: NamedTempFile, path: impl Fn(usize) -> PathBuf) -> io::Result<(PathBuf, usize)> {
    let mut n_taken = 0;
    loop {
        let path = path(n_taken);
        match file.persist_noclobber(&path) {
            Ok(_) => return Ok((path, n_taken)),
            Err(taken) if taken.error.kind() == ErrorKind::AlreadyExists => file = taken.file,
            Err(failed) => return Err(failed.error),
        }
        n_taken += 1;
    }
}

/// A new file that vanishes unless it is persisted.
///
/// # Errors
/// When none can be made in the folder.
pub fn unfinished(folder: &Path) -> io::Result<NamedTempFile> {
    // Opened here for the ordinary permissions: tempfile's own are for one user alone.
    Builder::new().prefix(UNFINISHED).make_in(folder, |path| File::create_new(path))
}

pub fn is_unfinished(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
}
