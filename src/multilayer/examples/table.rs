//! Examples as a table, in Parquet files.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::LayerExample;
use super::collect::{FoundExample, LayerExamples};
use super::rule::LayerExampleOptions;
use crate::data::{Cell, Table};
use crate::{Error, Result};

/// Columns of numbers, in their order.
const NUMBERS: [&str; 8] =
    ["layer", "latent", "rank", "context", "position", "start", "token_id", "act"];

impl LayerExamples {
    /// All examples as a table with the columns `layer, latent, rank, context, position, start,
    /// token_id, act`, and `token_ids, acts` with the window as JSON lists. Rows are sorted by the first
    /// three.
    ///
    /// # Errors
    /// Memory.
    pub fn table(&self) -> Result<Table> {
        let rows: Vec<LayerExample> = self.iter().collect();
        let numbers = |of: &dyn Fn(&LayerExample) -> f64| {
            rows.iter().map(of).map(Cell::from).collect::<Vec<_>>()
        };
        let table = Table::new()
            .column("layer", numbers(&|row| row.layer as f64))?
            .column("latent", numbers(&|row| row.latent as f64))?
            .column("rank", numbers(&|row| row.rank as f64))?
            .column("context", numbers(&|row| row.context as f64))?
            .column("position", numbers(&|row| row.position as f64))?
            .column("start", numbers(&|row| row.start as f64))?
            .column("token_id", numbers(&|row| f64::from(row.token)))?
            .column("act", numbers(&|row| f64::from(row.activation)))?;
        // As `Debug` writes numbers, JSON reads them, and an f32 comes back as it was.
        let tokens = rows.iter().map(|row| format!("{:?}", row.tokens));
        let acts = rows.iter().map(|row| format!("{:?}", row.activations));
        table.column("token_ids", tokens)?.column("acts", acts)
    }

    /// Writes [the table](Self::table) as a Parquet file if the path ends in `.parquet`, else as CSV.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.table()?.save(path)
    }

    /// Reads a Parquet file that [`LayerExamples::save`] wrote, of so many layers and latents.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`] if the file cannot be read or holds anything else;
    /// [`Error::Invalid`] for options that cannot be.
    pub fn load(
        path: impl AsRef<Path>,
        layers: usize,
        latents: usize,
        options: LayerExampleOptions,
    ) -> Result<Self> {
        let path = path.as_ref();
        let mut examples = Self::new(layers, latents, options)?;
        let table = Table::read_parquet(path)?;
        let columns = NUMBERS.map(|name| table.numbers(name));
        let mut numbers = Vec::with_capacity(NUMBERS.len());
        for column in columns {
            numbers.push(column?);
        }
        let (tokens, acts) = (table.texts("token_ids")?, table.texts("acts")?);
        for row in 0..table.len() {
            let whole = |column: usize, below: u64| -> Result<u64> {
                let value = numbers[column][row];
                if value.fract() == 0.0 && value >= 0.0 && value < below as f64 {
                    return Ok(value as u64);
                }
                let expected = format!("`{}` whole and below {below}", NUMBERS[column]);
                Err(Error::format(path, expected, format!("{value} in row {row}")))
            };
            let (layer, latent) = (whole(0, layers as u64)?, whole(1, latents as u64)?);
            let small = |column| whole(column, 1 << 32).map(|value| value as u32);
            let window_tokens: Vec<u32> = list(path, "token_ids", &tokens[row])?;
            let window_acts: Vec<f32> = list(path, "acts", &acts[row])?;
            if window_tokens.len() != window_acts.len() {
                let found = format!("{} and {}", window_tokens.len(), window_acts.len());
                return Err(Error::format(path, "as many `acts` as `token_ids`", found));
            }
            let found = FoundExample {
                activation: numbers[7][row] as f32,
                context: whole(3, 1 << 53)?,
                position: small(4)?,
                start: small(5)?,
                token: small(6)?,
                window: window_tokens.into_iter().zip(window_acts).collect(),
            };
            examples.insert(layer as usize * latents + latent as usize, found);
        }
        Ok(examples)
    }
}

/// A list in JSON.
fn list<T: DeserializeOwned>(path: &Path, column: &str, text: &str) -> Result<Vec<T>> {
    serde_json::from_str(text).map_err(|reason| {
        let expected = format!("a JSON list of numbers in `{column}`");
        Error::format(path, expected, reason.to_string()).caused_by(reason)
    })
}
