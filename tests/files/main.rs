//! Files read and written: checkpoints, pictures and their metadata, watermarks, sheets, and OUTDIR.

mod checkpoint;
mod metadata;
mod output;
mod sheet;
#[path = "../support/mod.rs"]
mod support;
mod tensor_names;
mod verify_watermark;
