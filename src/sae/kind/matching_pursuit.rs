//! Matching pursuit: the encoder is the decoder, and features are taken in one after another.

use std::fmt;

use rayon::prelude::*;

use super::code::{Code, RowRule};
use crate::sae::Rescale;
use crate::sae::autoencoder::SaeData;
use crate::sae::codes::CodesPart;
use crate::sae::order::{keep_if, largest, positive};
use crate::{Error, Result};

/// As long as the rest of x is at least `threshold` long, and at most `steps` times, the feature with
/// the largest `dᵢ · rest` is taken in with that value, and its part is taken off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MatchingPursuit {
    pub(crate) threshold: f32,
    pub(crate) steps: usize,
    pub(crate) stop_on_repeat: bool,
}

impl MatchingPursuit {
    /// The codes of `rows`, each `[d]`.
    pub(crate) fn pursue(&self, sae: &SaeData, rows: &[f32], d: usize) -> Vec<CodesPart> {
        let part = |row: &[f32]| {
            let mut part = CodesPart::default();
            part.push_unsorted(self.pursue_row(sae, row));
            part
        };
        rows.par_chunks(d).map(part).collect()
    }

    fn pursue_row(&self, sae: &SaeData, row: &[f32]) -> Vec<(u32, f32)> {
        let mut rest = row.to_vec();
        let mut code: Vec<(u32, f32)> = Vec::new();
        for _ in 0..self.steps {
            if length(&rest) < self.threshold {
                break;
            }
            let scores = sae.columns.products(&rest).into_iter();
            let scores: Vec<f32> = scores.map(|score| keep_if(positive(score), score)).collect();
            let Some(&(best, score)) = largest(&scores, 1).first() else { break };
            sae.columns.add(best as usize, -score, &mut rest);
            let repeated = match code.iter_mut().find(|(own, _)| *own == best) {
                Some((_, value)) => {
                    *value += score;
                    true
                }
                None if positive(score) => {
                    code.push((best, score));
                    false
                }
                None => true,
            };
            if repeated && (self.stop_on_repeat || score == 0.0) {
                break;
            }
        }
        code
    }
}

fn length(x: &[f32]) -> f32 {
    (x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>() as f32).sqrt()
}

/// It has no h.
impl RowRule for MatchingPursuit {
    fn code(&self, _h: &[f32]) -> Vec<(u32, f32)> {
        Vec::new()
    }
}

impl fmt::Display for MatchingPursuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("matching pursuit")
    }
}

impl Code for MatchingPursuit {
    type Rule<'a> = Self;

    fn rule(&self, _sae: &SaeData) -> Self {
        *self
    }

    fn check(&self, _features: usize) -> Result<()> {
        if self.threshold.is_nan() {
            return Err(Error::invalid("the threshold", "a number", self.threshold));
        }
        Ok(())
    }

    fn is_free_of_lengths(&self, _rescale: Rescale) -> bool {
        false
    }
}
