//! SentencePiece tokenizers: pieces with scores, from a `tokenizer.model` or a GGUF file.
//!
//! A text is encoded in four steps (Kudo and Richardson, 2018; llama.cpp does the same):
//!
//! 1. Pieces that the model calls its user's, and special ones where these are asked for, are cut out
//!    of the text, the longest first.
//! 2. In the rest, a space becomes ▁ (U+2581), and where the model asks for it, one is put in front.
//! 3. Of its characters, the neighbouring pair whose union is a piece of the highest score becomes that
//!    piece, the leftmost first, until there is no such pair. A model of unigrams takes the pieces whose
//!    scores sum to most instead.
//! 4. What is no piece then becomes its bytes in UTF-8, or the unknown piece where the model has no
//!    bytes.
//!
//! The models of the `tokenizers` crate do this. Byte-pair encoding there has a list of pairs instead of
//! scores; [`merges`] makes one of all the pairs that a piece can be made of.

mod merges;
mod proto;

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper};

use super::pieces::META_SPACE;
use crate::{Error, Result};

pub(super) use proto::ModelFile;

/// Bytes of the longest piece that can be merged: the work is in proportion to it.
const LONGEST_PIECE: usize = 512;
/// How much less than the least score of a usual piece the others have in a model of unigrams, so that
/// a text that spells one of them does not become it.
const NEVER: f64 = 1e4;

/// What a piece is for. The numbers are those of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PieceKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl PieceKind {
    pub(super) fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// A piece of a vocabulary; its number is its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScoredPiece<'a> {
    pub(super) text: &'a str,
    pub(super) score: f32,
    pub(super) kind: PieceKind,
}

/// How pieces are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segmentation {
    /// By merging pairs.
    Merges,
    /// By the sum of scores.
    Unigrams,
}

/// A vocabulary and how it is used.
#[derive(Debug)]
pub(super) struct SentencePiece<'a> {
    pub(super) pieces: Vec<ScoredPiece<'a>>,
    pub(super) segmentation: Segmentation,
    /// Whether a space is put before a text, and before what follows a piece that was cut out.
    pub(super) space_before: bool,
}

impl SentencePiece<'_> {
    /// The tokenizer. `wrong` makes an error of what was expected and what was found.
    ///
    /// # Errors
    /// Pieces that are there twice, empty or too long; scores that are no numbers; some of the 256 bytes
    /// without the others; neither bytes nor an unknown piece.
    pub(super) fn tokenizer(
        &self,
        wrong: &dyn Fn(&str, String) -> Error,
    ) -> Result<tokenizers::Tokenizer> {
        let ids = self.ids(wrong)?;
        let has_bytes = self.has_bytes(wrong)?;
        let unknown = self.pieces.iter().position(|piece| piece.kind == PieceKind::Unknown);
        if !has_bytes && unknown.is_none() {
            let expected = "pieces for the 256 bytes, or a piece for what is unknown";
            return Err(wrong(expected, "neither".to_owned()));
        }
        let model = match self.segmentation {
            Segmentation::Merges => {
                let vocab: Vocab = ids.iter().map(|(text, id)| ((*text).to_owned(), *id)).collect();
                let mut builder = BPE::builder()
                    .vocab_and_merges(vocab, merges::merges(&self.pieces, &ids))
                    .fuse_unk(true)
                    .byte_fallback(has_bytes);
                if let Some(unknown) = unknown {
                    builder = builder.unk_token(self.pieces[unknown].text.to_owned());
                }
                builder.build().map(ModelWrapper::BPE)
            }
            Segmentation::Unigrams => {
                Unigram::from(self.scored(), unknown, has_bytes).map(ModelWrapper::Unigram)
            }
        };
        let unfit =
            |reason: tokenizers::Error| wrong("a tokenizer", reason.to_string()).caused_by(reason);
        let mut tokenizer = tokenizers::Tokenizer::new(model.map_err(unfit)?);
        let normalizer: NormalizerWrapper = part(self.normalizer(), wrong)?;
        tokenizer.with_normalizer(Some(normalizer)).map_err(unfit)?;
        tokenizer.with_decoder(Some(part::<DecoderWrapper>(self.decoder(), wrong)?));
        tokenizer.add_tokens(self.cut_out()).map_err(|reason| {
            wrong("pieces to look for in texts", reason.to_string()).caused_by(reason)
        })?;
        Ok(tokenizer)
    }

    /// What a user should know of pieces that have one score: between them the leftmost pair is not
    /// sure to be merged first.
    pub(super) fn note(&self) -> Option<String> {
        let is_merged = |piece: &&ScoredPiece<'_>| {
            piece.kind == PieceKind::Normal && piece.text.chars().nth(1).is_some()
        };
        let pieces = self.pieces.iter().filter(is_merged);
        let mut scores: Vec<f32> = pieces.map(|piece| piece.score).collect();
        scores.sort_unstable_by(f32::total_cmp);
        let ties = scores.windows(2).filter(|pair| pair[0] == pair[1]).count();
        (ties > 0 && self.segmentation == Segmentation::Merges).then(|| {
            format!(
                "pieces have the score of another ({ties} times): where both can be made of the same \
                 characters, the one with the lower number is, and not the leftmost"
            )
        })
    }

    /// Pieces and their numbers.
    fn ids(&self, wrong: &dyn Fn(&str, String) -> Error) -> Result<HashMap<&str, u32>> {
        let mut ids = HashMap::with_capacity(self.pieces.len());
        for (id, piece) in (0u32..).zip(&self.pieces) {
            let text = piece.text;
            if !piece.score.is_finite() {
                let found = format!("{} for {text:?}", piece.score);
                return Err(wrong("a finite score for each piece", found));
            }
            let is_used =
                piece.kind == PieceKind::Normal || self.segmentation == Segmentation::Unigrams;
            if text.is_empty() && is_used {
                return Err(wrong("a text for each piece", format!("none for number {id}")));
            }
            if piece.kind == PieceKind::Normal && text.len() > LONGEST_PIECE {
                let expected = format!("pieces of at most {LONGEST_PIECE} bytes");
                return Err(wrong(&expected, format!("number {id} of {} bytes", text.len())));
            }
            if let Some(before) = ids.insert(text, id) {
                let found = format!("{text:?} as numbers {before} and {id}");
                return Err(wrong("different pieces", found));
            }
        }
        Ok(ids)
    }

    /// Whether there is a piece for each byte.
    fn has_bytes(&self, wrong: &dyn Fn(&str, String) -> Error) -> Result<bool> {
        let bytes = self.pieces.iter().filter(|piece| piece.kind == PieceKind::Byte);
        let bytes: Vec<&str> = bytes.map(|piece| piece.text).collect();
        if bytes.is_empty() {
            return Ok(false);
        }
        let expected = "a piece for each of 256 bytes";
        if bytes.len() > 256 {
            return Err(wrong(expected, format!("{} of them", bytes.len())));
        }
        let mut names = (0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>"));
        match names.find(|name| !bytes.contains(&name.as_str())) {
            None => Ok(true),
            Some(name) => Err(wrong(expected, format!("no {name:?}"))),
        }
    }

    /// Pieces with the scores by which unigrams are chosen.
    fn scored(&self) -> Vec<(String, f64)> {
        let usual = |piece: &&ScoredPiece<'_>| piece.kind == PieceKind::Normal;
        let least = self.pieces.iter().filter(usual).map(|piece| f64::from(piece.score));
        let least = least.fold(0., f64::min);
        let score = |piece: &ScoredPiece<'_>| match piece.kind {
            PieceKind::Normal => f64::from(piece.score),
            _ => least - NEVER,
        };
        self.pieces.iter().map(|piece| (piece.text.to_owned(), score(piece))).collect()
    }

    fn normalizer(&self) -> Value {
        let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": META_SPACE});
        match self.space_before {
            false => spaces,
            true => {
                let before = json!({"type": "Prepend", "prepend": META_SPACE});
                json!({"type": "Sequence", "normalizers": [before, spaces]})
            }
        }
    }

    fn decoder(&self) -> Value {
        let spaces = json!({"type": "Replace", "pattern": {"String": META_SPACE}, "content": " "});
        let mut decoders = vec![spaces, json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
        if self.space_before {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        json!({"type": "Sequence", "decoders": decoders})
    }

    /// Pieces that are cut out of a text before anything else happens to it.
    fn cut_out(&self) -> Vec<AddedToken> {
        let special = |piece: &ScoredPiece<'_>| match piece.kind {
            PieceKind::Unknown | PieceKind::Control => Some(true),
            PieceKind::UserDefined => Some(false),
            PieceKind::Normal | PieceKind::Unused | PieceKind::Byte => None,
        };
        let pieces = self.pieces.iter().filter(|piece| !piece.text.is_empty());
        let tokens = pieces.filter_map(|piece| Some((piece.text, special(piece)?)));
        tokens.map(|(text, special)| AddedToken::from(text, special).normalized(false)).collect()
    }
}

/// A part of a tokenizer of the crate, as `tokenizer.json` spells it.
fn part<T: DeserializeOwned>(value: Value, wrong: &dyn Fn(&str, String) -> Error) -> Result<T> {
    serde_json::from_value(value)
        .map_err(|reason| wrong("a tokenizer", reason.to_string()).caused_by(reason))
}

#[cfg(test)]
mod tests;
