//! SentencePiece tokenizers: pieces with scores, from a `tokenizer.model` or a GGUF file.
//!
//! A text is encoded in four steps (Kudo and Richardson, 2018):
//!
//! 1. Pieces that the model calls its user's, and special ones where these are asked for, are cut out
//!    of the text, the longest first.
//! 2. In the rest, a space becomes ▁ (U+2581), and where the model asks for it, one is put in front:
//!    SentencePiece puts one before a text, llama.cpp one before each part that the first step leaves,
//!    and the classes of `transformers` do as [`SpaceBefore`] says for their settings.
//! 3. Of its characters, the neighbouring pair whose union is a piece of the highest score becomes that
//!    piece, the leftmost first, until there is no such pair.
//! 4. What is no piece then becomes its bytes in UTF-8, or the unknown piece where the model has no
//!    bytes.
//!
//! The models of the `tokenizers` crate do this. Byte-pair encoding there has a list of pairs instead of
//! scores; [`merges`] makes one of all the pairs that a piece can be made of.

mod merges;
mod proto;

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper};

use super::pieces::META_SPACE;
use crate::{Error, Result};

pub(super) use proto::ModelFile;

/// Bytes of the longest piece that can be merged: the work is in proportion to it.
const LONGEST_PIECE: usize = 512;
/// Pieces of Phi-3 that leave the white space after them.
const PHI3_STRICT: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

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

/// Pieces with their numbers.
type PieceIds<'a> = HashMap<Cow<'a, str>, u32>;

impl<'a> ScoredPiece<'a> {
    /// The text as it is looked for: a user's pieces stand in texts with their spaces.
    fn spelled(&self) -> Cow<'a, str> {
        match self.kind == PieceKind::UserDefined && self.text.contains(META_SPACE) {
            true => Cow::Owned(self.text.replace(META_SPACE, " ")),
            false => Cow::Borrowed(self.text),
        }
    }
}

/// Before what a space is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpaceBefore {
    /// Before nothing.
    Never,
    /// Before the start of a text, unless a space or a piece that is cut out is there.
    Text,
    /// Before each part of a text that is left where pieces are cut out: a user's pieces too, after
    /// which SentencePiece alone puts none.
    EachPart,
}

/// A vocabulary and how it is used.
#[derive(Debug)]
pub(super) struct SentencePiece<'a> {
    pub(super) pieces: Vec<ScoredPiece<'a>>,
    pub(super) space_before: SpaceBefore,
    /// Whether pieces that are cut out take the white space after them along, but for
    /// [`PHI3_STRICT`], as in Phi-3.
    pub(super) phi3: bool,
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
        let vocab: Vocab = ids.iter().map(|(text, id)| (text.to_string(), *id)).collect();
        let mut builder = BPE::builder()
            .vocab_and_merges(vocab, merges::merges(&self.pieces, &ids))
            .fuse_unk(true)
            .byte_fallback(has_bytes);
        if let Some(unknown) = unknown {
            builder = builder.unk_token(self.pieces[unknown].text.to_owned());
        }
        let unfit =
            |reason: tokenizers::Error| wrong("a tokenizer", reason.to_string()).caused_by(reason);
        let mut tokenizer = tokenizers::Tokenizer::new(builder.build().map_err(unfit)?);
        match self.space_before {
            // Of the parts of the crate, it alone knows where a text starts.
            SpaceBefore::Text => {
                let spaces = Metaspace::new(META_SPACE, PrependScheme::First, false);
                tokenizer.with_pre_tokenizer(Some(spaces));
            }
            SpaceBefore::Never | SpaceBefore::EachPart => {
                let normalizer: NormalizerWrapper = part(self.normalizer(), wrong)?;
                tokenizer.with_normalizer(Some(normalizer)).map_err(unfit)?;
            }
        }
        tokenizer.with_decoder(Some(part::<DecoderWrapper>(self.decoder(), wrong)?));
        tokenizer.add_tokens(self.cut_out()).map_err(|reason| {
            wrong("pieces to look for in texts", reason.to_string()).caused_by(reason)
        })?;
        Ok(tokenizer)
    }

    /// What a user should know: pieces of one score, between which the leftmost pair is not sure to be
    /// merged first, and pieces out of use.
    pub(super) fn notes(&self) -> Vec<String> {
        let is_merged = |piece: &&ScoredPiece<'_>| {
            piece.kind == PieceKind::Normal && piece.text.chars().nth(1).is_some()
        };
        let pieces = self.pieces.iter().filter(is_merged);
        let mut scores: Vec<f32> = pieces.map(|piece| piece.score).collect();
        scores.sort_unstable_by(f32::total_cmp);
        let ties = scores.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let ties = (ties > 0).then(|| {
            format!(
                "pieces have the score of another ({ties} times): where both can be made of the same \
                 characters, the one with the lower number is, and not the leftmost"
            )
        });
        let unused = merges::passed(&self.pieces);
        let unused = (unused > 0).then(|| {
            format!(
                "pieces are out of use ({unused} that others make): SentencePiece merges through them \
                 and splits what is left of them, here nothing becomes one, which can give other tokens"
            )
        });
        ties.into_iter().chain(unused).collect()
    }

    /// Pieces and their numbers.
    fn ids(&self, wrong: &dyn Fn(&str, String) -> Error) -> Result<PieceIds<'_>> {
        let mut ids = HashMap::with_capacity(self.pieces.len());
        for (id, piece) in (0u32..).zip(&self.pieces) {
            let text = piece.text;
            if !piece.score.is_finite() {
                let found = format!("{} for {text:?}", piece.score);
                return Err(wrong("a finite score for each piece", found));
            }
            if text.is_empty() && piece.kind == PieceKind::Normal {
                return Err(wrong("a text for each piece", format!("none for number {id}")));
            }
            if piece.kind == PieceKind::Normal && text.len() > LONGEST_PIECE {
                let expected = format!("pieces of at most {LONGEST_PIECE} bytes");
                return Err(wrong(&expected, format!("number {id} of {} bytes", text.len())));
            }
            if let Some(before) = ids.insert(piece.spelled(), id) {
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

    fn normalizer(&self) -> Value {
        let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": META_SPACE});
        match self.space_before {
            SpaceBefore::Never | SpaceBefore::Text => spaces,
            SpaceBefore::EachPart => {
                let before = json!({"type": "Prepend", "prepend": META_SPACE});
                json!({"type": "Sequence", "normalizers": [before, spaces]})
            }
        }
    }

    fn decoder(&self) -> Value {
        let spaces = json!({"type": "Replace", "pattern": {"String": META_SPACE}, "content": " "});
        let mut decoders = vec![spaces, json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
        if self.space_before != SpaceBefore::Never {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        json!({"type": "Sequence", "decoders": decoders})
    }

    /// Pieces that are cut out of a text before anything else happens to it.
    fn cut_out(&self) -> Vec<AddedToken> {
        let pieces = self.pieces.iter().filter(|piece| !piece.text.is_empty());
        let token = |piece: &ScoredPiece<'_>| {
            let special = match piece.kind {
                PieceKind::Unknown | PieceKind::Control => true,
                PieceKind::UserDefined => false,
                PieceKind::Normal | PieceKind::Unused | PieceKind::Byte => return None,
            };
            let token = AddedToken::from(piece.spelled(), special).normalized(false);
            Some(token.rstrip(self.phi3 && !PHI3_STRICT.contains(&piece.text)))
        };
        pieces.filter_map(token).collect()
    }
}

/// A part of a tokenizer of the crate, as `tokenizer.json` spells it.
fn part<T: DeserializeOwned>(value: Value, wrong: &dyn Fn(&str, String) -> Error) -> Result<T> {
    serde_json::from_value(value)
        .map_err(|reason| wrong("a tokenizer", reason.to_string()).caused_by(reason))
}

#[cfg(test)]
mod tests;
