//! Which tokens have the largest logits, and whose logits change most.

use std::cmp::Ordering;

use candle_core::{DType, Tensor};

use crate::{Error, Result};

/// A token among those with the largest logits at a position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankedLogit {
    /// The token.
    pub token: u32,
    /// Its logit.
    pub logit: f64,
    /// Its probability, the softmax over the whole vocabulary.
    pub probability: f64,
}

/// A token whose logit rises or falls at a position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitShift {
    /// The token.
    pub token: u32,
    /// Its logit before.
    pub before: f64,
    /// Its logit afterwards.
    pub after: f64,
    /// `after − before`.
    pub change: f64,
}

impl RankedLogit {
    /// The `top` tokens with the largest logits of each row of `[rows, vocabulary]`, the largest first
    /// and of equal ones the smaller id.
    ///
    /// ```
    /// use eigenlens::multilayer::RankedLogit;
    /// # use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// let logits = Tensor::new(&[[0f32, 2f32.ln(), f32::NEG_INFINITY]], &Device::Cpu)?;
    /// let rows = RankedLogit::largest(&logits, 2)?;
    /// assert_eq!((rows[0][0].token, rows[0][1].token), (1, 0));
    /// assert!((rows[0][0].probability - 2.0 / 3.0).abs() < 1e-6);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for another shape; [`Error::Invalid`] for a `top` of 0 or above the vocabulary.
    pub fn largest(logits: &Tensor, top: usize) -> Result<Vec<Vec<Self>>> {
        let rows = rows_of_logits(logits)?.into_iter().map(|row| {
            let best = first(&row, top, |a, b| b.total_cmp(a))?;
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|logit| (logit - largest).exp()).sum();
            let ranked = best.into_iter().map(|at| Self {
                token: at as u32,
                logit: row[at],
                probability: (row[at] - largest).exp() / sum,
            });
            Ok(ranked.collect())
        });
        rows.collect()
    }
}

impl LogitShift {
    /// The `top` tokens that rise most in each row from logits `before` to `after`, or fall most.
    pub(super) fn most(
        [before, after]: [&Tensor; 2],
        top: usize,
        rises: bool,
    ) -> Result<Vec<Vec<Self>>> {
        let pairs = rows_of_logits(before)?.into_iter().zip(rows_of_logits(after)?);
        let rows = pairs.map(|(before, after)| {
            let changes: Vec<f64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
            let best = first(&changes, top, |a, b| match rises {
                true => b.total_cmp(a),
                false => a.total_cmp(b),
            })?;
            let shift = |at: usize| Self {
                token: at as u32,
                before: before[at],
                after: after[at],
                change: changes[at],
            };
            Ok(best.into_iter().map(shift).collect())
        });
        rows.collect()
    }
}

fn rows_of_logits(logits: &Tensor) -> Result<Vec<Vec<f64>>> {
    match logits.rank() {
        2 => Ok(logits.to_dtype(DType::F64)?.to_vec2()?),
        _ => Err(Error::shape("the logits", "[rows, vocabulary]", logits.dims())),
    }
}

/// Places of the `top` values that come first, in that order; of equal ones the earlier.
fn first(values: &[f64], top: usize, order: impl Fn(&f64, &f64) -> Ordering) -> Result<Vec<usize>> {
    if top == 0 || top > values.len() {
        let expected = format!("between 1 and {}, the vocabulary", values.len());
        return Err(Error::invalid("the number of tokens", expected, top));
    }
    let mut places: Vec<usize> = (0..values.len()).collect();
    let by_value = |a: &usize, b: &usize| order(&values[*a], &values[*b]).then(a.cmp(b));
    places.select_nth_unstable_by(top - 1, by_value);
    places.truncate(top);
    places.sort_unstable_by(by_value);
    Ok(places)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn tokens_are_ranked_by_logits_and_by_changes() {
        let before = Tensor::new(&[[1f32, 3.0, 3.0, -2.0], [0.0; 4]], &Device::Cpu).unwrap();
        let after = Tensor::new(&[[2f32, 0.0, 4.0, -3.0], [0.0; 4]], &Device::Cpu).unwrap();
        let tokens = |rows: Vec<Vec<LogitShift>>| -> Vec<Vec<u32>> {
            rows.iter().map(|row| row.iter().map(|own| own.token).collect()).collect()
        };
        let largest = RankedLogit::largest(&before, 4).unwrap();
        let order: Vec<u32> = largest[0].iter().map(|own| own.token).collect();
        assert_eq!(order, [1, 2, 0, 3]);
        assert!(largest[1].iter().all(|own| own.probability == 0.25));
        let pair = [&before, &after];
        assert_eq!(tokens(LogitShift::most(pair, 2, true).unwrap()), [[0, 2], [0, 1]]);
        let falls = LogitShift::most(pair, 2, false).unwrap();
        assert_eq!((falls[0][0].change, falls[0][0].before, falls[0][0].after), (-3.0, 3.0, 0.0));
        assert_eq!(tokens(falls)[0], [1, 3]);
        for top in [0, 5] {
            let error = RankedLogit::largest(&before, top).unwrap_err().to_string();
            assert!(error.contains("between 1 and 4"), "{error}");
        }
        assert!(RankedLogit::largest(&before.get(0).unwrap(), 1).is_err());
    }
}
