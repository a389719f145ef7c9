//! The tokenizer, which turns prompts into tokens, and the text encoder, which turns tokens into the UNet's context.

pub mod composition;
mod embeddings;
pub mod emphasis;
mod encoder;
mod phases;
mod repair;
pub mod timeline;
mod tokenizer;
mod tokens;
mod transformer;

pub use encoder::{TextConfig, TextEncoder, check_clip_skip};
pub use phases::{Phase, Phases, check_weights, texts};
pub use timeline::PassSteps;
pub use tokenizer::Tokenizer;
pub use tokens::{Reading, Tokens};
