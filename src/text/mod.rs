//! Prompt → tokens → context.

pub mod emphasis;
mod encoder;
mod repair;
mod tokenizer;
mod tokens;

pub use encoder::{TextConfig, TextEncoder};
pub use tokenizer::Tokenizer;
pub use tokens::{Reading, Tokens};
