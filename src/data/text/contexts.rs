//! Texts of equal length as tokens, stored as Parquet.

use crate::display::show_as_text;
use crate::progress::interrupted;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use candle_core::{Device, Tensor};
use parquet::basic::Compression;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{DataType, Int32Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnDescriptor;

use super::{Tokenizer, Tokens};
use crate::hub::{Repository, embedded_name};
use crate::provenance::Source;
use crate::store::{Format, LOOKED_AT, mistaken, replace};
use crate::{Error, Result};

/// The file of a data set with a single part.
const FILE: &str = "data/train-00000-of-00001.parquet";
const COLUMN: &str = "input_ids";
/// Parquet's words for a column of lists of integers, as `datasets` writes it.
const SCHEMA: &str = "message schema { optional group input_ids (LIST) { \
                      repeated group list { optional int32 element; } } }";

/// A table of contexts, each of as many tokens: the sample of text that features are looked up in.
/// A cheap handle.
#[derive(Debug, Clone)]
pub struct Contexts {
    length: usize,
    tokens: Arc<[u32]>,
    source: Source,
}

impl Contexts {
    /// Contexts of `length` tokens one after the other.
    ///
    /// # Errors
    /// No tokens, or a last context that is not whole.
    pub fn new(length: usize, tokens: Vec<u32>) -> Result<Self> {
        if length == 0 || tokens.is_empty() || !tokens.len().is_multiple_of(length) {
            let expected = format!("a positive multiple of {length}, the context's length");
            return Err(Error::invalid("the number of tokens", expected, tokens.len()));
        }
        Ok(Self { length, tokens: tokens.into(), source: Source::Memory })
    }

    /// Up to `count` contexts of `length` tokens, spread over a text.
    ///
    /// # Errors
    /// Fewer tokens than a context; no context.
    pub fn spread(text: &Tokens, count: usize, length: usize) -> Result<Self> {
        let windows = text.windows(count, length, &Device::Cpu)?;
        Self::new(length, windows.flatten_all()?.to_vec1()?)
    }

    /// The first `length` tokens of each text, one context a text: with `bos`, that token and the
    /// first `length − 1`. Texts that are shorter are left out, and so is what is behind. Special
    /// tokens that are written out in a text are no more than their letters.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// let tokenizer = Tokenizer::train(["ab cd"], 260)?;
    /// let heads = Contexts::heads(["ab cd", "a", "cd ab"], &tokenizer, 3, None)?;
    /// assert_eq!(heads.len(), 2); // "a" is too short
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If no text is long enough, a length is 0, or a text has no tokens; [`Error::Interrupted`] when
    /// Stop is pressed.
    pub fn heads(
        texts: impl IntoIterator<Item = impl AsRef<str>>,
        tokenizer: &Tokenizer,
        length: usize,
        bos: Option<u32>,
    ) -> Result<Self> {
        let texts = texts.into_iter().map(|text| tokenizer.encode_plain(text.as_ref()));
        Self::heads_of(texts.collect::<Result<Vec<_>>>()?, length, bos)
    }

    /// The first `length` tokens of each document, one context a document, with the tokens that the
    /// tokenizer's files ask for at the start of a text. Documents that are shorter are left out, as
    /// in Engels et al. (2024, *Decomposing the dark matter of sparse autoencoders*).
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// let tokenizer = Tokenizer::train(["ab cd"], 260)?;
    /// let contexts = Contexts::from_documents(["ab cd", "a"], &tokenizer, 2)?;
    /// assert_eq!((contexts.len(), contexts.length()), (1, 2)); // "a" is too short
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Contexts::heads`].
    pub fn from_documents(
        texts: impl IntoIterator<Item = impl AsRef<str>>,
        tokenizer: &Tokenizer,
        length: usize,
    ) -> Result<Self> {
        let heads = texts.into_iter().map(|text| {
            let mut tokens = tokenizer.encode(text.as_ref())?;
            tokens.truncate(length);
            Ok(tokens)
        });
        Self::heads_of(heads.collect::<Result<Vec<_>>>()?, length, None)
    }

    /// [`Contexts::heads`] of texts that are tokens already.
    ///
    /// # Errors
    /// If no text is long enough, or a length is 0.
    pub fn heads_of(
        texts: impl IntoIterator<Item = Vec<u32>>,
        length: usize,
        bos: Option<u32>,
    ) -> Result<Self> {
        let own = length.saturating_sub(usize::from(bos.is_some()));
        if own == 0 {
            let expected = "at least one token of the text, beside that which begins it";
            return Err(Error::invalid("the length of the contexts", expected, length));
        }
        let (mut tokens, mut longest) = (Vec::new(), 0);
        for text in texts {
            longest = longest.max(text.len());
            if let Some(head) = text.get(..own) {
                tokens.extend(bos);
                tokens.extend_from_slice(head);
            }
        }
        if tokens.is_empty() {
            let expected = format!("at least one of {own} tokens");
            return Err(Error::invalid("the texts", expected, format!("{longest} at most")));
        }
        Self::new(length, tokens)
    }

    /// The data set `name`, embedded, in a folder or on the hub (`owner/name`): one Parquet file
    /// with a column `input_ids` of lists of equal length, such as `tdooms/fineweb-16k`.
    ///
    /// # Errors
    /// A data set that is not there, or damaged; [`Error::Interrupted`] when Stop is pressed.
    pub fn from_pretrained(name: &str) -> Result<Self> {
        let name = name.strip_prefix("datasets/").unwrap_or(name);
        let folder = Path::new(name).is_dir();
        let name = if folder { name.to_owned() } else { format!("datasets/{name}") };
        Self::from_repository(&Repository::find(&name)?)
    }

    /// [`Contexts::from_pretrained`], from a repository.
    ///
    /// # Errors
    /// As [`Contexts::from_pretrained`].
    pub fn from_repository(repository: &Repository) -> Result<Self> {
        let content = repository.read(FILE)?;
        let contexts = read(&content.path, content.bytes)?;
        Ok(Self { source: content.source, ..contexts })
    }

    /// Writes the data set to the folder `path`, as [`Contexts::from_pretrained`] reads it.
    ///
    /// # Errors
    /// A place that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref().join(FILE);
        let folder = path.parent().unwrap_or(&path);
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let file = self.parquet().map_err(std::io::Error::other);
        replace(&path, |place| std::fs::File::create(place)?.write_all(&file?))
    }

    /// Number of contexts.
    pub fn len(&self) -> usize {
        self.tokens.len() / self.length
    }

    /// Whether there is none; there always is one.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Tokens in a context.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Where they came from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The name under which [`Contexts::from_pretrained`] found them, if they are part of the library.
    pub(crate) fn repository_name(&self) -> Option<&str> {
        match &self.source {
            Source::Embedded { what } => embedded_name(what),
            _ => None,
        }
    }

    /// All tokens, context after context.
    pub fn as_slice(&self) -> &[u32] {
        &self.tokens
    }

    /// The tokens of a context.
    ///
    /// # Errors
    /// A context there is not.
    pub fn get(&self, context: usize) -> Result<&[u32]> {
        self.tokens
            .chunks_exact(self.length)
            .nth(context)
            .ok_or_else(|| Error::invalid("the context", format!("below {}", self.len()), context))
    }

    /// Contexts from `start` on, up to `count` of them, `[contexts, length]`.
    ///
    /// # Errors
    /// A start past the end.
    pub fn batch(&self, start: usize, count: usize, device: &Device) -> Result<Tensor> {
        let end = self.len().min(start + count);
        if start >= end {
            let expected = format!("below {}, with at least one context", self.len());
            return Err(Error::invalid("the first context", expected, start));
        }
        let tokens = &self.tokens[start * self.length..end * self.length];
        Ok(Tensor::from_slice(tokens, (end - start, self.length), device)?)
    }

    fn parquet(&self) -> parquet::errors::Result<Vec<u8>> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
        let mut group = writer.next_row_group()?;
        if let Some(mut column) = group.next_column()? {
            let values: Vec<i32> = self.tokens.iter().map(|token| *token as i32).collect();
            let defined = vec![3; values.len()];
            let repeated: Vec<i16> =
                (0..values.len()).map(|at| i16::from(at % self.length != 0)).collect();
            let typed = column.typed::<Int32Type>();
            typed.write_batch(&values, Some(&defined), Some(&repeated))?;
            column.close()?;
        }
        group.close()?;
        writer.into_inner()
    }
}

/// The contexts in a Parquet file.
fn read(path: &Path, bytes: Bytes) -> Result<Contexts> {
    let broken = |reason: ParquetError| {
        Error::format(path, "a whole Parquet file of tokens", reason.to_string()).caused_by(reason)
    };
    let start = bytes.slice(..bytes.len().min(LOOKED_AT));
    let reader = SerializedFileReader::new(bytes).map_err(|reason| {
        let expected = "a whole Parquet file of tokens";
        mistaken(path, &start, Format::Parquet, expected, reason.to_string()).caused_by(reason)
    })?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let place = schema
        .columns()
        .iter()
        .position(|column| column.path().parts().first().is_some_and(|name| name == COLUMN));
    let Some(place) = place else {
        return Err(Error::format(path, format!("a column `{COLUMN}`"), "no such column"));
    };
    let column = schema.column(place);
    let mut found = FileRows::default();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(broken)?;
        let reader = group.get_column_reader(place).map_err(broken)?;
        let whole = match reader {
            ColumnReader::Int32ColumnReader(reader) => found.read(reader, &column, i64::from),
            ColumnReader::Int64ColumnReader(reader) => found.read(reader, &column, |value| value),
            _ => return Err(Error::format(path, format!("integers in `{COLUMN}`"), "others")),
        };
        if whole.map_err(broken)? == Reading::Stopped {
            return Err(Error::Interrupted { what: format!("reading {}", path.display()) });
        }
    }
    found.contexts(path)
}

/// How the reading of a part of a file ended.
#[derive(PartialEq)]
enum Reading {
    Done,
    Stopped,
}

/// Rows of a file as they are read.
#[derive(Default)]
struct FileRows {
    tokens: Vec<i64>,
    starts: Vec<usize>,
}

impl FileRows {
    fn read<T: DataType>(
        &mut self,
        mut reader: ColumnReaderImpl<T>,
        column: &ColumnDescriptor,
        wide: impl Fn(T::T) -> i64,
    ) -> parquet::errors::Result<Reading> {
        loop {
            if interrupted() {
                return Ok(Reading::Stopped);
            }
            let (mut defined, mut repeated, mut values) = (Vec::new(), Vec::new(), Vec::new());
            let (rows, ..) =
                reader.read_records(1024, Some(&mut defined), Some(&mut repeated), &mut values)?;
            if rows == 0 {
                return Ok(Reading::Done);
            }
            let mut values = values.into_iter();
            for (defined, repeated) in defined.iter().zip(&repeated) {
                if *repeated == 0 {
                    self.starts.push(self.tokens.len());
                }
                if *defined == column.max_def_level() {
                    self.tokens.extend(values.next().map(&wide));
                }
            }
        }
    }

    fn contexts(self, path: &Path) -> Result<Contexts> {
        let ends = self.starts.iter().skip(1).copied().chain([self.tokens.len()]);
        let lengths: Vec<usize> =
            self.starts.iter().zip(ends).map(|(start, end)| end - start).collect();
        let length = lengths.first().copied().unwrap_or(0);
        if let Some(row) = lengths.iter().position(|own| *own != length || length == 0) {
            let expected = "lists of equal length, at least one token each";
            let found = format!("{} tokens in row {row}, {length} in the first", lengths[row]);
            return Err(Error::format(path, expected, found));
        }
        let tokens = self.tokens.iter().map(|token| u32::try_from(*token));
        let tokens = tokens
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|_| Error::format(path, "tokens from 0 to 4,294,967,295", "others"))?;
        Contexts::new(length, tokens)
            .map_err(|_| Error::format(path, "at least one context", "no rows"))
    }
}

show_as_text!(Contexts);

impl fmt::Display for Contexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, length) = (self.len(), self.length());
        write!(f, "{count} contexts of {length} tokens, from {}", self.source())
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn sample() -> Contexts {
        Contexts::new(7, (0..7 * 3000).map(|i| i * i % 4096).collect()).unwrap()
    }

    #[test]
    fn saved_contexts_come_back() {
        let folder = tempfile::tempdir().unwrap();
        sample().save(folder.path()).unwrap();
        let loaded = Contexts::from_pretrained(folder.path().to_str().unwrap()).unwrap();
        assert_eq!((loaded.len(), loaded.length()), (3000, 7));
        assert_eq!(loaded.as_slice(), sample().as_slice());
        assert_eq!(loaded.get(2).unwrap(), &sample().as_slice()[14..21]);
        assert_eq!(loaded.batch(2998, 16, &Device::Cpu).unwrap().dims(), [2, 7]);
        assert!(loaded.get(3000).unwrap_err().to_string().contains("below 3000"));
        assert!(loaded.batch(3000, 1, &Device::Cpu).is_err());
    }

    #[test]
    fn heads_are_the_first_tokens_of_long_texts() {
        let texts = || [vec![1, 2, 3, 4], vec![5, 6], vec![7, 8, 9]];
        let plain = Contexts::heads_of(texts(), 3, None).unwrap();
        assert_eq!(plain.as_slice(), [1, 2, 3, 7, 8, 9]);
        let begun = Contexts::heads_of(texts(), 3, Some(0)).unwrap();
        assert_eq!(begun.as_slice(), [0, 1, 2, 0, 5, 6, 0, 7, 8]);
        let message =
            |length, bos| Contexts::heads_of(texts(), length, bos).unwrap_err().to_string();
        assert!(message(5, None).contains("at least one of 5 tokens, found 4 at most"));
        assert!(message(1, Some(0)).contains("beside that which begins it"));
        assert!(message(0, None).contains("the length of the contexts"));
        let tokenizer = Tokenizer::train(["one two three four"], 280).unwrap();
        let ids = tokenizer.encode_plain("one two three four").unwrap();
        let head = Contexts::heads(["one two three four", "o"], &tokenizer, 3, Some(9)).unwrap();
        assert_eq!(head.as_slice(), [9, ids[0], ids[1]]);
        let texts = ["o", "one two three four", ""];
        let contexts = Contexts::from_documents(texts, &tokenizer, ids.len()).unwrap();
        assert_eq!(contexts.as_slice(), ids);
        let error = Contexts::from_documents(texts, &tokenizer, ids.len() + 1).unwrap_err();
        assert!(error.to_string().starts_with("the texts must be at least one of"), "{error}");
    }

    #[test]
    fn files_that_are_no_contexts_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = || {
            let name = folder.path().to_str().unwrap();
            Contexts::from_pretrained(name).unwrap_err().to_string()
        };
        assert!(message().contains("could not read"), "{}", message());
        sample().save(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(message().contains("a whole Parquet file"), "{}", message());
        let error = Contexts::from_pretrained(folder.path().to_str().unwrap()).unwrap_err();
        let source = error.source().unwrap();
        assert!(source.is::<ParquetError>() && error.to_string().contains(&source.to_string()));
        let ragged = FileRows { tokens: vec![1, 2, 3], starts: vec![0, 2] };
        let message = ragged.contexts(&path).unwrap_err().to_string();
        assert!(message.contains("1 tokens in row 1, 2 in the first"), "{message}");
        let negative = FileRows { tokens: vec![1, -2], starts: vec![0] };
        assert!(negative.contexts(&path).unwrap_err().to_string().contains("tokens from 0"));
        assert!(Contexts::new(3, vec![0; 4]).unwrap_err().to_string().contains("multiple of 3"));
    }
}
