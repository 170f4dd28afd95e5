//! Writing a file of examples.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, GzipLevel};
use parquet::data_type::{FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::LayerExample;
use super::file::TOKENS;
use super::header::{ExampleHeader, NOTE, NOTE_SUM};
use super::rule::ExampleRule;
use crate::Result;

/// Rows of a page: what a look-up reads and unpacks of each column.
const ROWS_PER_PAGE: usize = 1 << 10;
/// Rows of a group, whose columns are written one after the other.
const ROWS_PER_GROUP: usize = 1 << 18;
/// Columns of integers that every file has, in their order.
const INTEGERS: [&str; 5] = ["layer", "latent", "rank", "context", "position"];
/// Those that the original's windows have too, which may begin in an earlier context or be empty.
const OF_ORIGINAL: [&str; 2] = ["start", "token_id"];

/// Writes sorted examples to the file `path`, without the tokens of windows unless `with_tokens`.
///
/// # Errors
/// If the file cannot be written, or one of the examples is an error.
pub(super) fn write_examples(
    path: &Path,
    header: &ExampleHeader,
    with_tokens: bool,
    examples: impl Iterator<Item = Result<LayerExample>>,
) -> io::Result<()> {
    let mut group = ExampleGroup::new(header, with_tokens);
    let writer = begin(path, header, &group);
    let mut writer = writer.map_err(io::Error::other)?;
    for example in examples {
        group.push(&example.map_err(io::Error::other)?);
        if group.rows() == ROWS_PER_GROUP {
            group.write(&mut writer).map_err(io::Error::other)?;
        }
    }
    if group.rows() > 0 {
        group.write(&mut writer).map_err(io::Error::other)?;
    }
    let file = writer.into_inner().map_err(io::Error::other)?;
    file.into_inner().map_err(|reason| reason.into_error())?;
    Ok(())
}

fn begin(
    path: &Path,
    header: &ExampleHeader,
    group: &ExampleGroup,
) -> parquet::errors::Result<SerializedFileWriter<BufWriter<File>>> {
    let list = |holds: &str, name: &str| {
        format!(
            "required group {name} (LIST) {{ repeated group list {{ required {holds} element; }} }} "
        )
    };
    let integers = group.integers.iter().map(|(name, _)| format!("required int64 {name}; "));
    let mut fields: String = integers.collect();
    fields += "required float act; ";
    if group.tokens.is_some() {
        fields += &list("int64", TOKENS);
    }
    fields += &list("float", "acts");
    let schema = parse_message_type(&format!("message schema {{ {fields} }}"))?;
    let notes = header.notes().map_err(|reason| ParquetError::External(reason.into()))?;
    let notes = [NOTE, NOTE_SUM].into_iter().zip(notes);
    let notes = notes.map(|(key, text)| KeyValue::new(key.to_owned(), text)).collect();
    let sorted = (0..3).map(|column_idx| SortingColumn {
        column_idx,
        descending: false,
        nulls_first: false,
    });
    // Pages in gzip have a checksum.
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::GZIP(GzipLevel::default()))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_data_page_row_count_limit(ROWS_PER_PAGE)
        .set_write_batch_size(ROWS_PER_PAGE)
        .set_key_value_metadata(Some(notes))
        .set_sorting_columns(Some(sorted.collect()));
    let plain = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    let entries = |name: &str| {
        ColumnPath::new(vec![name.to_owned(), "list".to_owned(), "element".to_owned()])
    };
    for (name, _) in &group.integers {
        properties = properties.set_column_encoding(plain(name), Encoding::DELTA_BINARY_PACKED);
    }
    // What people ask files like this for.
    for name in ["layer", "latent", "rank", "act"] {
        let page = EnabledStatistics::Page;
        properties = properties.set_column_statistics_enabled(plain(name), page);
    }
    let properties = properties
        .set_column_encoding(entries(TOKENS), Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding(plain("act"), Encoding::BYTE_STREAM_SPLIT)
        .set_column_encoding(entries("acts"), Encoding::BYTE_STREAM_SPLIT)
        .build();
    let file = BufWriter::new(File::create(path)?);
    SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))
}

/// Rows that are written together.
struct ExampleGroup {
    integers: Vec<(&'static str, Vec<i64>)>,
    activation: Vec<f32>,
    tokens: Option<Vec<i64>>,
    activations: Vec<f32>,
    /// Tokens of each window.
    lengths: Vec<usize>,
}

impl ExampleGroup {
    fn new(header: &ExampleHeader, with_tokens: bool) -> Self {
        let of_original = match header.options().rule {
            ExampleRule::Original => &OF_ORIGINAL[..],
            ExampleRule::Distinct | ExampleRule::Contexts => &[],
        };
        let names = INTEGERS.iter().chain(of_original);
        Self {
            integers: names.map(|name| (*name, Vec::new())).collect(),
            activation: Vec::new(),
            tokens: with_tokens.then(Vec::new),
            activations: Vec::new(),
            lengths: Vec::new(),
        }
    }

    fn rows(&self) -> usize {
        self.activation.len()
    }

    fn push(&mut self, row: &LayerExample) {
        let values = [
            row.layer as i64,
            row.latent as i64,
            row.rank as i64,
            row.context as i64,
            row.position as i64,
            row.start as i64,
            i64::from(row.token),
        ];
        self.integers.iter_mut().zip(values).for_each(|((_, own), value)| own.push(value));
        self.activation.push(row.activation);
        if let Some(tokens) = &mut self.tokens {
            tokens.extend(row.tokens.iter().map(|token| i64::from(*token)));
        }
        self.activations.extend_from_slice(&row.activations);
        self.lengths.push(row.activations.len());
    }

    /// Writes the rows, and forgets them.
    fn write(
        &mut self,
        writer: &mut SerializedFileWriter<BufWriter<File>>,
    ) -> parquet::errors::Result<()> {
        let mut group = writer.next_row_group()?;
        for (_, values) in &mut self.integers {
            column(&mut group, |own| own.typed::<Int64Type>().write_batch(values, None, None))?;
            values.clear();
        }
        column(&mut group, |own| {
            own.typed::<FloatType>().write_batch(&self.activation, None, None)
        })?;
        let (defined, repeated) = levels(&self.lengths);
        let levels = (Some(&*defined), Some(&*repeated));
        if let Some(tokens) = &mut self.tokens {
            column(&mut group, |own| {
                own.typed::<Int64Type>().write_batch(tokens, levels.0, levels.1)
            })?;
            tokens.clear();
        }
        column(&mut group, |own| {
            own.typed::<FloatType>().write_batch(&self.activations, levels.0, levels.1)
        })?;
        self.activation.clear();
        self.activations.clear();
        self.lengths.clear();
        group.close()?;
        Ok(())
    }
}

/// Writes the next column of a group.
fn column(
    group: &mut SerializedRowGroupWriter<'_, BufWriter<File>>,
    write: impl FnOnce(
        &mut parquet::file::writer::SerializedColumnWriter<'_>,
    ) -> parquet::errors::Result<usize>,
) -> parquet::errors::Result<()> {
    let Some(mut own) = group.next_column()? else {
        return Err(ParquetError::General("fewer columns than values".to_owned()));
    };
    write(&mut own)?;
    own.close()
}

/// Which entries of the lists are there, and which go on with the list before.
fn levels(lengths: &[usize]) -> (Vec<i16>, Vec<i16>) {
    let (mut defined, mut repeated) = (Vec::new(), Vec::new());
    for length in lengths {
        defined.resize(defined.len() + length.max(&1), i16::from(*length > 0));
        repeated.push(0);
        repeated.resize(defined.len(), 1);
    }
    (defined, repeated)
}
