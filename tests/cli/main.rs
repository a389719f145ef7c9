//! The command line: flags, whole runs of the program, and its messages.

mod args;
mod article;
mod display;
mod dry_run;
mod embeddings;
mod errors;
mod hires;
mod inpainting;
mod inputs;
#[cfg(unix)]
mod interrupt;
mod loras;
mod low_memory;
mod per_image;
#[cfg(unix)]
mod readme;
mod replay;
#[cfg(unix)]
mod resume;
mod shards;
mod shortcuts;
#[path = "../support/mod.rs"]
mod support;
mod sweep;
