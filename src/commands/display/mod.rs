//! `--show` and `--open`: displaying what a run wrote, in the terminal or by another program.

mod protocol;
#[cfg(unix)]
mod sixel_query;

use crate::output;
use crate::progress::Progress;
use anstream::{AutoStream, ColorChoice};
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
    if AutoStream::choice(&stdout()) == ColorChoice::Never {
        return progress.note("--show has no effect, because the terminal has no colours, or they are turned off");
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

/// Returns whether the terminal says that it displays sixels.
fn has_sixel() -> bool {
    #[cfg(unix)]
    return sixel_query::has_sixel();
    #[cfg(not(unix))]
    false
}

/// Opens a file with the program that the desktop has for its kind. If that fails, prints a note.
pub fn open(file: &Path, progress: &Progress) {
    let has_session = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if cfg!(target_os = "linux") && !has_session {
        return progress.note("--open has no effect, because there is no desktop session here");
    }
    if let Err(error) = opener::open(file) {
        progress.note(&format!("'{}' cannot be opened ({error})", file.display()));
    }
}
