//! `--show` and `--open`: displaying what a run wrote, in the terminal or by another program.

mod protocol;
#[cfg(unix)]
mod sixel_query;

use crate::output;
use crate::progress::Progress;
use anyhow::Result;
use protocol::{Protocol, Screen};
use std::io::{IsTerminal, Write, stdout};
use std::path::Path;

/// Displays a picture in the terminal: as pixels with the protocols of kitty and iTerm2 or as sixels, in other terminals as coloured
/// blocks. If that fails, prints a note.
pub fn show(picture: &Path, progress: &Progress) {
    if !stdout().is_terminal() {
        return progress.note("--show has no effect, because standard output is not a terminal");
    }
    if let Err(error) = print(picture) {
        progress.note(&format!("'{}' cannot be shown ({error:#})", picture.display()));
    }
}

fn print(picture: &Path) -> Result<()> {
    let picture = output::open(picture)?;
    let protocol = Protocol::detect(&|name| std::env::var(name).ok(), has_sixel);
    let text = protocol.encode(&picture, Screen::of_terminal())?;
    stdout().write_all(&[&text, &b"\n"[..]].concat())?;
    Ok(())
}

/// Whether the terminal says that it displays sixels.
fn has_sixel() -> bool {
    #[cfg(unix)]
    return sixel_query::has_sixel();
    #[cfg(not(unix))]
    false
}

/// Opens a file with the program that the desktop has for its kind. If that fails, prints a note.
pub fn open(file: &Path, progress: &Progress) {
    if let Err(error) = opener::open(file) {
        progress.note(&format!("'{}' cannot be opened ({error})", file.display()));
    }
}
