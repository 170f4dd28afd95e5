//! What the values of a Parquet column become.

use std::ops::Range;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;

/// Rows that are read in one call.
pub(super) const ROWS_PER_CALL: usize = 1 << 16;

/// What was read so far of a column.
pub(super) struct Cells<V> {
    pub(super) values: Vec<V>,
    /// Where each row ends.
    pub(super) ends: Vec<usize>,
    /// The first row without a value, or with a value missing in its list.
    pub(super) missing: Option<usize>,
    pub(super) max_defined: i16,
    pub(super) is_optional: bool,
    pub(super) is_list: bool,
}

impl<V> Cells<V> {
    fn read<T: DataType>(
        &mut self,
        mut reader: ColumnReaderImpl<T>,
        rows: Range<usize>,
        convert: impl Fn(T::T) -> parquet::errors::Result<V>,
    ) -> parquet::errors::Result<bool> {
        let ended = || ParquetError::EOF("fewer rows than the file says".to_owned());
        if reader.skip_records(rows.start)? != rows.start {
            return Err(ended());
        }
        let mut left = rows.len();
        let (mut defined, mut repeated) = (Vec::new(), Vec::new());
        while left > 0 {
            defined.clear();
            repeated.clear();
            let mut values = Vec::new();
            let call = left.min(ROWS_PER_CALL);
            let (records, _, levels) =
                reader.read_records(call, Some(&mut defined), Some(&mut repeated), &mut values)?;
            if records == 0 || records > left {
                return Err(ended());
            }
            left -= records;
            if self.max_defined == 0 {
                defined.resize(levels.max(values.len()), 0);
            }
            repeated.resize(defined.len(), 0);
            self.take(&defined, &repeated, values, &convert)?;
        }
        Ok(true)
    }

    /// Sorts values into their rows.
    fn take<T>(
        &mut self,
        defined: &[i16],
        repeated: &[i16],
        values: Vec<T>,
        convert: &impl Fn(T) -> parquet::errors::Result<V>,
    ) -> parquet::errors::Result<()> {
        // From this level on a list has an entry, which may be missing.
        let has_entry = self.max_defined - i16::from(self.is_optional);
        let mut values = values.into_iter();
        for (defined, repeated) in defined.iter().zip(repeated) {
            if *repeated == 0 {
                self.ends.push(self.values.len());
            }
            let row = self.ends.len().saturating_sub(1);
            if *defined == self.max_defined {
                let value = values.next().ok_or_else(|| {
                    ParquetError::EOF("fewer values than the file says".to_owned())
                })?;
                self.values.push(convert(value)?);
            } else if !(self.is_list && *defined == has_entry - 1) {
                self.missing = self.missing.or(Some(row));
            }
            if let Some(end) = self.ends.last_mut() {
                *end = self.values.len();
            }
        }
        Ok(())
    }
}

/// What values of a column become.
pub(super) trait ColumnKind {
    type Value;
    /// Its name in messages.
    const HOLDS: &'static str;

    /// Reads rows; false if the column holds something else.
    fn read(
        reader: ColumnReader,
        rows: Range<usize>,
        cells: &mut Cells<Self::Value>,
    ) -> parquet::errors::Result<bool>;
}

pub(super) struct IntegerColumn;
pub(super) struct NumberColumn;
pub(super) struct TextColumn;

impl ColumnKind for IntegerColumn {
    type Value = i64;
    const HOLDS: &'static str = "integers";

    fn read(
        reader: ColumnReader,
        rows: Range<usize>,
        cells: &mut Cells<i64>,
    ) -> parquet::errors::Result<bool> {
        match reader {
            ColumnReader::Int32ColumnReader(own) => cells.read(own, rows, |x| Ok(i64::from(x))),
            ColumnReader::Int64ColumnReader(own) => cells.read(own, rows, Ok),
            _ => Ok(false),
        }
    }
}

impl ColumnKind for NumberColumn {
    type Value = f64;
    const HOLDS: &'static str = "numbers";

    fn read(
        reader: ColumnReader,
        rows: Range<usize>,
        cells: &mut Cells<f64>,
    ) -> parquet::errors::Result<bool> {
        match reader {
            ColumnReader::Int32ColumnReader(own) => cells.read(own, rows, |x| Ok(f64::from(x))),
            ColumnReader::Int64ColumnReader(own) => cells.read(own, rows, |x| Ok(x as f64)),
            ColumnReader::FloatColumnReader(own) => cells.read(own, rows, |x| Ok(f64::from(x))),
            ColumnReader::DoubleColumnReader(own) => cells.read(own, rows, Ok),
            _ => Ok(false),
        }
    }
}

impl ColumnKind for TextColumn {
    type Value = String;
    const HOLDS: &'static str = "texts";

    fn read(
        reader: ColumnReader,
        rows: Range<usize>,
        cells: &mut Cells<String>,
    ) -> parquet::errors::Result<bool> {
        match reader {
            ColumnReader::ByteArrayColumnReader(own) => cells.read(own, rows, |bytes| {
                let text = bytes.as_utf8()?;
                Ok(text.to_owned())
            }),
            _ => Ok(false),
        }
    }
}
