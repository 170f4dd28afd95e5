//! A copy of the codes that is sorted by feature, for look-ups of single features.
//!
//! `by_feature/<key>/<bucket>/` has the entries of 512 features. The record `commit.json` is put in
//! place at the end and names the files of the copy, so that a copy is there whole or not at all,
//! and the one before it stays until then.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SessionContext;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, Encoding, ZstdLevel};
use datafusion::parquet::file::metadata::SortingColumn;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use datafusion::parquet::schema::types::ColumnPath;
use datafusion::prelude::col;
use eigenlens::harvest::StoredFile;
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::store::{Files, SortedCopy, is_in_bucket};
use crate::{session, tables};

/// Features of a folder.
const FEATURES_PER_BUCKET: i32 = 512;

/// Entries of a row group: one of the copy is about as many as a frequent feature has.
const ENTRIES_PER_ROW_GROUP: usize = 1 << 18;

/// Makes the sorted copy of every autoencoder of a store. Returns a line about each.
///
/// # Errors
/// If the folder is not a store or is a bucket, keeps no codes, or cannot be written.
pub(crate) async fn build(store: &Path, memory: usize) -> Result<Vec<String>, String> {
    if is_in_bucket(store) {
        return Err(format!(
            "{} is in a bucket: sorted copies are made in folders only (copy the store to one)",
            store.display()
        ));
    }
    let files = Files::open(store)?;
    let keys = files.keys("codes");
    if keys.is_empty() {
        return Err(format!("{} has no codes to sort: they were not kept", store.display()));
    }
    let mut lines = Vec::new();
    for key in keys {
        let copied = sort(&files, &key, memory).await;
        let copy = copied.map_err(|error| format!("by_feature/{key}: {}", error.message()))?;
        let rows: u64 = copy.files.iter().map(|file| file.rows).sum();
        let bytes: u64 = copy.files.iter().map(|file| file.bytes).sum();
        lines.push(format!(
            "{key}: {rows} entries of {} units, {:.1} MB",
            copy.units,
            bytes as f64 / 1e6
        ));
    }
    Ok(lines)
}

async fn sort(files: &Files, key: &str, memory: usize) -> Result<SortedCopy> {
    let context = SessionContext::new_with_state(session::local(memory)?);
    let codes = tables::listing(&context, files.of("codes", key)).await?;
    let order = ["feature", "context", "position"];
    let sorted = context.read_table(Arc::new(codes))?;
    let sorted = sorted.sort(order.map(|name| col(name).sort(true, true)).to_vec())?;
    let written = write(sorted.execute_stream().await?, &files.root, key).await?;
    let copy = SortedCopy { units: files.units, files: written };
    let record = SortedCopy::path(&files.root, key);
    let text = serde_json::to_vec_pretty(&copy).map_err(io::Error::from)?;
    fs::create_dir_all(record.parent().unwrap_or(&files.root))?;
    eigenlens_common::files::write(&record, text)?;
    remove_others(&files.root, key, &copy)?;
    Ok(copy)
}

/// Writes entries that come sorted, a file per bucket.
async fn write(
    mut entries: SendableRecordBatchStream,
    root: &Path,
    key: &str,
) -> Result<Vec<StoredFile>> {
    let schema = narrow(&entries.schema());
    let at = schema.index_of("feature")?;
    let mut written = Vec::new();
    let mut open: Option<Bucket> = None;
    while let Some(batch) = entries.next().await {
        let batch = cast(&batch?, &schema)?;
        let features = batch.column(at).as_primitive::<Int32Type>();
        let mut start = 0;
        while start < batch.num_rows() {
            let number = features.value(start) / FEATURES_PER_BUCKET;
            let own = features.values()[start..]
                .partition_point(|feature| feature / FEATURES_PER_BUCKET == number);
            if open.as_ref().is_none_or(|bucket| bucket.number != number) {
                if let Some(done) = open.take() {
                    written.push(done.finish(root, key)?);
                }
                open = Some(Bucket::begin(number, root, &schema)?);
            }
            if let Some(bucket) = &mut open {
                bucket.writer.write(&batch.slice(start, own))?;
                bucket.rows += own as u64;
            }
            start += own;
        }
    }
    if let Some(done) = open {
        written.push(done.finish(root, key)?);
    }
    Ok(written)
}

/// The columns as the harvest writes them: texts that views were made of are texts.
fn narrow(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8View | DataType::Dictionary(..) => {
            field.as_ref().clone().with_data_type(DataType::Utf8)
        }
        _ => field.as_ref().clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

fn cast(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns =
        columns.map(|(column, field)| datafusion::arrow::compute::cast(column, field.data_type()));
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)?)
}

/// The file of a bucket that is being written.
struct Bucket {
    number: i32,
    rows: u64,
    writer: ArrowWriter<NamedTempFile>,
}

impl Bucket {
    fn begin(number: i32, root: &Path, schema: &SchemaRef) -> Result<Self> {
        // The store's own way to call what is not finished, which `tidy` removes.
        let part = tempfile::Builder::new().prefix(".part-").tempfile_in(root)?;
        let writer = ArrowWriter::try_new(part, Arc::clone(schema), Some(properties(schema)?))?;
        Ok(Self { number, rows: 0, writer })
    }

    /// Gives the file its name, which depends on what is in it.
    fn finish(self, root: &Path, key: &str) -> Result<StoredFile> {
        let mut part = self.writer.into_inner()?;
        part.as_file_mut().sync_all()?;
        let (sha256, bytes) = sum(part.path())?;
        let path = format!("by_feature/{key}/{:03}/{}.parquet", self.number, &sha256[..8]);
        let place = root.join(&path);
        fs::create_dir_all(place.parent().unwrap_or(root))?;
        part.persist(&place).map_err(|error| error.error)?;
        let table = "by_feature".to_owned();
        Ok(StoredFile { table, key: key.to_owned(), path, bytes, rows: self.rows, sha256 })
    }
}

fn properties(schema: &Schema) -> Result<WriterProperties> {
    let column = |name: &str| {
        let found = schema.index_of(name);
        found.map_err(|_| exec_datafusion_err!("the codes have no column `{name}`"))
    };
    let sorted = |name: &str| {
        Ok::<_, DataFusionError>(SortingColumn {
            column_idx: column(name)? as i32,
            descending: false,
            nulls_first: true,
        })
    };
    let order = vec![sorted("feature")?, sorted("context")?, sorted("position")?];
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ENTRIES_PER_ROW_GROUP))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(order));
    for field in schema.fields() {
        let encoding = match field.data_type() {
            kind if kind.is_integer() => Encoding::DELTA_BINARY_PACKED,
            kind if kind.is_floating() => Encoding::BYTE_STREAM_SPLIT,
            // The autoencoder's name, which is the same in each row.
            _ => continue,
        };
        let path = ColumnPath::from(field.name().as_str());
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, encoding);
    }
    Ok(properties.build())
}

/// A file's SHA-256 sum in hexadecimal, and its length.
fn sum(path: &Path) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let bytes = io::copy(&mut fs::File::open(path)?, &mut hash)?;
    Ok((hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), bytes))
}

/// Compares the files of the copies with their records.
///
/// # Errors
/// If the folder is not a store, or a file is missing or damaged.
pub(crate) fn check(store: &Path) -> Result<(), String> {
    let files = Files::open(store)?;
    for file in files.table("by_feature") {
        let damaged = match sum(&files.root.join(&file.path)) {
            Ok((sha256, _)) if sha256 == file.sha256 => continue,
            Ok(_) => "it is damaged".to_owned(),
            Err(error) => error.to_string(),
        };
        return Err(format!(
            "{}: {damaged}; make the copy anew with `eigenlens-engine by-feature STORE`",
            file.path
        ));
    }
    Ok(())
}

/// Removes files of copies that this one replaces.
fn remove_others(root: &Path, key: &str, copy: &SortedCopy) -> io::Result<()> {
    let kept: BTreeSet<PathBuf> = copy.files.iter().map(|file| root.join(&file.path)).collect();
    for bucket in fs::read_dir(root.join("by_feature").join(key))? {
        let bucket = bucket?.path();
        if !bucket.is_dir() {
            continue;
        }
        for file in fs::read_dir(&bucket)? {
            let file = file?.path();
            if !kept.contains(&file) {
                fs::remove_file(file)?;
            }
        }
        // Fails where files are left.
        let _ = fs::remove_dir(bucket);
    }
    Ok(())
}
