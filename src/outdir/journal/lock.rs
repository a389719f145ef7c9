//! Locks on journals, by which several processes share an OUTDIR without writing the same file.
//!
//! A process that draws a whole run holds `run.jsonl` exclusively from start to end, so that any second process is
//! refused. Shards hold it shared, which excludes processes that draw everything or check the run, and each holds its
//! own `run-I-of-N.jsonl` exclusively, which excludes a second process for the same shard. Only the holder of an
//! exclusive lock writes to a file; the shard that locks `run.jsonl` first takes it exclusively to write the run's
//! header, then changes to a shared lock.
//!
//! The locks are advisory, those of [`File::lock`]: they bind other processes of this program only, on all machines that
//! mount the file system if it supports that. The system releases them when a process ends, however it ends, so that
//! none is left behind. On a file system without locks a run goes on unprotected, with a note; shards are refused.

use std::fs::{File, TryLockError};
use std::io;
use std::thread::sleep;
use std::time::Duration;

/// A lock on a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lock {
    /// No other process has a lock.
    Exclusive,
    /// Other processes may have shared locks.
    Shared,
}

/// The number of attempts to lock a file that others lock only for a moment.
const ATTEMPTS: usize = 100;
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Tries once to lock a file exclusively. Returns whether it is locked now, or the file system has no locks.
pub fn exclusive(file: &File) -> bool {
    is_held(file.try_lock())
}

/// Takes an exclusive lock or, once `can_be_shared`, a shared one. Returns `None` if neither succeeds in about 10 seconds.
///
/// # Errors
/// If the file system has no locks, without which several processes are not safe.
pub fn exclusive_or_shared(file: &File, can_be_shared: impl Fn() -> bool) -> io::Result<Option<Lock>> {
    if let Err(TryLockError::Error(error)) = file.try_lock_shared() {
        return Err(error);
    }
    file.unlock()?;
    for _ in 0..ATTEMPTS {
        if exclusive(file) {
            return Ok(Some(Lock::Exclusive));
        }
        // The lock above, of a process that starts at the same moment, can be what prevents the exclusive one. If all
        // then took a shared lock, none would write the header.
        if can_be_shared() && is_held(file.try_lock_shared()) {
            return Ok(Some(Lock::Shared));
        }
        sleep(PAUSE);
    }
    Ok(None)
}

/// Changes an exclusive lock to a shared one. Between the two the file is unlocked for a moment: returns `false` if
/// another process then took it exclusively and keeps it for about 10 seconds.
///
/// # Errors
/// If the file cannot be unlocked.
pub fn downgrade(file: &File) -> io::Result<bool> {
    file.unlock()?;
    for _ in 0..ATTEMPTS {
        if is_held(file.try_lock_shared()) {
            return Ok(true);
        }
        sleep(PAUSE);
    }
    Ok(false)
}

/// Whether an attempt to lock succeeded, or failed because the file system has no locks: flock(2) then returns ENOSYS,
/// EOPNOTSUPP, EINVAL, or on NFS also ENOLCK or EBADF.
fn is_held(attempt: Result<(), TryLockError>) -> bool {
    !matches!(attempt, Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lock_of_another_process_prevents_one() {
        for error in [libc::ENOLCK, libc::EINVAL, libc::EBADF, libc::ENOSYS, libc::EOPNOTSUPP] {
            assert!(is_held(Err(TryLockError::Error(io::Error::from_raw_os_error(error)))));
        }
        assert!(is_held(Ok(())));
        assert!(!is_held(Err(TryLockError::WouldBlock)));
    }
}
