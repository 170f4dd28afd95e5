//! Text as tokens.

mod contexts;
mod documents;
mod files;
mod gguf;
mod long;
mod patterns;
mod pieces;
mod retokenized;
mod sentencepiece;
mod settings;
mod tokenizer;
mod tokens;
mod visible;

pub use contexts::Contexts;
pub use documents::Documents;
pub(crate) use settings::{number, numbers};
pub use tokenizer::Tokenizer;
pub use tokens::Tokens;
pub use visible::VisibleToken;

#[cfg(test)]
pub(crate) use tokenizer::tests;

/// The file of a tokenizer in a repository or folder.
const TOKENIZER_FILE: &str = "tokenizer.json";
