//! The table `codes`: one row per feature that is active at a token.

use super::commit::StoredFile;
use super::folder::StoreFolder;
use super::run::RunSae;
use super::table_file::{
    ColumnType, ROWS_PER_GROUP, TableColumn, TableReader, TableWriter, Values,
};
use crate::Result;
use crate::sae::Codes;

/// Bytes that the codes of one autoencoder take before they are written.
pub(super) const BUFFER: usize = 2 * ROWS_PER_GROUP * size_of::<(i64, i32, i32, f32)>();

/// Writes the codes of one autoencoder.
pub(super) struct CodeRows {
    writer: TableWriter,
    contexts: Vec<i64>,
    positions: Vec<i32>,
    features: Vec<i32>,
    values: Vec<f32>,
    written: u64,
}

impl CodeRows {
    pub(super) fn new(place: &StoreFolder) -> Result<Self> {
        use ColumnType::{F32, I32, I64, Text};
        let columns = vec![
            TableColumn::new("sae", Text),
            TableColumn::new("layer", I32),
            TableColumn::new("context", I64),
            TableColumn::new("position", I32),
            TableColumn::new("feature", I32),
            TableColumn::new("value", F32),
        ];
        Ok(Self {
            writer: TableWriter::new(place, columns, &["context", "position", "feature"])?,
            contexts: Vec::new(),
            positions: Vec::new(),
            features: Vec::new(),
            values: Vec::new(),
            written: 0,
        })
    }

    /// Takes in codes of whole contexts of `length` rows, of which the first is number `first`, at the
    /// rows that `is_kept`.
    pub(super) fn add(
        &mut self,
        sae: &RunSae,
        codes: &Codes,
        first: u64,
        length: usize,
        is_kept: impl Fn(usize) -> bool,
    ) -> Result<()> {
        for row in (0..codes.rows()).filter(|row| is_kept(*row)) {
            for (feature, value) in codes.row(row) {
                self.contexts.push((first + (row / length) as u64) as i64);
                self.positions.push((row % length) as i32);
                self.features.push(feature as i32);
                self.values.push(value);
                if self.values.len() == ROWS_PER_GROUP {
                    self.flush(sae)?;
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self, sae: &RunSae) -> Result<()> {
        let rows = self.values.len();
        if rows > 0 {
            let values = [
                Values::Text(&sae.key),
                Values::SameI32(sae.layer),
                Values::I64(&self.contexts),
                Values::I32(&self.positions),
                Values::I32(&self.features),
                Values::F32(&self.values),
            ];
            self.writer.write_group(rows, &values)?;
        }
        self.written += rows as u64;
        self.contexts.clear();
        self.positions.clear();
        self.features.clear();
        self.values.clear();
        Ok(())
    }

    /// # Errors
    /// If the store cannot be written.
    pub(super) fn write(mut self, unit: usize, sae: &RunSae) -> Result<StoredFile> {
        self.flush(sae)?;
        let written = self.writer.finish(&format!("codes/{}/{unit:06}", sae.key))?;
        Ok(StoredFile::new("codes", &sae.key, self.written, written))
    }
}

/// An entry of the codes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StoredCode {
    pub(super) context: u64,
    pub(super) position: u32,
    pub(super) feature: u32,
    pub(super) value: f32,
}

/// Calls `take` with the entries of a file whose feature is `wanted`, in the order of the text.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn for_each_entry(
    table: &TableReader,
    wanted: impl Fn(u32) -> bool,
    mut take: impl FnMut(StoredCode),
) -> Result<()> {
    for group in 0..table.groups() {
        let features = table.i32(group, "feature")?;
        if !features.iter().any(|feature| wanted(*feature as u32)) {
            continue;
        }
        let (contexts, positions) = (table.i64(group, "context")?, table.i32(group, "position")?);
        let values = table.f32(group, "value")?;
        for (at, feature) in features.iter().enumerate() {
            let feature = *feature as u32;
            if wanted(feature) {
                let (context, position) = (contexts[at] as u64, positions[at] as u32);
                take(StoredCode { context, position, feature, value: values[at] });
            }
        }
    }
    Ok(())
}
