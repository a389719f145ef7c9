//! Prompt → tokens → context.

mod encoder;
mod tokenizer;

pub use encoder::{TextConfig, TextEncoder};
pub use tokenizer::{Tokenizer, Tokens};
