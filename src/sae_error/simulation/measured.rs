//! What is found in rows that get noise.

use candle_core::{DType, Tensor};

use super::closed_form::MissingPower;
use crate::Result;
use crate::random::Rng;
use crate::sae_error::linear_map::LinearMap;
use crate::sae_error::moments::Moments;

/// Rows that get noise at a time.
const ROWS_PER_BLOCK: usize = 4_096;

/// The linear map of x that is nearest to what is missing from `r`, and the power of that.
pub(super) fn missing_part(x: &Tensor, r: &Tensor) -> Result<(LinearMap, MissingPower)> {
    let width = x.dim(1)?;
    let mut moments = Moments::new(width, width, 1)?;
    let mut sums = SquaredSums::new(width);
    for start in (0..x.dim(0)?).step_by(ROWS_PER_BLOCK) {
        let count = ROWS_PER_BLOCK.min(x.dim(0)? - start);
        let x = x.narrow(0, start, count)?;
        let missing = (&x - r.narrow(0, start, count)?)?;
        moments.add(0, &x, &missing)?;
        sums.add(&missing)?;
    }
    let rows = x.dim(0)? as f64;
    let power =
        MissingPower { about_zero: sums.about_zero() / rows, about_mean: sums.about_mean() / rows };
    Ok((moments.fit(&[0], true)?, power))
}

/// FVU of the reconstructions `r` with noise of activations `x` with noise, and after what a linear map
/// predicts of the error was added, held out.
pub(super) fn measured(
    [x, r]: [&Tensor; 2],
    folds: &[Vec<u32>],
    [activation, reconstruction]: [f64; 2],
    rng: &mut Rng,
) -> Result<[f64; 2]> {
    let (width, device) = (x.dim(1)?, x.device());
    let mut moments = Moments::new(width, width, folds.len())?;
    let (mut errors, mut activations) = (SquaredSums::new(width), SquaredSums::new(width));
    for (fold, rows) in folds.iter().enumerate() {
        for rows in rows.chunks(ROWS_PER_BLOCK) {
            let ids = Tensor::new(rows, device)?;
            let mut noisy = |values: &Tensor, scale: f64| -> Result<Tensor> {
                let noise = rng.normal((rows.len(), width), device)?;
                Ok((values.index_select(&ids, 0)? + (noise * scale)?)?)
            };
            let (x, r) = (noisy(x, activation)?, noisy(r, reconstruction)?);
            let e = (&x - r)?;
            moments.add(fold, &x, &e)?;
            errors.add(&e)?;
            activations.add(&x)?;
        }
    }
    let all = activations.about_mean();
    if errors.about_zero() == 0.0 {
        return Ok([0.0; 2]);
    }
    let (_, score) = moments.cross_fitted(true)?;
    Ok([errors.about_zero() / all, score.rss / all])
}

/// Sums and sums of squares of each column.
struct SquaredSums {
    rows: f64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl SquaredSums {
    fn new(width: usize) -> Self {
        Self { rows: 0.0, sums: vec![0.0; width], squares: vec![0.0; width] }
    }

    fn add(&mut self, rows: &Tensor) -> Result<()> {
        let values: Vec<f32> = rows.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        for row in values.chunks(self.sums.len()) {
            self.rows += 1.0;
            for ((value, sum), square) in row.iter().zip(&mut self.sums).zip(&mut self.squares) {
                *sum += f64::from(*value);
                *square += f64::from(*value).powi(2);
            }
        }
        Ok(())
    }

    fn about_zero(&self) -> f64 {
        self.squares.iter().sum()
    }

    fn about_mean(&self) -> f64 {
        let means: f64 = self.sums.iter().map(|sum| sum * sum / self.rows).sum();
        self.about_zero() - means
    }
}
