//! Text as tokens.

mod tokenizer;
mod tokens;

pub use tokenizer::Tokenizer;
pub use tokens::Tokens;
