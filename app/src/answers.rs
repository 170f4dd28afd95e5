//! The JSON of answers that several requests share.

use eigenlens::multilayer::{LayerCodes, SteeredLogits};
use serde::Serialize;

use crate::fault::Fault;
use crate::texts::{NextToken, ShiftedToken, Texts};

/// Sparse codes: row `l T + t` has the entries `offsets[row]..offsets[row + 1]`.
#[derive(Debug, Serialize)]
pub(crate) struct SparseCodes {
    offsets: Vec<usize>,
    latents: Vec<u32>,
    values: Vec<f32>,
}

impl SparseCodes {
    /// The active entries of all layers and positions.
    pub(crate) fn of(codes: &LayerCodes) -> Self {
        let mut found = Self { offsets: vec![0], latents: Vec::new(), values: Vec::new() };
        for codes in codes.iter() {
            for row in 0..codes.rows() {
                let mut entries: Vec<(u32, f32)> =
                    codes.row(row).filter(|(_, value)| *value > 0.0).collect();
                entries.sort_by_key(|own| own.0);
                found.latents.extend(entries.iter().map(|own| own.0));
                found.values.extend(entries.iter().map(|own| own.1));
                found.offsets.push(found.latents.len());
            }
        }
        found
    }

    /// The largest value of each row, by layer.
    pub(crate) fn maxima(&self, layers: usize) -> Vec<Vec<f32>> {
        let rows: Vec<f32> = self
            .offsets
            .windows(2)
            .map(|own| self.values[own[0]..own[1]].iter().copied().fold(0.0, f32::max))
            .collect();
        rows.chunks((rows.len() / layers).max(1)).map(<[f32]>::to_vec).collect()
    }

    /// The latents that there are, each once, in ascending order.
    pub(crate) fn distinct(&self) -> Vec<u32> {
        let mut found = self.latents.clone();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// What becomes of the next token at each position.
#[derive(Debug, Serialize)]
pub(crate) struct Shifts {
    pub(crate) rises: Vec<Vec<ShiftedToken>>,
    pub(crate) falls: Vec<Vec<ShiftedToken>>,
    pub(crate) kl: Vec<f64>,
}

impl Shifts {
    pub(crate) fn of(texts: &Texts, steered: &SteeredLogits, top: usize) -> Result<Self, Fault> {
        Ok(Self {
            rises: texts.shifted(steered.rises(top)?),
            falls: texts.shifted(steered.falls(top)?),
            kl: steered.divergences()?,
        })
    }
}

/// The likeliest tokens after a change, and what changed.
#[derive(Debug, Serialize)]
pub(crate) struct Changed {
    pub(crate) max: Vec<Vec<NextToken>>,
    #[serde(flatten)]
    pub(crate) shifts: Shifts,
}
