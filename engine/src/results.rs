//! Answers as files that a reader of four types can read: i64, f64, text, bool.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, RecordBatch, StringArray, StringBuilder, new_null_array,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{EncoderOptions, make_encoder};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_writer::ArrowWriterOptions;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use futures::StreamExt as _;

/// Most rows of an answer.
pub(crate) const MAX_ROWS: usize = 1_000_000;

/// Writes the answer to a file. Returns the number of its rows.
///
/// # Errors
/// If the query fails, has more than [`MAX_ROWS`] rows, or the file cannot be written.
pub(crate) async fn write(
    mut answer: SendableRecordBatchStream,
    path: &Path,
) -> Result<usize, DataFusionError> {
    let schema = plain_schema(&answer.schema());
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let options =
        ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let file = File::create(path)?;
    let mut writer = ArrowWriter::try_new_with_options(file, Arc::clone(&schema), options)?;
    let mut num_rows = 0;
    while let Some(batch) = answer.next().await {
        let batch = batch?;
        num_rows += batch.num_rows();
        if num_rows > MAX_ROWS {
            return Err(DataFusionError::Execution(format!(
                "the answer has more than {MAX_ROWS} rows: add `limit`, aggregate, or write it to a \
                 file with COPY (query) TO 'file.parquet'"
            )));
        }
        writer.write(&plain(&batch, &schema)?)?;
    }
    writer.close()?;
    Ok(num_rows)
}

/// The columns of the answer with the types that they become.
pub(crate) fn plain_schema(schema: &Schema) -> SchemaRef {
    let plain = |field: &FieldRef| {
        let kind = match field.data_type() {
            kind if kind.is_integer() => DataType::Int64,
            kind if kind.is_floating() || kind.is_decimal() => DataType::Float64,
            DataType::Boolean => DataType::Boolean,
            _ => DataType::Utf8,
        };
        Field::new(field.name(), kind, true)
    };
    Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()))
}

/// The rows with those types: lists and structs are JSON, dates and times text.
///
/// # Errors
/// If an integer is larger than an i64.
pub(crate) fn plain(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| plain_column(column, field.data_type()));
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

fn plain_column(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::Null => Ok(new_null_array(kind, column.len())),
        nested if nested.is_nested() => json(column),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
            cast(column, kind)
        }
        _ if *kind == DataType::Utf8 => text(column),
        _ => cast(column, kind),
    }
}

fn cast(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(column, kind, &CastOptions { safe: false, ..CastOptions::default() })
}

/// Each value as JSON.
fn json(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let field: FieldRef = Arc::new(Field::new("", column.data_type().clone(), true));
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(&field, column, &options)?;
    let mut texts = StringBuilder::with_capacity(column.len(), 0);
    let mut buffer = Vec::new();
    for row in 0..column.len() {
        if encoder.is_null(row) {
            texts.append_null();
            continue;
        }
        buffer.clear();
        encoder.encode(row, &mut buffer);
        texts.append_value(String::from_utf8_lossy(&buffer));
    }
    Ok(Arc::new(texts.finish()))
}

/// Each value as a person writes it.
fn text(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let value = |row| column.is_valid(row).then(|| formatter.value(row).to_string());
    Ok(Arc::new(StringArray::from_iter((0..column.len()).map(value))))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn rows(sql: &str) -> Result<RecordBatch, ArrowError> {
        let batches = SessionContext::new().sql(sql).await.unwrap().collect().await.unwrap();
        plain(&batches[0], &plain_schema(&batches[0].schema()))
    }

    #[tokio::test]
    async fn four_types_are_left() {
        let batch = rows(
            "select 1::tinyint a, 2.5::real b, true c, 'x' d, null e, date '2026-11-28' f, \
             [1, null] g, {n: 0.1::real, s: 'é\"'} h, 12.25::decimal(6, 2) i, 7::bigint unsigned j",
        )
        .await
        .unwrap();
        let kinds: Vec<DataType> =
            batch.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        use DataType::{Boolean, Float64, Int64, Utf8};
        assert_eq!(kinds, [Int64, Float64, Boolean, Utf8, Utf8, Utf8, Utf8, Utf8, Float64, Int64]);
        let table = pretty_format_batches(&[batch]).unwrap().to_string();
        for cell in ["| 2.5 |", "| 2026-11-28 |", "| [1,null] |", "| 12.25 |"] {
            assert!(table.contains(cell), "{cell} in {table}");
        }
        assert!(table.contains(r#"{"n":0.1,"s":"é\""}"#), "{table}");
    }

    #[tokio::test]
    async fn an_integer_that_does_not_fit_is_an_error() {
        let error = rows("select 18446744073709551615::bigint unsigned a").await.unwrap_err();
        assert!(error.to_string().contains("18446744073709551615"), "{error}");
    }
}
