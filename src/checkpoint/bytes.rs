//! A checkpoint's bytes: a file, mapped, or a part of the program.

use std::fs::{self, File};
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;

use anyhow::{Error, Result, anyhow, ensure};
use memmap2::Mmap;

/// Where a checkpoint's bytes are.
pub(super) enum Bytes {
    /// In a file.
    Mapped(Mmap),
    /// In the program itself.
    BuiltIn(&'static [u8]),
    /// In memory, put together from others.
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file,
            Self::BuiltIn(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Bytes {
    /// Maps a file.
    #[allow(unsafe_code)]
    pub fn map(path: &Path) -> Result<Self> {
        // Asked before opening, which would wait at a pipe.
        let metadata = fs::metadata(path).map_err(unreadable)?;
        ensure!(metadata.is_file(), "is neither a file nor a folder; give the path of a checkpoint");
        ensure!(metadata.len() > 0, "is empty; download it again");
        let file = File::open(path).map_err(unreadable)?;
        // SAFETY: the map is read-only and seen as bytes, which may be anything. Should another program
        // cut the file short meanwhile, reading it ends this one, as with every program that maps weights.
        unsafe { Mmap::map(&file) }.map(Self::Mapped).map_err(unreadable)
    }

    /// Gives the memory of some bytes of a map back: each tensor is read once, and the file would fill memory beside it.
    #[allow(unsafe_code)]
    pub fn release(&self, bytes: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(file) = self {
            // SAFETY: the map is of a file and read-only, so pages that are needed again are read again, the same.
            // Should the system refuse, they stay, which does no harm.
            let _ =
                unsafe { file.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
        }
        #[cfg(not(unix))]
        let _ = bytes;
    }
}

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
