//! The bytes of a checkpoint: a memory-mapped file or a part of the program.

use anyhow::{Error, Result, anyhow, ensure};
use memmap2::Mmap;
use std::fs::{self, File};
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;

/// The bytes of a checkpoint.
pub(super) enum Bytes {
    /// A memory-mapped file.
    Mapped(Mmap),
    /// A part of the program.
    BuiltIn(&'static [u8]),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file,
            Self::BuiltIn(bytes) => bytes,
        }
    }
}

impl Bytes {
    /// Maps a file into memory.
    ///
    /// # Errors
    /// If there is no file at `path`, or it is empty or unreadable.
    #[allow(unsafe_code)]
    pub fn map(path: &Path) -> Result<Self> {
        // Checked before opening, which would block on a pipe.
        let metadata = fs::metadata(path).map_err(unreadable)?;
        ensure!(metadata.is_file(), "is neither a file nor a folder; give the path of a checkpoint");
        ensure!(metadata.len() > 0, "is empty; download it again");
        let file = File::open(path).map_err(unreadable)?;
        // SAFETY: the map is read-only and used as bytes, for which every value is valid. If another program truncates
        // the file meanwhile, reading it ends the process, as in every program that maps weights.
        unsafe { Mmap::map(&file) }.map(Self::Mapped).map_err(unreadable)
    }

    /// Frees the memory of a range of a mapped file. Each tensor is read once, so its pages are not needed again.
    #[allow(unsafe_code)]
    pub fn release(&self, bytes: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(file) = self {
            // SAFETY: the map is read-only and backed by a file, so pages that are used again are read again,
            // unchanged. If the system refuses, they stay in memory, which does no harm.
            let _ =
                unsafe { file.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
        }
        #[cfg(not(unix))]
        let _ = bytes;
    }
}

/// Returns the error of a file that cannot be read, with the remedy.
fn unreadable(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            anyhow!("does not exist; check the path")
        }
        io::ErrorKind::PermissionDenied => {
            anyhow!("cannot be read: permission denied; make it readable with chmod +r")
        }
        _ => anyhow!("cannot be read: {error}"),
    }
}
