//! Ctrl-C: once to stop tidily, twice to stop at once.

use crate::progress;
use anyhow::{Result, bail};
use std::fmt;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The error that unwinds a run that was asked to stop.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Makes Ctrl-C ask to stop; a second one removes the bars and ends the program.
pub fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let stop = || {
            if INTERRUPTED.swap(true, Ordering::Relaxed) {
                progress::clear();
                std::process::exit(130);
            }
        };
        // Where no handler can be set, or a host program has its own, Ctrl-C does what it did before.
        let _ = ctrlc::try_set_handler(stop);
    });
}

/// Returns whether to go on.
///
/// # Errors
/// `Interrupted`, if Ctrl-C was pressed.
pub fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!(Interrupted);
    }
    Ok(())
}
