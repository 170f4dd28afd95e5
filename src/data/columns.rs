//! Columns of Parquet files, some rows at a time.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::column::reader::ColumnReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::RowGroupReader;
use parquet::file::serialized_reader::SerializedRowGroupReader;
use parquet::schema::types::ColumnDescriptor;

use super::column_cells::{
    Cells, ColumnKind, IntegerColumn, NumberColumn, ROWS_PER_CALL, TextColumn,
};
use crate::store::{Blob, Format, LOOKED_AT, mistaken};
use crate::{Error, Result};

/// Names of columns that a message lists.
const MAX_NAMES_LISTED: usize = 12;

/// A Parquet file of plain columns and lists. If it has a page index, only the pages with the rows that
/// are asked for are read.
#[derive(Clone)]
pub(crate) struct ColumnFile {
    path: PathBuf,
    content: Arc<Blob>,
    metadata: Arc<ParquetMetaData>,
    /// The first row of each group of rows, and the number of rows.
    group_starts: Vec<usize>,
}

/// Lists, one for each of some rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lists<T> {
    pub(crate) values: Vec<T>,
    /// Where each list ends.
    pub(crate) ends: Vec<usize>,
}

impl<T> Lists<T> {
    /// The list of a row.
    pub(crate) fn get(&self, row: usize) -> &[T] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.values[start..self.ends[row]]
    }
}

impl ColumnFile {
    /// The file with the bytes `content`; `path` names it in messages, and `expected` says what it
    /// should be.
    ///
    /// # Errors
    /// [`Error::Format`] for anything but a whole Parquet file.
    pub(crate) fn open(path: &Path, content: Blob, expected: &str) -> Result<Self> {
        let metadata = ParquetMetaDataReader::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Optional)
            .parse_and_finish(&content);
        let metadata = metadata.map_err(|reason| {
            let start = content.slice(0..LOOKED_AT).read().unwrap_or_default();
            mistaken(path, &start, Format::Parquet, expected, reason.to_string()).caused_by(reason)
        })?;
        let mut group_starts = vec![0usize];
        for group in metadata.row_groups() {
            let rows = usize::try_from(group.num_rows()).ok();
            let start = group_starts[group_starts.len() - 1];
            let end = rows.and_then(|rows| start.checked_add(rows)).ok_or_else(|| {
                Error::format(path, expected, format!("a group of {} rows", group.num_rows()))
            })?;
            group_starts.push(end);
        }
        let (path, content, metadata) = (path.to_owned(), content.into(), metadata.into());
        let file = Self { path, content, metadata, group_starts };
        file.check_pages()?;
        Ok(file)
    }

    /// Returns an error if the page index speaks of pages that cannot be.
    fn check_pages(&self) -> Result<()> {
        let Some(index) = self.metadata.offset_index() else { return Ok(()) };
        for (group, columns) in self.metadata.row_groups().iter().zip(index) {
            let rows = group.num_rows();
            for (chunk, own) in group.columns().iter().zip(columns) {
                let pages = own.page_locations();
                let first = pages.first().map(|page| page.first_row_index);
                let ascending = pages.windows(2).all(|pair| {
                    pair[0].first_row_index < pair[1].first_row_index
                        && pair[0].offset < pair[1].offset
                });
                let last = pages.last().map_or(0, |page| page.first_row_index);
                let (start, length) = chunk.byte_range();
                let within = pages.iter().all(|page| {
                    let (offset, size) = (page.offset as u64, page.compressed_page_size as u64);
                    page.offset >= 0
                        && page.compressed_page_size >= 0
                        && offset >= start
                        && offset + size <= start.saturating_add(length)
                });
                if first.is_some_and(|row| row != 0) || !ascending || last > rows || !within {
                    let expected = "a page index of the pages that are there";
                    return Err(Error::format(&self.path, expected, "another"));
                }
            }
        }
        Ok(())
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.group_starts[self.group_starts.len() - 1]
    }

    /// The text that the file has under `key` beside its columns.
    pub(crate) fn note(&self, key: &str) -> Option<&str> {
        let notes = self.metadata.file_metadata().key_value_metadata()?;
        notes.iter().find(|note| note.key == key)?.value.as_deref()
    }

    /// Whether there is a column `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.columns().any(|column| column == name)
    }

    fn columns(&self) -> impl Iterator<Item = &str> {
        let schema = self.metadata.file_metadata().schema();
        schema.get_fields().iter().map(|field| field.name())
    }

    /// The names of the columns, for a message.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.columns().take(MAX_NAMES_LISTED).collect();
        match names.is_empty() {
            true => "no columns".to_owned(),
            false => format!("the columns {}", names.join(", ")),
        }
    }

    /// Integers in a range of rows of the column `name`.
    ///
    /// # Errors
    /// [`Error::Format`] if there is no such column, if it holds anything else, if one is missing, or if
    /// it cannot be read.
    pub(crate) fn integers(&self, name: &str, rows: Range<usize>) -> Result<Vec<i64>> {
        Ok(self.read::<IntegerColumn>(name, rows, CellShape::Plain)?.values)
    }

    /// Numbers of any type in a range of rows.
    ///
    /// # Errors
    /// As [`ColumnFile::integers`]; for NaN.
    pub(crate) fn numbers(&self, name: &str, rows: Range<usize>) -> Result<Vec<f64>> {
        let values = self.read::<NumberColumn>(name, rows, CellShape::Plain)?.values;
        self.check_numbers(name, &values)?;
        Ok(values)
    }

    /// Texts in a range of rows.
    ///
    /// # Errors
    /// As [`ColumnFile::integers`].
    pub(crate) fn texts(&self, name: &str, rows: Range<usize>) -> Result<Vec<String>> {
        Ok(self.read::<TextColumn>(name, rows, CellShape::Plain)?.values)
    }

    /// Lists of integers in a range of rows.
    ///
    /// # Errors
    /// As [`ColumnFile::integers`].
    pub(crate) fn integer_lists(&self, name: &str, rows: Range<usize>) -> Result<Lists<i64>> {
        self.read::<IntegerColumn>(name, rows, CellShape::Lists)
    }

    /// Lists of numbers of any type in a range of rows.
    ///
    /// # Errors
    /// As [`ColumnFile::numbers`].
    pub(crate) fn number_lists(&self, name: &str, rows: Range<usize>) -> Result<Lists<f64>> {
        let lists = self.read::<NumberColumn>(name, rows, CellShape::Lists)?;
        self.check_numbers(name, &lists.values)?;
        Ok(lists)
    }

    fn check_numbers(&self, name: &str, values: &[f64]) -> Result<()> {
        match values.iter().any(|value| value.is_nan()) {
            true => Err(Error::format(&self.path, format!("numbers in `{name}`"), "NaN")),
            false => Ok(()),
        }
    }

    /// The place of the column `name` among those of the file, and what is known of it.
    fn find(
        &self,
        name: &str,
        shape: CellShape,
        holds: &str,
    ) -> Result<(usize, &ColumnDescriptor)> {
        let schema = self.metadata.file_metadata().schema_descr();
        let own = schema.columns().iter().enumerate();
        let own =
            own.filter(|(_, column)| column.path().parts().first().is_some_and(|n| n == name));
        let own: Vec<_> = own.collect();
        let expected = match shape {
            CellShape::Plain => format!("a column `{name}` of {holds}"),
            CellShape::Lists => format!("a column `{name}` of lists of {holds}"),
        };
        let levels = match shape {
            CellShape::Plain => 0,
            CellShape::Lists => 1,
        };
        match &own[..] {
            [] => Err(Error::format(&self.path, expected, self.names())),
            [(at, column)] if column.max_rep_level() == levels => Ok((*at, column)),
            [(_, column)] if column.max_rep_level() == 0 => {
                Err(Error::format(&self.path, expected, "no lists in it"))
            }
            _ => Err(Error::format(&self.path, expected, "lists or structures in it")),
        }
    }

    /// What `kind` makes of a range of rows of a column.
    fn read<K: ColumnKind>(
        &self,
        name: &str,
        rows: Range<usize>,
        shape: CellShape,
    ) -> Result<Lists<K::Value>> {
        let (place, column) = self.find(name, shape, K::HOLDS)?;
        let mut cells = Cells {
            values: Vec::with_capacity(rows.len().min(ROWS_PER_CALL)),
            ends: Vec::new(),
            missing: None,
            max_defined: column.max_def_level(),
            is_optional: column.self_type().is_optional(),
            is_list: shape == CellShape::Lists,
        };
        for (group, bounds) in self.group_starts.windows(2).enumerate() {
            let (start, end) = (rows.start.max(bounds[0]), rows.end.min(bounds[1]));
            if start >= end {
                continue;
            }
            let part = start - bounds[0]..end - bounds[0];
            let read =
                self.column_reader(group, place).and_then(|own| K::read(own, part, &mut cells));
            let is_kind = read.map_err(|reason| self.broken(name, &reason).caused_by(reason))?;
            if !is_kind {
                let expected = format!("{} in `{name}`", K::HOLDS);
                let found = column.physical_type().to_string();
                return Err(Error::format(&self.path, expected, found));
            }
        }
        let is_whole = cells.ends.len() == rows.len()
            && (shape == CellShape::Lists || cells.values.len() <= rows.len());
        if !is_whole {
            let found = format!("{} of {}", cells.ends.len(), rows.len());
            return Err(Error::format(&self.path, format!("every row of `{name}`"), found));
        }
        if let Some(row) = cells.missing {
            let (expected, row) = (format!("{} in `{name}`", K::HOLDS), rows.start + row);
            return Err(Error::format(&self.path, expected, format!("nothing in row {row}")));
        }
        Ok(Lists { values: cells.values, ends: cells.ends })
    }

    fn column_reader(&self, group: usize, column: usize) -> parquet::errors::Result<ColumnReader> {
        let index = self.metadata.offset_index();
        let index = index.and_then(|index| index.get(group)).map(Vec::as_slice);
        let properties = ReaderProperties::builder().build();
        let reader = SerializedRowGroupReader::new(
            Arc::clone(&self.content),
            self.metadata.row_group(group),
            index,
            properties.into(),
        )?;
        reader.get_column_reader(column)
    }

    fn broken(&self, name: &str, reason: &ParquetError) -> Error {
        Error::format(&self.path, format!("a readable column `{name}`"), reason.to_string())
    }
}

impl fmt::Debug for ColumnFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColumnFile")
            .field("path", &self.path)
            .field("rows", &self.rows())
            .finish_non_exhaustive()
    }
}

/// Whether rows hold a value or a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CellShape {
    Plain,
    Lists,
}
