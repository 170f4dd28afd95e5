//! Text as tokens.

mod contexts;
mod tokenizer;
mod tokens;

pub use contexts::Contexts;
pub use tokenizer::Tokenizer;
pub use tokens::Tokens;
