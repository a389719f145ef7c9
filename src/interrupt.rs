//! Ctrl-C: the first stops the run cleanly, the second ends the process at once.

use crate::progress;
use anyhow::{Result, bail};
use std::fmt;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The error of a run that was stopped by Ctrl-C.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Installs the Ctrl-C handler, once per process. A second Ctrl-C removes the bars and ends the program.
pub fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let stop = || {
            if INTERRUPTED.swap(true, Ordering::Relaxed) {
                progress::clear();
                std::process::exit(130);
            }
        };
        // If no handler can be set, or a host program has its own, Ctrl-C keeps its behaviour.
        let _ = ctrlc::try_set_handler(stop);
    });
}

/// Checks for Ctrl-C.
///
/// # Errors
/// `Interrupted` if Ctrl-C was pressed.
pub fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!(Interrupted);
    }
    Ok(())
}
