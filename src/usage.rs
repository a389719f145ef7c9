//! Mistakes in the command line, which end a program with exit code 2. Problems elsewhere (files, models, devices) end it with 1.

use anyhow::Result;
use std::fmt;

/// A mistake in a flag or its value.
#[derive(Debug)]
pub struct UsageError(anyhow::Error);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for UsageError {}

/// Marks errors as mistakes in the command line.
pub trait OrUsage: Sized {
    /// Returns `self`, with an error wrapped as a [`UsageError`].
    fn or_usage(self) -> Self {
        self.or_usage_if(true)
    }

    /// Returns `self`, with an error wrapped as a [`UsageError`] if `is_usage`.
    fn or_usage_if(self, is_usage: bool) -> Self;
}

impl<T> OrUsage for Result<T> {
    fn or_usage_if(self, is_usage: bool) -> Self {
        self.map_err(|error| if is_usage { UsageError(error).into() } else { error })
    }
}
