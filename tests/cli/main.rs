//! The command line: flags and their meaning, whole runs of the program, and what it prints.

mod args;
mod article;
mod dry_run;
mod errors;
#[cfg(unix)]
mod interrupt;
#[cfg(unix)]
mod readme;
mod replay;
#[cfg(unix)]
mod resume;
mod seeds;
mod shards;
#[path = "../support/mod.rs"]
mod support;
mod sweep;
