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

/// Locks a file exclusively; returns whether that succeeds, or the file system has no locks.
pub fn alone(file: &File) -> bool {
    held(file.try_lock())
}

/// Locks a file exclusively, or, once `can_be_shared`, shared with others; `None` if neither succeeds in time.
///
/// # Errors
/// When the file system has no locks: several processes cannot do without.
pub fn alone_or_shared(file: &File, can_be_shared: impl Fn() -> bool) -> io::Result<Option<Held>> {
    if let Err(TryLockError::Error(error)) = file.try_lock_shared() {
        return Err(error);
    }
    file.unlock()?;
    for _ in 0..PATIENCE {
        if alone(file) {
            return Ok(Some(Held::Alone));
        }
        // Others that start at this moment, and look whether there are locks, keep it from being held alone: if all were
        // content to share then, none would begin.
        if can_be_shared() && held(file.try_lock_shared()) {
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
        if held(file.try_lock_shared()) {
            return Ok(true);
        }
        sleep(MOMENT);
    }
    Ok(false)
}

/// Whether an attempt to lock got the lock, or failed because the file system has none: flock(2) then gives ENOSYS,
/// EOPNOTSUPP, EINVAL, or on NFS also ENOLCK or EBADF.
fn held(lock: Result<(), TryLockError>) -> bool {
    !matches!(lock, Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lock_of_another_process_is_in_the_way() {
        for error in [libc::ENOLCK, libc::EINVAL, libc::EBADF, libc::ENOSYS, libc::EOPNOTSUPP] {
            assert!(held(Err(TryLockError::Error(io::Error::from_raw_os_error(error)))));
        }
        assert!(held(Ok(())));
        assert!(!held(Err(TryLockError::WouldBlock)));
    }
}
