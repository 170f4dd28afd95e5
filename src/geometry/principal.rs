//! The three largest principal components of a residual, as red, green and blue.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::linalg::Pca;

/// Components that make a colour.
pub(super) const COLOURS: usize = 3;

/// How components become colours. Both are in use in the study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Colouring {
    /// The residual as it is, `U Σ`, each component from its least value (0) to its largest (1).
    #[default]
    Range,
    /// Scores of the centred residual, each component divided by its largest value; some are
    /// negative.
    Largest,
}

/// Principal components of a matrix, at most three of them.
#[derive(Debug)]
pub(super) struct Principal {
    /// Scores, `[rows, components]` in rows.
    pub(super) scores: Vec<Vec<f64>>,
    /// Unit rows `[components, columns]`; the entry of largest magnitude of each is positive.
    pub(super) components: Vec<Vec<f64>>,
    /// Share of the variance of each component; 0 where there is no variance.
    pub(super) ratio: Vec<f64>,
}

impl Principal {
    /// Of `matrix`, `[rows, columns]` in f64, with the mean of each column taken away if `centred`.
    pub(super) fn of(matrix: &Tensor, centred: bool) -> Result<Self> {
        let (rows, columns) = matrix.dims2()?;
        let Pca { scores, components, explained, .. } =
            Pca::fit(matrix, COLOURS.min(rows).min(columns), centred)?;
        Ok(Self { scores: scores.to_vec2()?, components: components.to_vec2()?, ratio: explained })
    }

    /// `[rows, 3]`; channels without a component are 0.
    pub(super) fn colours(&self, colouring: Colouring) -> Result<Tensor> {
        let mut colours = vec![0.0; self.scores.len() * COLOURS];
        for channel in 0..self.components.len() {
            let column = self.scores.iter().map(|row| row[channel]);
            let low = column.clone().fold(f64::INFINITY, f64::min);
            let high = column.clone().fold(f64::NEG_INFINITY, f64::max);
            for (row, score) in column.enumerate() {
                let (above, width) = match colouring {
                    Colouring::Range => (score - low, high - low),
                    Colouring::Largest => (score, high),
                };
                // Without any variation there is nothing to see.
                colours[row * COLOURS + channel] = if width == 0.0 { 0.0 } else { above / width };
            }
        }
        Ok(Tensor::from_vec(colours, (self.scores.len(), COLOURS), &Device::Cpu)?)
    }
}
