//! The commands that draw nothing.

mod collect;
pub mod dry_run;
mod verify_watermark;

pub use collect::collect;
pub use dry_run::print_dry_run;
pub use verify_watermark::verify_watermarks;
