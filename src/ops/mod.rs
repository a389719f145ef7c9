//! The arithmetic of the models, channels last: maps are (B, h, w, C), tokens (B, N, C).
//!
//! Every operation that a device may want a kernel for has a door here, and a plain form in candle's own operations
//! that says what it means.

mod attention;
mod conv2d;
mod geglu;
mod linear;
mod norm;
mod resample;

pub use attention::attention;
pub use conv2d::{Conv2d, conv1x1, conv3x3, conv3x3_stride2};
pub use geglu::geglu;
pub use linear::{Linear, linear, linear_no_bias};
pub use norm::{GroupNorm, LayerNorm, group_norm, layer_norm};
pub use resample::upsample_nearest;
