//! The original's safety checker.

mod pixels;
mod resize;

pub use pixels::pixels;
