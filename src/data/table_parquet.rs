//! Tables in and out of Parquet files.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, Type as PhysicalType};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field;
use parquet::schema::types::{Type, TypePtr};

use super::table::{Cell, Table};
use crate::store::replace;
use crate::{Error, Result};

/// Integers up to here are exact as f64.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Table {
    /// The table in a Parquet file. Numbers become numbers, missing ones NaN; all else becomes text,
    /// lists and structs as they are written.
    ///
    /// # Errors
    /// If the file cannot be read or is no Parquet file.
    pub fn read_parquet(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(Error::io("read", path))?;
        let broken =
            |reason: ParquetError| Error::format(path, "a whole Parquet file", reason.to_string());
        let reader = SerializedFileReader::new(file).map_err(broken)?;
        let schema = reader.metadata().file_metadata().schema();
        let fields: Vec<TypePtr> = schema.get_fields().to_vec();
        let mut columns = vec![Vec::new(); fields.len()];
        for row in reader.get_row_iter(None).map_err(broken)? {
            let row = row.map_err(broken)?;
            for ((at, (_, value)), field) in row.get_column_iter().enumerate().zip(&fields) {
                columns[at].push(cell(value, is_number(field)));
            }
        }
        let mut columns = fields.iter().zip(columns);
        columns.try_fold(Self::new(), |table, (field, cells)| table.column(field.name(), cells))
    }

    /// Writes the table as a Parquet file if the path ends in `.parquet`, else as
    /// [`Table::save_csv`]. A column of whole numbers becomes i64, one of other numbers f64 with NaN as
    /// missing, and any other text.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        match path.extension().is_some_and(|own| own.eq_ignore_ascii_case("parquet")) {
            true => replace(path, |part| self.write_parquet(part).map_err(std::io::Error::other)),
            false => self.save_csv(path),
        }
    }

    fn write_parquet(&self, path: &Path) -> parquet::errors::Result<()> {
        let columns: Vec<(&str, WrittenColumn<'_>)> =
            self.columns().map(|(name, cells)| (name, WrittenColumn::of(cells))).collect();
        let fields: parquet::errors::Result<Vec<TypePtr>> =
            columns.iter().map(|(name, column)| column.field(name)).collect();
        let schema = Type::group_type_builder("schema").with_fields(fields?).build()?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let file = File::create(path)?;
        let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
        let mut group = writer.next_row_group()?;
        for (_, column) in columns {
            let Some(mut writer) = group.next_column()? else { break };
            match column {
                WrittenColumn::Integers(values) => {
                    writer.typed::<Int64Type>().write_batch(&values, None, None)?;
                }
                WrittenColumn::Numbers(values) => {
                    let defined: Vec<i16> = values.iter().map(|x| i16::from(!x.is_nan())).collect();
                    let known: Vec<f64> = values.into_iter().filter(|x| !x.is_nan()).collect();
                    writer.typed::<DoubleType>().write_batch(&known, Some(&defined), None)?;
                }
                WrittenColumn::Texts(cells) => {
                    let texts: Vec<ByteArray> =
                        cells.iter().map(|cell| cell.to_string().into_bytes().into()).collect();
                    writer.typed::<ByteArrayType>().write_batch(&texts, None, None)?;
                }
            }
            writer.close()?;
        }
        group.close()?;
        writer.close().map(drop)
    }
}

/// A column as it is written.
enum WrittenColumn<'a> {
    Integers(Vec<i64>),
    Numbers(Vec<f64>),
    Texts(&'a [Cell]),
}

impl<'a> WrittenColumn<'a> {
    fn of(cells: &'a [Cell]) -> Self {
        let number = |cell: &Cell| match cell {
            Cell::Number(value) => Some(*value),
            Cell::Text(_) => None,
        };
        let Some(numbers) = cells.iter().map(number).collect::<Option<Vec<f64>>>() else {
            return Self::Texts(cells);
        };
        match numbers.iter().all(|x| x.fract() == 0.0 && x.abs() <= EXACT) {
            true => Self::Integers(numbers.into_iter().map(|x| x as i64).collect()),
            false => Self::Numbers(numbers),
        }
    }

    fn field(&self, name: &str) -> parquet::errors::Result<TypePtr> {
        use parquet::basic::{LogicalType, Repetition};
        let (physical, repetition, logical) = match self {
            Self::Integers(_) => (PhysicalType::INT64, Repetition::REQUIRED, None),
            Self::Numbers(_) => (PhysicalType::DOUBLE, Repetition::OPTIONAL, None),
            Self::Texts(_) => {
                (PhysicalType::BYTE_ARRAY, Repetition::REQUIRED, Some(LogicalType::String))
            }
        };
        let builder = Type::primitive_type_builder(name, physical).with_repetition(repetition);
        Ok(Arc::new(builder.with_logical_type(logical).build()?))
    }
}

fn is_number(field: &Type) -> bool {
    use PhysicalType::{DOUBLE, FLOAT, INT32, INT64};
    field.is_primitive() && [INT32, INT64, FLOAT, DOUBLE].contains(&field.get_physical_type())
}

fn cell(value: &Field, is_number: bool) -> Cell {
    match value {
        Field::Null if is_number => f64::NAN.into(),
        Field::Null => "".into(),
        Field::Bool(value) => (*value).into(),
        Field::Byte(value) => f64::from(*value).into(),
        Field::Short(value) => f64::from(*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => f64::from(*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float16(value) => value.to_f32().into(),
        Field::Float(value) => (*value).into(),
        Field::Double(value) => (*value).into(),
        Field::Str(text) => text.into(),
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_back_from_parquet_with_its_types() -> Result<()> {
        let table = Table::new()
            .column("token", ["the", "cat \"é\"", ""])?
            .column("count", [3u64, 0, 1 << 40])?
            .column("score.5", [0.1, f64::NAN, -2.5e-30])?;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        table.save(&path)?;
        let read = Table::read_parquet(&path)?;
        assert_eq!(read.names(), table.names());
        assert_eq!(read.texts("token")?, table.texts("token")?);
        assert_eq!(read.numbers("count")?, table.numbers("count")?);
        let scores = read.numbers("score.5")?;
        assert_eq!((scores[0], scores[1].is_nan(), scores[2]), (0.1, true, -2.5e-30));
        table.save(folder.path().join("t.csv"))?;
        assert_eq!(
            Table::read_csv(folder.path().join("t.csv"))?.texts("token")?,
            read.texts("token")?
        );
        std::fs::write(&path, "no table").unwrap();
        let error = Table::read_parquet(&path).unwrap_err().to_string();
        assert!(error.contains("t.parquet") && error.contains("Parquet"), "{error}");
        assert!(Table::read_parquet(folder.path().join("none.parquet")).is_err());
        Ok(())
    }
}
