//! One process at a time.

use std::fs::{File, TryLockError};
use std::io;
use std::thread::sleep;
use std::time::Duration;

/// How a file is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    /// By this process alone.
    Alone,
    /// With others that share it too.
    Shared,
}

/// How long others are waited for that hold a file for a moment only.
const PATIENCE: usize = 100;
const MOMENT: Duration = Duration::from_millis(100);

/// Whether nobody else holds it.
pub fn alone(file: &File) -> io::Result<bool> {
    held(file.try_lock())
}

/// Alone, if that can be, or else, once there is something to share, with those that do; none if neither comes to be.
pub fn alone_or_shared(file: &File, can_be_shared: impl Fn() -> bool) -> io::Result<Option<Held>> {
    // Many can do without locks only if nobody else is there.
    if let Err(TryLockError::Error(error)) = file.try_lock_shared() {
        return Err(error);
    }
    file.unlock()?;
    for _ in 0..PATIENCE {
        if alone(file)? {
            return Ok(Some(Held::Alone));
        }
        // Others that start at this moment, and look whether there are locks, keep it from being held alone: if all were
        // content to share then, none would begin.
        if can_be_shared() && held(file.try_lock_shared())? {
            return Ok(Some(Held::Shared));
        }
        sleep(MOMENT);
    }
    Ok(None)
}

/// From held alone to shared; false if another took it in between, and keeps it.
pub fn share(file: &File) -> io::Result<bool> {
    file.unlock()?;
    for _ in 0..PATIENCE {
        if held(file.try_lock_shared())? {
            return Ok(true);
        }
        sleep(MOMENT);
    }
    Ok(false)
}

fn held(lock: Result<(), TryLockError>) -> io::Result<bool> {
    match lock {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        // A file system without locks has nobody to ask.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
