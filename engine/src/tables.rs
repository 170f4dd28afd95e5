//! The tables of a store: `tokens`, `codes`, `statistics`, `examples`, `by_feature` and `runs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::datasource::ViewTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, col, lit};

use crate::store::{self, Files, RunRow, S3};

/// Registers every table of a store under its name.
///
/// # Errors
/// If the folder is not a store, or a file cannot be read.
pub(crate) async fn register(context: &SessionContext, store: &Path) -> Result<Files> {
    let files = Files::open(store).map_err(DataFusionError::Execution)?;
    for (name, paths) in files.tables() {
        let table = listing(context, paths).await?;
        context.register_table(name, Arc::new(table))?;
    }
    let runs = plan_of(store::runs(&files.root))?;
    context.register_table("runs", Arc::new(ViewTable::new(runs, None)))?;
    Ok(files)
}

/// A table of these Parquet files, which all have the columns of the first.
pub(crate) async fn listing(context: &SessionContext, paths: Vec<PathBuf>) -> Result<ListingTable> {
    let urls = paths.iter().map(|path| url(path)).collect::<Result<Vec<_>>>()?;
    let options = ListingOptions::new(Arc::new(ParquetFormat::default()));
    let schema = options.infer_schema(&context.state(), &urls[0]).await?;
    let config = ListingTableConfig::new_with_multi_paths(urls)
        .with_listing_options(options)
        .with_schema(schema);
    let cache = context.runtime_env().cache_manager.get_file_statistic_cache();
    Ok(ListingTable::try_new(config)?.with_cache(cache))
}

/// The address of a file, in whose name a star is a star.
fn url(path: &Path) -> Result<ListingTableUrl> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let (mut address, rest) = match bytes.strip_prefix(S3.as_bytes()) {
        Some(rest) => (S3.to_owned(), rest),
        None => ("file://".to_owned(), bytes),
    };
    for byte in rest {
        match byte {
            b'/' | b'-' | b'_' | b'.' => address.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => address.push(char::from(*byte)),
            byte => address.push_str(&format!("%{byte:02X}")),
        }
    }
    ListingTableUrl::parse(address)
}

/// Rows of `runs` as a plan, which can be sent to another machine.
fn plan_of(runs: Vec<RunRow>) -> Result<LogicalPlan> {
    let row = |row: RunRow| {
        let created = row.created.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let created = ScalarValue::Int64(created.map(|time| time.as_secs() as i64));
        let points: Vec<String> = row.run.points.into_iter().map(|point| point.name).collect();
        let saes: Vec<String> = row.run.saes.into_iter().map(|sae| sae.key).collect();
        vec![
            lit(row.name),
            lit(ScalarValue::Utf8(row.run.model.name)),
            lit(row.run.dataset.name),
            lit(points.join(", ")),
            lit(saes.join(", ")),
            lit(row.tokens as i64),
            lit(row.run.units as i64),
            lit(row.done as i64),
            lit(row.bytes as i64),
            cast(lit(created), DataType::Timestamp(TimeUnit::Second, None)),
        ]
    };
    let names = [
        "run", "model", "dataset", "points", "saes", "tokens", "units", "done", "bytes", "created",
    ];
    let named = names.iter().enumerate();
    let named = named.map(|(at, name)| col(format!("column{}", at + 1)).alias(*name));
    let rows: Vec<Vec<Expr>> = runs.into_iter().map(row).collect();
    LogicalPlanBuilder::values(rows)?.project(named.collect::<Vec<Expr>>())?.build()
}

/// Each table with its columns, as `codes(sae, layer, context, …)`.
pub(crate) async fn describe(context: &SessionContext) -> Vec<String> {
    let catalog = context.catalog("datafusion").and_then(|catalog| catalog.schema("public"));
    let Some(schema) = catalog else { return Vec::new() };
    let mut tables = Vec::new();
    for name in schema.table_names() {
        if let Ok(Some(table)) = schema.table(&name).await {
            let columns = table.schema();
            let columns = columns.fields().iter().map(|field| {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                match field.name().chars().all(plain) {
                    true => field.name().clone(),
                    false => format!("\"{}\"", field.name()),
                }
            });
            tables.push(format!("{name}({})", columns.collect::<Vec<_>>().join(", ")));
        }
    }
    tables.sort();
    tables
}
