//! Which architectures of GGUF files are supported.

use super::super::super::Config;
use super::metadata::{GgufSizes, ignored, outer};
use super::{gemma, gpt2, llama, phi3};
use crate::Result;
use crate::gguf::Gguf;
use crate::store::{Document, UnknownFields};

const ARCHITECTURE: &str = "general.architecture";
const KIND: &str = "general.type";
/// Keys of architectures whose MLPs are mixtures of experts.
const EXPERTS: [&str; 2] = ["expert_count", "expert_used_count"];

/// An architecture, under llama.cpp's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GgufArchitecture {
    Llama,
    Qwen2,
    Qwen3,
    Gemma2,
    Gemma3,
    Phi3,
    Gpt2,
}

impl GgufArchitecture {
    const ALL: [(&'static str, Self); 7] = [
        ("llama", Self::Llama),
        ("qwen2", Self::Qwen2),
        ("qwen3", Self::Qwen3),
        ("gemma2", Self::Gemma2),
        ("gemma3", Self::Gemma3),
        ("phi3", Self::Phi3),
        ("gpt2", Self::Gpt2),
    ];

    /// The architecture that a file names.
    ///
    /// # Errors
    /// One that is not supported; an adapter or a part for images in place of a model; a mixture of
    /// experts.
    pub(super) fn of(gguf: &Gguf) -> Result<Self> {
        let names = Self::ALL.map(|(name, _)| format!("`{name}`")).join(", ");
        let expected = format!("one of {names} in `{ARCHITECTURE}`");
        let Some(value) = gguf.get(ARCHITECTURE) else {
            return Err(gguf.wrong(expected, "nothing"));
        };
        let named = Self::ALL.iter().find(|(name, _)| value.as_str() == Some(*name));
        let Some((_, architecture)) = named else {
            let found = format!(
                "{value}, which eigenlens cannot load from GGUF. It reads other families from their \
                 Hugging Face repositories: Decoder::from_pretrained(\"owner/name\", …)"
            );
            return Err(gguf.wrong(expected, found));
        };
        if let Some(kind) = gguf.get(KIND).filter(|kind| kind.as_str() != Some("model")) {
            return Err(gguf.wrong(format!("`model` in `{KIND}`"), kind.to_string()));
        }
        for key in EXPERTS.map(|key| format!("{}.{key}", architecture.name())) {
            let experts = gguf.get(&key).filter(|value| value.as_u64() != Some(0));
            if let Some(experts) = experts {
                let expected = format!("a model with one MLP a layer, of architecture {names}");
                let found = format!("a mixture of experts, `{key}`: {experts}");
                return Err(gguf.wrong(expected, found));
            }
        }
        Ok(*architecture)
    }

    /// Its name in files.
    pub(super) fn name(self) -> &'static str {
        let named = Self::ALL.iter().find(|(_, own)| *own == self);
        named.map_or("", |(name, _)| *name)
    }

    /// The sizes and kinds of the transformer, and the metadata that was ignored because the user
    /// allowed it, as `key: value`.
    pub(super) fn config(
        self,
        gguf: &Gguf,
        unknown: UnknownFields,
    ) -> Result<(Config, Vec<String>)> {
        let mut all = outer(gguf, self.name());
        let mut document = all.inner(self.name())?;
        let sizes = GgufSizes::read(&mut document, gguf)?;
        let config = self.family(&mut document, gguf, &sizes)?;
        all.join(self.name(), document);
        let ignored = ignored(all, gguf, unknown)?;
        Ok((config, ignored))
    }

    fn family(self, document: &mut Document, gguf: &Gguf, sizes: &GgufSizes) -> Result<Config> {
        match self {
            Self::Llama => llama::llama(document, gguf, sizes),
            Self::Qwen2 => llama::qwen2(document, gguf, sizes),
            Self::Qwen3 => llama::qwen3(document, gguf, sizes),
            Self::Gemma2 => gemma::gemma2(document, gguf, sizes),
            Self::Gemma3 => gemma::gemma3(document, gguf, sizes),
            Self::Phi3 => phi3::config(document, gguf, sizes),
            Self::Gpt2 => gpt2::config(document, gguf, sizes),
        }
    }

    /// Whether norms are stored with gain 1 + w, of which Hugging Face's files have w.
    pub(super) fn has_one_in_gains(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }

    /// Whether the rows of queries and keys are in the order for rotary embedding on neighbours.
    pub(super) fn turns_neighbours(self) -> bool {
        self == Self::Llama
    }
}
