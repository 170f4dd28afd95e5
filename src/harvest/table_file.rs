//! Parquet files of plain columns, as any engine reads them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::files::{NewFile, OpenFile, WrittenFile};
use super::folder::StoreFolder;
use crate::{Error, Result};

/// Rows that are written or read in one call.
const ROWS_PER_CALL: usize = 1 << 16;
const PAGE_BYTES: usize = 1 << 20;
/// Rows in a group of a file.
pub(super) const ROWS_PER_GROUP: usize = 1 << 20;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnType {
    I64,
    I32,
    F32,
    F64,
    Bool,
    /// A text, the same in every row.
    Text,
    /// f32, of which some are missing.
    OptionalF32,
    /// A list of integers per row, all of one length.
    I32List(usize),
}

/// A column by its name.
#[derive(Debug, Clone)]
pub(super) struct TableColumn {
    name: String,
    holds: ColumnType,
}

impl TableColumn {
    pub(super) fn new(name: impl Into<String>, holds: ColumnType) -> Self {
        Self { name: name.into(), holds }
    }

    /// The path of its numbers in the file.
    fn path(&self) -> ColumnPath {
        let mut parts = vec![self.name.clone()];
        if let ColumnType::I32List(_) = self.holds {
            parts.extend(["list".to_owned(), "element".to_owned()]);
        }
        ColumnPath::new(parts)
    }

    /// Parquet's words for it.
    fn schema(&self) -> String {
        let name = &self.name;
        match self.holds {
            ColumnType::I64 => format!("required int64 {name};"),
            ColumnType::I32 => format!("required int32 {name};"),
            ColumnType::F32 => format!("required float {name};"),
            ColumnType::F64 => format!("required double {name};"),
            ColumnType::Bool => format!("required boolean {name};"),
            ColumnType::Text => format!("required binary {name} (STRING);"),
            ColumnType::OptionalF32 => format!("optional float {name};"),
            ColumnType::I32List(_) => format!(
                "required group {name} (LIST) {{ repeated group list {{ required int32 element; }} }}"
            ),
        }
    }
}

/// The rows of one column.
#[derive(Debug, Clone, Copy)]
pub(super) enum Values<'a> {
    I64(&'a [i64]),
    I32(&'a [i32]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    Bool(&'a [bool]),
    OptionalF32(&'a [Option<f32>]),
    /// This text in every row.
    Text(&'a str),
    /// This number in every row.
    SameI32(i32),
    /// The lists of all rows, one after the other.
    I32Lists(&'a [i32]),
}

/// Writes a file of columns, group after group of rows.
pub(super) struct TableWriter {
    writer: SerializedFileWriter<NewFile>,
    columns: Vec<TableColumn>,
    /// The folder of the store.
    root: PathBuf,
}

impl TableWriter {
    /// A file of these columns, whose rows are sorted by the columns `order`.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub(super) fn new(
        place: &StoreFolder,
        columns: Vec<TableColumn>,
        order: &[&str],
    ) -> Result<Self> {
        let root = place.root().to_owned();
        let file = place.begin()?;
        let writer = open(file, &columns, order).map_err(failed(&root))?;
        Ok(Self { writer, columns, root })
    }

    /// Writes `rows` rows: a part of the file with statistics of its own.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub(super) fn write_group(&mut self, rows: usize, values: &[Values<'_>]) -> Result<()> {
        let written = self.write(rows, values);
        written.map_err(failed(&self.root))
    }

    fn write(&mut self, rows: usize, values: &[Values<'_>]) -> parquet::errors::Result<()> {
        let mut group = self.writer.next_row_group()?;
        for (column, values) in self.columns.iter().zip(values) {
            let Some(mut writer) = group.next_column()? else {
                return Err(ParquetError::General("fewer columns than values".to_owned()));
            };
            match (*values, column.holds) {
                (Values::I64(values), _) => {
                    writer.typed::<Int64Type>().write_batch(values, None, None)?;
                }
                (Values::I32(values), _) => {
                    writer.typed::<Int32Type>().write_batch(values, None, None)?;
                }
                (Values::F32(values), _) => {
                    writer.typed::<FloatType>().write_batch(values, None, None)?;
                }
                (Values::F64(values), _) => {
                    writer.typed::<DoubleType>().write_batch(values, None, None)?;
                }
                (Values::Bool(values), _) => {
                    writer.typed::<BoolType>().write_batch(values, None, None)?;
                }
                (Values::OptionalF32(values), _) => {
                    let known: Vec<f32> = values.iter().copied().flatten().collect();
                    let defined: Vec<i16> = values.iter().map(|x| i16::from(x.is_some())).collect();
                    writer.typed::<FloatType>().write_batch(&known, Some(&defined), None)?;
                }
                (Values::Text(text), _) => {
                    let texts = vec![ByteArray::from(text); rows.min(ROWS_PER_CALL)];
                    in_calls(rows, |count| {
                        writer.typed::<ByteArrayType>().write_batch(&texts[..count], None, None)
                    })?;
                }
                (Values::SameI32(number), _) => {
                    let numbers = vec![number; rows.min(ROWS_PER_CALL)];
                    in_calls(rows, |count| {
                        writer.typed::<Int32Type>().write_batch(&numbers[..count], None, None)
                    })?;
                }
                (Values::I32Lists(values), ColumnType::I32List(length)) => {
                    let defined = vec![1; values.len()];
                    let repeated: Vec<i16> =
                        (0..values.len()).map(|at| i16::from(at % length != 0)).collect();
                    let typed = writer.typed::<Int32Type>();
                    typed.write_batch(values, Some(&defined), Some(&repeated))?;
                }
                (Values::I32Lists(_), _) => {
                    return Err(ParquetError::General("lists in a column of numbers".to_owned()));
                }
            }
            writer.close()?;
        }
        group.close()?;
        Ok(())
    }

    /// Ends the file and names it: [`NewFile::finish`].
    ///
    /// # Errors
    /// If the store cannot be written.
    pub(super) fn finish(self, start: &str) -> Result<WrittenFile> {
        let file = self.writer.into_inner().map_err(failed(&self.root))?;
        file.finish(start, "parquet")
    }
}

fn open(
    file: NewFile,
    columns: &[TableColumn],
    order: &[&str],
) -> parquet::errors::Result<SerializedFileWriter<NewFile>> {
    let fields: String = columns.iter().map(TableColumn::schema).collect();
    let schema = Arc::new(parse_message_type(&format!("message schema {{ {fields} }}"))?);
    let place = |name: &&str| columns.iter().position(|column| column.name == **name);
    let sorting = order.iter().filter_map(place).map(|place| SortingColumn {
        column_idx: place as i32,
        descending: false,
        nulls_first: false,
    });
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_sorting_columns(Some(sorting.collect()));
    for column in columns {
        let path = column.path();
        properties = match column.holds {
            ColumnType::I64 | ColumnType::I32 | ColumnType::I32List(_) => {
                properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
            }
            ColumnType::F32 | ColumnType::OptionalF32 => {
                properties.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT)
            }
            ColumnType::Text => properties.set_column_dictionary_enabled(path, true),
            ColumnType::F64 | ColumnType::Bool => properties,
        };
    }
    SerializedFileWriter::new(file, schema, Arc::new(properties.build()))
}

fn failed(root: &Path) -> impl FnOnce(ParquetError) -> Error + '_ {
    move |reason| Error::io("write", root)(std::io::Error::other(reason))
}

fn in_calls(
    rows: usize,
    mut write: impl FnMut(usize) -> parquet::errors::Result<usize>,
) -> parquet::errors::Result<()> {
    for start in (0..rows).step_by(ROWS_PER_CALL) {
        write((rows - start).min(ROWS_PER_CALL))?;
    }
    Ok(())
}

/// Reads columns of a file, group by group.
pub(super) struct TableReader {
    path: PathBuf,
    reader: SerializedFileReader<OpenFile>,
}

impl TableReader {
    /// # Errors
    /// If there is no such file, or if it is not a whole Parquet file.
    pub(super) fn open(place: &StoreFolder, name: &str) -> Result<Self> {
        let file = place.open_whole(name)?;
        let path = file.path().to_owned();
        let reader = SerializedFileReader::new(file).map_err(broken(&path))?;
        Ok(Self { path, reader })
    }

    /// Number of groups of rows.
    pub(super) fn groups(&self) -> usize {
        self.reader.num_row_groups()
    }

    /// The numbers of a column in a group; those of all lists if it holds lists, and those that are
    /// not missing if some are.
    fn read<T: DataType>(&self, group: usize, column: &str) -> Result<Vec<T::T>> {
        let schema = self.reader.metadata().file_metadata().schema_descr_ptr();
        let place = schema.columns().iter().position(|own| own.path().parts()[0] == column);
        let place =
            place.filter(|place| schema.column(*place).physical_type() == T::get_physical_type());
        let place = place.ok_or_else(|| {
            let expected = format!("a column `{column}` of {:?}", T::get_physical_type());
            Error::format(&self.path, expected, "none")
        })?;
        let whole = || -> parquet::errors::Result<Vec<T::T>> {
            let group = self.reader.get_row_group(group)?;
            let mut values =
                Vec::with_capacity(group.metadata().column(place).num_values() as usize);
            let mut reader = get_typed_column_reader::<T>(group.get_column_reader(place)?);
            let (mut defined, mut repeated) = (Vec::new(), Vec::new());
            loop {
                defined.clear();
                repeated.clear();
                let levels = (Some(&mut defined), Some(&mut repeated));
                let (rows, ..) =
                    reader.read_records(ROWS_PER_CALL, levels.0, levels.1, &mut values)?;
                if rows == 0 {
                    return Ok(values);
                }
            }
        };
        whole().map_err(broken(&self.path))
    }

    pub(super) fn i64(&self, group: usize, column: &str) -> Result<Vec<i64>> {
        self.read::<Int64Type>(group, column)
    }

    pub(super) fn i32(&self, group: usize, column: &str) -> Result<Vec<i32>> {
        self.read::<Int32Type>(group, column)
    }

    pub(super) fn f32(&self, group: usize, column: &str) -> Result<Vec<f32>> {
        self.read::<FloatType>(group, column)
    }

    pub(super) fn f64(&self, group: usize, column: &str) -> Result<Vec<f64>> {
        self.read::<DoubleType>(group, column)
    }
}

fn broken(path: &Path) -> impl Fn(ParquetError) -> Error + '_ {
    move |reason| {
        let expected = "a whole Parquet file of a store";
        Error::format(path, expected, reason.to_string()).caused_by(reason)
    }
}
