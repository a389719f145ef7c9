//! Reading and writing files: checkpoints, pictures and their metadata, watermarks, sheets, and the output folder.

mod checkpoint;
mod metadata;
mod output;
mod sheet;
#[path = "../support/mod.rs"]
mod support;
mod tensor_names;
mod verify_watermark;
