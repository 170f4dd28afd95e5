//! A store of the shipped model, and its rows as the files have them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, AsArray as _, ListArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Field, Float32Type, Int16Type, Int32Type, Int64Type, Schema,
};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use eigenlens::harvest::{Harvest, Store};
use eigenlens::prelude::*;

/// The name of the autoencoder in the store.
pub(crate) const KEY: &str = "1.mlp_out";

/// Begins a harvest of `units` units of `contexts` contexts into `folder/name`. Everything in it can
/// be loaded again by name.
pub(crate) fn begin(
    folder: &Path,
    name: &str,
    units: usize,
    contexts: usize,
) -> (PathBuf, Harvest) {
    let store = folder.join(name);
    let harvest = begin_at(&store, folder, units, contexts);
    (store, harvest)
}

/// The same at any place, with the text in `folder`.
pub(crate) fn begin_at(store: &Path, folder: &Path, units: usize, contexts: usize) -> Harvest {
    let text = folder.join(format!("text-{}", units * contexts));
    if !text.exists() {
        write_text(&text, units * contexts);
    }
    let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu).unwrap();
    let sae = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../assets/language/classics-scope/1-mlp-out-x8-k16");
    let sae = Sae::load(sae, &Device::Cpu).unwrap();
    let text = Contexts::from_pretrained(text.to_str().unwrap()).unwrap();
    let options = HarvestOptions {
        points: vec![HookPoint::ResidPost(1)],
        unit: Some(contexts),
        batch: 4,
        keys: vec![KEY.to_owned()],
        ..HarvestOptions::default()
    };
    let harvest = Harvest::new(store, &model, &[sae], &text, &options).unwrap();
    assert_eq!(harvest.units(), units);
    harvest
}

/// A store of which every unit is done.
pub(crate) fn done(folder: &Path, units: usize, contexts: usize) -> PathBuf {
    let (store, harvest) = begin(folder, "store", units, contexts);
    for unit in 0..units {
        harvest.harvest_unit(unit).unwrap();
    }
    store
}

/// What identifies the files of a store.
pub(crate) fn sums(store: &Path) -> Vec<(usize, String, String)> {
    let store = Store::open(store).unwrap();
    let of_unit = |unit: &eigenlens::harvest::Commit| {
        let files = unit.files.iter();
        files.map(|file| (unit.unit, file.table.clone(), file.sha256.clone())).collect::<Vec<_>>()
    };
    store.units().iter().flat_map(of_unit).collect()
}

/// A data set of the first contexts of the shipped one.
fn write_text(folder: &Path, num_contexts: usize) {
    let text = Contexts::from_pretrained("eigenlens/classics-4k").unwrap();
    let contexts = text.as_slice().chunks(text.length()).take(num_contexts);
    let rows = contexts.map(|context| Some(context.iter().map(|token| Some(*token as i32))));
    let rows = ListArray::from_iter_primitive::<Int32Type, _, _>(rows);
    let schema = Schema::new(vec![Field::new("input_ids", rows.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(rows)]).unwrap();
    fs::create_dir_all(folder.join("data")).unwrap();
    let file = File::create(folder.join("data/train-00000-of-00001.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// A row of `codes`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code {
    pub(crate) context: i64,
    pub(crate) position: i64,
    pub(crate) feature: i64,
    pub(crate) value: f64,
}

/// A row of `tokens`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) context: i64,
    pub(crate) position: i64,
    /// The last token of a context has none.
    pub(crate) loss: Option<f64>,
    pub(crate) error: f64,
    pub(crate) l0: i64,
}

/// Every row of a table, read without an engine.
fn batches(store: &Path, table: &str) -> Vec<RecordBatch> {
    let opened = Store::open(store).unwrap();
    let files = opened.units().iter().flat_map(|unit| &unit.files);
    let own = files.filter(|file| file.table == table);
    own.flat_map(|file| {
        let file = File::open(store.join(&file.path)).unwrap();
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap()
    })
    .collect::<Result<_, _>>()
    .unwrap()
}

pub(crate) fn codes(store: &Path) -> Vec<Code> {
    let mut codes = Vec::new();
    for batch in batches(store, "codes") {
        let column = |name: &str| batch.column_by_name(name).unwrap().clone();
        let whole = |name: &str| column(name).as_primitive::<Int32Type>().clone();
        let contexts = column("context").as_primitive::<Int64Type>().clone();
        let (positions, features) = (whole("position"), whole("feature"));
        let values = column("value").as_primitive::<Float32Type>().clone();
        codes.extend((0..batch.num_rows()).map(|row| Code {
            context: contexts.value(row),
            position: positions.value(row).into(),
            feature: features.value(row).into(),
            value: values.value(row).into(),
        }));
    }
    codes
}

pub(crate) fn tokens(store: &Path) -> Vec<Token> {
    let mut tokens = Vec::new();
    for batch in batches(store, "tokens") {
        let column = |name: &str| batch.column_by_name(name).unwrap().clone();
        let contexts = column("context").as_primitive::<Int64Type>().clone();
        let positions = column("position").as_primitive::<Int32Type>().clone();
        let losses = column("loss").as_primitive::<Float32Type>().clone();
        let errors = column(&format!("error.{KEY}")).as_primitive::<Float32Type>().clone();
        let l0 = column(&format!("l0.{KEY}"));
        assert!(matches!(l0.data_type(), DataType::Int16 | DataType::Int32));
        let l0 = datafusion::arrow::compute::cast(&l0, &DataType::Int16).unwrap();
        let l0 = l0.as_primitive::<Int16Type>().clone();
        tokens.extend((0..batch.num_rows()).map(|row| Token {
            context: contexts.value(row),
            position: positions.value(row).into(),
            loss: losses.is_valid(row).then(|| losses.value(row).into()),
            error: errors.value(row).into(),
            l0: l0.value(row).into(),
        }));
    }
    tokens
}
