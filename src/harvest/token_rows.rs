//! The table `tokens`: what is known of each token of a unit.

use candle_core::{DType, Tensor};

use super::commit::StoredFile;
use super::folder::StoreFolder;
use super::run::Run;
use super::table_file::{ColumnType, ROWS_PER_GROUP, TableColumn, TableWriter, Values};
use crate::Result;

/// The columns of the table `tokens`, filled batch after batch.
pub(super) struct TokenRows {
    tokens: Vec<i32>,
    /// Whether a token is no `skip_tokens`.
    pub(super) kept: Vec<bool>,
    losses: Vec<Option<f32>>,
    /// `‖x‖` at each hook point.
    norms: Vec<Vec<f32>>,
    /// `‖t − x̂‖²` of each autoencoder.
    errors: Vec<Vec<Option<f32>>>,
    /// Features in the code of each autoencoder.
    counts: Vec<Vec<i32>>,
}

impl TokenRows {
    pub(super) fn new(run: &Run, tokens: &[u32]) -> Self {
        Self {
            tokens: tokens.iter().map(|token| *token as i32).collect(),
            kept: tokens.iter().map(|token| !run.skip_tokens.contains(token)).collect(),
            losses: Vec::new(),
            norms: vec![Vec::new(); run.points.len()],
            errors: vec![Vec::new(); run.saes.len()],
            counts: vec![Vec::new(); run.saes.len()],
        }
    }

    /// Number of tokens of which the loss is known, or that there is none.
    pub(super) fn len(&self) -> usize {
        self.losses.len()
    }

    /// Takes in losses `[contexts, length - 1]` of `rows` tokens: the last of a context has none.
    pub(super) fn add_losses(&mut self, losses: Option<&Tensor>, rows: usize) -> Result<()> {
        match losses {
            Some(losses) => {
                for row in losses.to_dtype(DType::F32)?.to_vec2::<f32>()? {
                    self.losses.extend(row.into_iter().map(Some).chain([None]));
                }
            }
            None => self.losses.extend(std::iter::repeat_n(None, rows)),
        }
        Ok(())
    }

    /// Takes in the norms at hook point number `point`.
    pub(super) fn add_norms(&mut self, point: usize, squares: &[f32]) {
        self.norms[point].extend(squares.iter().map(|square| square.sqrt()));
    }

    /// Takes in the errors, if they are known, and the number of features of autoencoder number `sae`.
    pub(super) fn add_codes(
        &mut self,
        sae: usize,
        errors: Option<&[f32]>,
        counts: impl ExactSizeIterator<Item = usize>,
    ) {
        match errors {
            Some(errors) => self.errors[sae].extend(errors.iter().copied().map(Some)),
            None => self.errors[sae].extend(std::iter::repeat_n(None, counts.len())),
        }
        self.counts[sae].extend(counts.map(|count| count as i32));
    }

    /// # Errors
    /// If the store cannot be written.
    pub(super) fn write(
        self,
        place: &StoreFolder,
        run: &Run,
        unit: usize,
        first_context: usize,
    ) -> Result<StoredFile> {
        use ColumnType::{Bool, F32, I32, I64, OptionalF32};
        let mut columns = vec![
            TableColumn::new("context", I64),
            TableColumn::new("position", I32),
            TableColumn::new("token", I32),
            TableColumn::new("kept", Bool),
            TableColumn::new("loss", OptionalF32),
        ];
        columns.extend(
            run.points.iter().map(|own| TableColumn::new(format!("norm.{}", own.name), F32)),
        );
        for sae in &run.saes {
            columns.push(TableColumn::new(format!("error.{}", sae.key), OptionalF32));
            columns.push(TableColumn::new(format!("l0.{}", sae.key), I32));
        }
        let mut writer = TableWriter::new(place, columns, &["context", "position"])?;
        let (rows, length) = (self.tokens.len(), run.dataset.length);
        for start in (0..rows).step_by(ROWS_PER_GROUP) {
            let part = start..rows.min(start + ROWS_PER_GROUP);
            let contexts: Vec<i64> =
                part.clone().map(|row| (first_context + row / length) as i64).collect();
            let positions: Vec<i32> = part.clone().map(|row| (row % length) as i32).collect();
            let mut values = vec![
                Values::I64(&contexts),
                Values::I32(&positions),
                Values::I32(&self.tokens[part.clone()]),
                Values::Bool(&self.kept[part.clone()]),
                Values::OptionalF32(&self.losses[part.clone()]),
            ];
            values.extend(self.norms.iter().map(|norms| Values::F32(&norms[part.clone()])));
            for (errors, counts) in self.errors.iter().zip(&self.counts) {
                values.push(Values::OptionalF32(&errors[part.clone()]));
                values.push(Values::I32(&counts[part.clone()]));
            }
            writer.write_group(part.len(), &values)?;
        }
        let written = writer.finish(&format!("tokens/{unit:06}"))?;
        Ok(StoredFile::new("tokens", "", rows as u64, written))
    }
}
