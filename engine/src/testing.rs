//! Tables in memory, and the cells of an answer, for tests.

use std::sync::Arc;

use crate::grammar;
use datafusion::arrow::array::{ArrayRef, Float32Array, Int32Array, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::json::writer::{JsonArray, WriterBuilder};
use datafusion::datasource::MemTable;
use datafusion::execution::context::SessionContext;
use serde_json::Value;

/// A row of a small table of codes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) feature: i64,
    pub(crate) context: i64,
    pub(crate) position: i64,
    pub(crate) value: Option<f32>,
}

/// Rows in the order of contexts and positions, with `values` different values; one in 50 is NULL
/// and one in 51 is NaN.
pub(crate) fn rows(num_rows: u64, num_features: u64, values: u64) -> Vec<Row> {
    let mut state = 1u64;
    let mut next = move || {
        // Knuth's generator.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let value = |row: u64, drawn: u64| match row {
        row if row % 50 == 7 => None,
        row if row % 51 == 8 => Some(f32::NAN),
        _ => Some((drawn % values) as f32 * 0.37),
    };
    (0..num_rows)
        .map(|row| Row {
            feature: (next() % num_features) as i64,
            context: (row / 16) as i64,
            position: (row % 16) as i64,
            value: value(row, next()),
        })
        .collect()
}

/// A session in which `codes` is these rows, dealt out to partitions in batches.
pub(crate) fn context_over(rows: &[Row], num_partitions: usize, batch: usize) -> SessionContext {
    let schema = Arc::new(Schema::new(vec![
        Field::new("feature", DataType::Int32, false),
        Field::new("context", DataType::Int64, false),
        Field::new("position", DataType::Int32, false),
        Field::new("value", DataType::Float32, true),
    ]));
    let mut partitions = vec![Vec::new(); num_partitions];
    for (number, rows) in rows.chunks(batch).enumerate() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.feature as i32))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.context))),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.position as i32))),
            Arc::new(Float32Array::from_iter(rows.iter().map(|row| row.value))),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        partitions[number % num_partitions].push(batch);
    }
    let context = SessionContext::new_with_state(crate::session::local(1 << 30).unwrap());
    let table = MemTable::try_new(schema, partitions).unwrap();
    context.register_table("codes", Arc::new(table)).unwrap();
    context
}

/// The cells of the answer, row by row.
pub(crate) async fn cells(context: &SessionContext, sql: &str) -> Vec<Vec<Value>> {
    let plan = grammar::plan(context, sql).await.unwrap();
    let batches = context.execute_logical_plan(plan).await.unwrap().collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        let names = batch.schema();
        let mut writer =
            WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let objects: Vec<serde_json::Map<String, Value>> =
            serde_json::from_slice(&writer.into_inner()).unwrap();
        rows.extend(objects.into_iter().map(|mut object| {
            let cell = |field: &Arc<Field>| object.remove(field.name()).unwrap();
            names.fields().iter().map(cell).collect::<Vec<Value>>()
        }));
    }
    rows
}

/// The words in which a query fails.
pub(crate) async fn failure(context: &SessionContext, sql: &str) -> String {
    let answer = async {
        let plan = grammar::plan(context, sql).await?;
        context.execute_logical_plan(plan).await?.collect().await
    };
    answer.await.unwrap_err().to_string()
}
