//! Where a model came from.

use std::sync::{Arc, OnceLock};

use crate::data::text::Tokenizer;
use crate::gguf::Gguf;
use crate::hub::Repository;
use crate::provenance::Source;

/// Where a model came from, and the tokenizer it speaks through.
#[derive(Debug, Clone)]
pub(super) struct ModelOrigin {
    pub(super) source: Source,
    pub(super) repository: Option<Repository>,
    /// The repository of its tokenizer, if `config.json` names one.
    pub(super) tokenizer_name: Option<String>,
    /// The GGUF file it was loaded from, which has a tokenizer in it.
    pub(super) gguf: Option<Gguf>,
    /// Whether the weights that write to the stream were centred.
    pub(super) centred: bool,
    /// What to know before trusting the model's numbers.
    pub(super) notes: Vec<String>,
    /// Read when it is first asked for: weights can be looked at without it.
    pub(super) tokenizer: OnceLock<Tokenizer>,
    /// Tokens that end what the model says, if they were chosen by hand.
    pub(super) chosen_ends: Option<Arc<[u32]>>,
    /// Those that its files name; read when they are first asked for.
    pub(super) found_ends: OnceLock<Arc<[u32]>>,
}

impl Default for ModelOrigin {
    fn default() -> Self {
        Self {
            source: Source::Memory,
            repository: None,
            tokenizer_name: None,
            gguf: None,
            centred: false,
            notes: Vec::new(),
            tokenizer: OnceLock::new(),
            chosen_ends: None,
            found_ends: OnceLock::new(),
        }
    }
}
