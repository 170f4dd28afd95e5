//! `tokenizer.model`: a SentencePiece model as a protocol buffer.
//!
//! ```text
//! ModelProto      1: pieces, one after the other   2: TrainerSpec   3: NormalizerSpec
//! SentencePiece   1: text   2: score, f32   3: kind (1 if left out)
//! TrainerSpec     3: kind of model (1, also if left out: unigrams, 2: merges)   24: whether ▁ ends a word
//!                 46, 47: the pieces at the start and end of a text
//! NormalizerSpec  2: table of characters   3: whether a space comes first
//!                 4: whether spaces are dropped   5: whether spaces become ▁
//! ```
//!
//! Source: `sentencepiece_model.proto` of SentencePiece. Lengths are held against what is left of the
//! bytes, and pieces are borrowed from them.

use super::{PieceKind, ScoredPiece, SentencePiece, SpaceBefore};

/// What is read, or what was expected and what was found in its place.
pub(in super::super) type Read<T> = std::result::Result<T, (String, String)>;

/// A SentencePiece model with its first and last pieces.
#[derive(Debug)]
pub(in super::super) struct ModelFile<'a> {
    pub(in super::super) model: SentencePiece<'a>,
    /// The number of the piece at the start of a text, if there is one.
    pub(in super::super) bos: Option<u32>,
    /// The number of the piece at the end of a text, if there is one.
    pub(in super::super) eos: Option<u32>,
}

/// What a model says of how it was trained.
struct TrainerSpec<'a> {
    kind: u64,
    bos: &'a str,
    eos: &'a str,
}

impl<'a> ModelFile<'a> {
    /// The model in the bytes of a file.
    ///
    /// # Errors
    /// What was expected and what was found, for bytes that are truncated or no such message, for a
    /// model of unigrams (the crate's has special pieces among those that it chooses from), words or
    /// characters, and for one that changes texts in a way that is not known here.
    pub(in super::super) fn read(bytes: &'a [u8]) -> Read<Self> {
        let mut pieces = Vec::new();
        let mut trainer = TrainerSpec { kind: 1, bos: "<s>", eos: "</s>" };
        // A model without it has its defaults.
        let mut normalizer: &[u8] = &[];
        let mut fields = ProtoFields(bytes);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => pieces.push(piece(field.bytes("a piece")?, pieces.len())?),
                2 => trainer.read(field.bytes("`trainer_spec`")?)?,
                3 => normalizer = field.bytes("`normalizer_spec`")?,
                5 => check_table(field.bytes("`denormalizer_spec`")?, "`denormalizer_spec`")?,
                _ => {}
            }
        }
        let space_before = read_normalizer(normalizer)?;
        if pieces.is_empty() {
            return wrong("a SentencePiece model with pieces", "none");
        }
        if trainer.kind != 2 {
            let found = match trainer.kind {
                1 => "1, or nothing, which means it: a model of unigrams".to_owned(),
                3 => "3, a model of words".to_owned(),
                4 => "4, a model of characters".to_owned(),
                other => other.to_string(),
            };
            return wrong("2 (merges) in `trainer_spec.model_type`", found);
        }
        let control = |text: &str| {
            let is_it =
                |piece: &ScoredPiece<'_>| piece.kind == PieceKind::Control && piece.text == text;
            pieces.iter().position(is_it).and_then(|id| u32::try_from(id).ok())
        };
        let (bos, eos) = (control(trainer.bos), control(trainer.eos));
        Ok(Self { model: SentencePiece { pieces, space_before, phi3: false }, bos, eos })
    }
}

impl<'a> TrainerSpec<'a> {
    fn read(&mut self, bytes: &'a [u8]) -> Read<()> {
        let mut fields = ProtoFields(bytes);
        while let Some((number, field)) = fields.next()? {
            match number {
                3 => self.kind = field.number("`trainer_spec.model_type`")?,
                24 => must_be(&field, "`trainer_spec.treat_whitespace_as_suffix`", false)?,
                46 => self.bos = field.text("`trainer_spec.bos_piece`")?,
                47 => self.eos = field.text("`trainer_spec.eos_piece`")?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn piece(bytes: &[u8], id: usize) -> Read<ScoredPiece<'_>> {
    let what = || format!("piece {id}");
    let mut piece = ScoredPiece { text: "", score: 0., kind: PieceKind::Normal };
    let mut fields = ProtoFields(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, field) => piece.text = field.text(&format!("the text of {}", what()))?,
            (2, ProtoField::Fixed32(bits)) => piece.score = f32::from_bits(bits),
            (2, other) => return wrong(format!("the score of {} as f32", what()), other.kind()),
            (3, field) => {
                let kind = field.number(&format!("the kind of {}", what()))?;
                let Some(known) = PieceKind::from_number(kind) else {
                    return wrong(format!("a kind (1 to 6) of {}", what()), kind.to_string());
                };
                piece.kind = known;
            }
            _ => {}
        }
    }
    Ok(piece)
}

/// Before what a space comes: where there is one, as the classes of `transformers` put it unless they
/// are told otherwise.
fn read_normalizer(bytes: &[u8]) -> Read<SpaceBefore> {
    check_table(bytes, "`normalizer_spec`")?;
    let (mut space_before, mut drops) = (true, true);
    let mut fields = ProtoFields(bytes);
    while let Some((number, field)) = fields.next()? {
        match number {
            3 => space_before = field.number("`normalizer_spec.add_dummy_prefix`")? != 0,
            4 => drops = field.number("`normalizer_spec.remove_extra_whitespaces`")? != 0,
            5 => must_be(&field, "`normalizer_spec.escape_whitespaces`", true)?,
            _ => {}
        }
    }
    match drops {
        false if space_before => Ok(SpaceBefore::EachPart),
        false => Ok(SpaceBefore::Never),
        true => wrong(
            "false in `normalizer_spec.remove_extra_whitespaces`",
            "true, or nothing, which means it: spaces that follow each other would be dropped",
        ),
    }
}

/// Fails for a table that changes characters of a text.
fn check_table(bytes: &[u8], what: &str) -> Read<()> {
    let mut fields = ProtoFields(bytes);
    while let Some((number, field)) = fields.next()? {
        let length = if number == 2 { field.bytes(what)?.len() } else { 0 };
        if length > 0 {
            return wrong(
                format!("no `precompiled_charsmap` in {what}"),
                format!("one of {length} bytes, which changes characters"),
            );
        }
    }
    Ok(())
}

fn must_be(field: &ProtoField<'_>, what: &str, expected: bool) -> Read<()> {
    match (field.number(what)? != 0) == expected {
        true => Ok(()),
        false => wrong(format!("{expected} in {what}"), (!expected).to_string()),
    }
}

fn wrong<T>(expected: impl Into<String>, found: impl Into<String>) -> Read<T> {
    Err((expected.into(), found.into()))
}

/// A value of a message.
#[derive(Debug, Clone, Copy)]
enum ProtoField<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> ProtoField<'a> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Varint(_) => "a whole number",
            Self::Fixed64 => "eight bytes",
            Self::Bytes(_) => "bytes with a length",
            Self::Fixed32(_) => "four bytes",
        }
    }

    fn number(&self, what: &str) -> Read<u64> {
        match self {
            Self::Varint(number) => Ok(*number),
            other => wrong(format!("a whole number as {what}"), other.kind()),
        }
    }

    fn bytes(&self, what: &str) -> Read<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(*bytes),
            other => wrong(format!("bytes with a length as {what}"), other.kind()),
        }
    }

    fn text(&self, what: &str) -> Read<&'a str> {
        std::str::from_utf8(self.bytes(what)?)
            .or_else(|reason| wrong(format!("{what} in UTF-8"), reason.to_string()))
    }
}

/// The fields of a message that were not read yet.
struct ProtoFields<'a>(&'a [u8]);

impl<'a> ProtoFields<'a> {
    /// The next field and its number; none at the end.
    fn next(&mut self) -> Read<Option<(u64, ProtoField<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => ProtoField::Varint(self.varint()?),
            1 => self.take(8).map(|_| ProtoField::Fixed64)?,
            2 => {
                let length = self.varint()?;
                ProtoField::Bytes(self.take(length)?)
            }
            5 => {
                let mut bits = [0; 4];
                bits.copy_from_slice(self.take(4)?);
                ProtoField::Fixed32(u32::from_le_bytes(bits))
            }
            other => {
                let expected = "fields of a protocol buffer, of kind 0, 1, 2 or 5";
                return wrong(expected, format!("kind {other}"));
            }
        };
        Ok(Some((tag >> 3, field)))
    }

    fn take(&mut self, count: u64) -> Read<&'a [u8]> {
        let all = self.0;
        let cut = usize::try_from(count).ok().and_then(|count| all.split_at_checked(count));
        let Some((bytes, rest)) = cut else {
            let found = format!("only {}: the file is truncated or damaged", all.len());
            return wrong(format!("{count} bytes more in a protocol buffer"), found);
        };
        self.0 = rest;
        Ok(bytes)
    }

    /// A whole number of seven bits a byte, the lowest first; the highest bit says whether more follow.
    fn varint(&mut self) -> Read<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        wrong("whole numbers of at most ten bytes in a protocol buffer", "a longer one")
    }
}
