//! Parquet files as others write them.

use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::ColumnFile;
use crate::store::Blob;

/// Columns of a file, in which everything may be missing, as Python's `datasets` writes them.
#[derive(Debug, Clone, Default)]
pub(crate) struct WrittenColumns(Vec<(String, WrittenCells)>);

#[derive(Debug, Clone)]
enum WrittenCells {
    Integers(Vec<Option<i64>>),
    Numbers(Vec<f64>),
    Texts(Vec<String>),
    Lists(Vec<Vec<f64>>),
}

impl WrittenColumns {
    fn with(mut self, name: &str, cells: WrittenCells) -> Self {
        self.0.push((name.to_owned(), cells));
        self
    }

    pub(crate) fn integers(self, name: &str, values: Vec<i64>) -> Self {
        self.missing(name, values.into_iter().map(Some).collect())
    }

    /// Integers of which some are missing; missing ones fill up to the length of the first column.
    pub(crate) fn missing(self, name: &str, mut values: Vec<Option<i64>>) -> Self {
        let rows = match self.0.first() {
            Some((_, WrittenCells::Integers(first))) => first.len(),
            _ => values.len(),
        };
        values.resize(rows, None);
        self.with(name, WrittenCells::Integers(values))
    }

    pub(crate) fn numbers(self, name: &str, values: Vec<f64>) -> Self {
        self.with(name, WrittenCells::Numbers(values))
    }

    pub(crate) fn texts(self, name: &str, values: Vec<String>) -> Self {
        self.with(name, WrittenCells::Texts(values))
    }

    pub(crate) fn lists(self, name: &str, values: Vec<Vec<f64>>) -> Self {
        self.with(name, WrittenCells::Lists(values))
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(own, _)| own != name);
        self
    }
}

/// Writes columns of equal length to the file `path`.
pub(crate) fn write_columns(path: &Path, columns: &WrittenColumns) {
    let field = |(name, cells): &(String, WrittenCells)| match cells {
        WrittenCells::Integers(_) => format!("optional int64 {name};"),
        WrittenCells::Numbers(_) => format!("optional double {name};"),
        WrittenCells::Texts(_) => format!("optional binary {name} (STRING);"),
        WrittenCells::Lists(_) => format!(
            "optional group {name} (LIST) {{ repeated group list {{ optional double element; }} }}"
        ),
    };
    let fields: String = columns.0.iter().map(field).collect();
    let schema = Arc::new(parse_message_type(&format!("message schema {{ {fields} }}")).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (_, cells) in &columns.0 {
        let mut column = group.next_column().unwrap().unwrap();
        match cells {
            WrittenCells::Integers(values) => {
                let defined: Vec<i16> = values.iter().map(|x| i16::from(x.is_some())).collect();
                let values: Vec<i64> = values.iter().copied().flatten().collect();
                let typed = column.typed::<Int64Type>();
                typed.write_batch(&values, Some(&defined), None).unwrap();
            }
            WrittenCells::Numbers(values) => {
                let defined = vec![1; values.len()];
                let typed = column.typed::<DoubleType>();
                typed.write_batch(values, Some(&defined), None).unwrap();
            }
            WrittenCells::Texts(texts) => {
                let defined = vec![1; texts.len()];
                let texts: Vec<ByteArray> =
                    texts.iter().map(|text| text.clone().into_bytes().into()).collect();
                let typed = column.typed::<ByteArrayType>();
                typed.write_batch(&texts, Some(&defined), None).unwrap();
            }
            WrittenCells::Lists(lists) => {
                let (mut defined, mut repeated) = (Vec::new(), Vec::new());
                for list in lists {
                    defined.extend(vec![3; list.len()]);
                    repeated.extend((0..list.len()).map(|at| i16::from(at > 0)));
                    if list.is_empty() {
                        defined.push(1);
                        repeated.push(0);
                    }
                }
                let typed = column.typed::<DoubleType>();
                typed.write_batch(&lists.concat(), Some(&defined), Some(&repeated)).unwrap();
            }
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

fn opened(columns: &WrittenColumns) -> ColumnFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    write_columns(file.path(), columns);
    ColumnFile::open(file.path(), Blob::open(file.path()).unwrap(), "columns").unwrap()
}

#[test]
fn ranges_of_rows_are_those_of_the_whole() {
    let rows = 50_000;
    let lists: Vec<Vec<f64>> =
        (0..rows).map(|row| (0..row % 4).map(|at| (row * 10 + at) as f64).collect()).collect();
    let file = opened(
        &WrittenColumns::default()
            .integers("a", (0..rows as i64).map(|row| row * row).collect())
            .numbers("b", (0..rows).map(|row| row as f64 / 2.0).collect())
            .texts("c", (0..rows).map(|row| format!("é{row}")).collect())
            .lists("d", lists.clone()),
    );
    assert_eq!(file.rows(), rows);
    for range in [0..rows, 0..0, 19_990..40_010, rows - 1..rows] {
        let integers = file.integers("a", range.clone()).unwrap();
        assert!(integers.into_iter().eq(range.clone().map(|row| (row * row) as i64)));
        let numbers = file.numbers("b", range.clone()).unwrap();
        assert!(numbers.into_iter().eq(range.clone().map(|row| row as f64 / 2.0)));
        let texts = file.texts("c", range.clone()).unwrap();
        assert!(texts.into_iter().eq(range.clone().map(|row| format!("é{row}"))));
        let found = file.number_lists("d", range.clone()).unwrap();
        assert!(range.clone().all(|row| found.get(row - range.start) == lists[row]));
    }
}

#[test]
fn columns_that_are_not_as_expected_are_named() {
    let file = opened(
        &WrittenColumns::default()
            .missing("a", vec![Some(1), None])
            .numbers("b", vec![1.0, f64::NAN])
            .lists("d", vec![vec![], vec![f64::NAN]]),
    );
    let message = |error: crate::Error| error.to_string();
    assert!(message(file.integers("a", 0..2).unwrap_err()).contains("nothing in row 1"));
    assert_eq!(file.integers("a", 0..1).unwrap(), [1]);
    assert!(message(file.numbers("b", 0..2).unwrap_err()).contains("numbers in `b`, found NaN"));
    assert!(message(file.integers("b", 0..2).unwrap_err()).contains("integers in `b`"));
    assert!(message(file.number_lists("d", 0..2).unwrap_err()).contains("`d`, found NaN"));
    assert_eq!(file.number_lists("d", 0..1).unwrap().get(0), [0.0; 0]);
    assert!(message(file.numbers("d", 0..1).unwrap_err()).contains("found lists"));
    assert!(message(file.number_lists("b", 0..1).unwrap_err()).contains("no lists"));
    let found = message(file.texts("e", 0..1).unwrap_err());
    assert!(found.contains("a column `e` of texts, found the columns a, b, d"), "{found}");
}
