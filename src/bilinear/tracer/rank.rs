//! Effective ranks without eigenvalues.

use candle_core::Tensor;

use super::forms::Forms;
use super::statistic::effective_rank;
use super::{Statistic, Tracer};
use crate::linalg::lanczos;
use crate::progress::Progress;
use crate::{Error, Result};

/// Estimates of the effective ranks of all output features.
#[derive(Debug, Clone)]
pub struct RankEstimate {
    /// `[features]`.
    pub values: Tensor,
    /// Their standard errors, `[features]`. All features share their random vectors, so that errors
    /// of similar features point the same way.
    pub errors: Tensor,
}

impl Tracer {
    /// Estimates of [`Statistic::EffectiveRank`] from `probes` random vectors, with standard errors; no
    /// matrix is formed.
    ///
    /// `Σλ²` of all features takes a few matrix products, and `Σ|λ|` is estimated as
    /// `d/b Σᵢ qᵢᵀ|S|qᵢ` by block Lanczos. With b probes and rank R the
    /// relative standard error is about
    ///
    /// ```text
    /// 2 √(2/b (1/R − 1/d))
    /// ```
    ///
    /// small where many eigenvalues count. Features whose estimate does not settle, and all of them
    /// where d_model is below 64, are computed from all eigenvalues, with error 0.
    ///
    /// # Errors
    /// Probes of zero or above d_model / 8; [`Error::Interrupted`] when Stop is pressed.
    pub fn estimate_effective_rank(&self, probes: usize) -> Result<RankEstimate> {
        let d = self.output.d_model();
        let most = (d / 8).max(1);
        if probes == 0 || probes > most {
            let expected = format!("between 1 and {most}, an eighth of d_model");
            return Err(Error::invalid("the number of probes", expected, probes));
        }
        if !lanczos::is_worth_it(d, 0) {
            let values = self.compute(Statistic::EffectiveRank)?;
            return Ok(RankEstimate { errors: values.zeros_like()?, values });
        }
        let all: Vec<usize> = (0..self.features()).collect();
        let mut progress =
            Progress::new("effective ranks of output features", all.len() as u64, "feature");
        let forms = Forms::new(self)?;
        let squares = forms.squares()?;
        let found = lanczos::magnitudes(&forms, &all, &squares, probes, &mut progress)?;
        let rank = |feature: usize| -> Result<[f32; 2]> {
            let [value, error] = match (found[feature], squares[feature]) {
                (Some(found), squares) if squares > 0.0 => {
                    let slope = 2.0 * found.sum / squares;
                    [found.sum * found.sum / squares, slope * found.error()]
                }
                (Some(_), _) => [0.0, 0.0],
                (None, _) => [effective_rank(&self.spectrum(feature)?), 0.0],
            };
            Ok([value as f32, error as f32])
        };
        let ranks = all.iter().map(|feature| rank(*feature)).collect::<Result<Vec<_>>>()?;
        let column = |at: usize| -> Result<Tensor> {
            let column: Vec<f32> = ranks.iter().map(|rank| rank[at]).collect();
            Ok(Tensor::new(column, self.out.device())?)
        };
        Ok(RankEstimate { values: column(0)?, errors: column(1)? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{tracer, wide};
    use super::*;

    #[test]
    fn estimates_are_as_close_as_their_errors_say() {
        let tracer = wide();
        let exact: Vec<f32> = tracer.compute(Statistic::EffectiveRank).unwrap().to_vec1().unwrap();
        for probes in [1, 4, 9] {
            let RankEstimate { values, errors } = tracer.estimate_effective_rank(probes).unwrap();
            let (values, errors) =
                (values.to_vec1::<f32>().unwrap(), errors.to_vec1::<f32>().unwrap());
            for ((value, error), exact) in values.iter().zip(&errors).zip(&exact) {
                assert!((value - exact).abs() <= 5.0 * error + 1e-4 * exact, "{value} {error}");
                assert!(*error < exact / (probes as f32).sqrt(), "{probes}: {error} of {exact}");
            }
        }
    }

    #[test]
    fn small_models_and_bad_probes() {
        let tracer = tracer();
        let exact: Vec<f32> = tracer.compute(Statistic::EffectiveRank).unwrap().to_vec1().unwrap();
        let RankEstimate { values, errors } = tracer.estimate_effective_rank(1).unwrap();
        assert_eq!(values.to_vec1::<f32>().unwrap(), exact);
        assert_eq!(errors.to_vec1::<f32>().unwrap(), [0.0; 16]);
        for probes in [0, 10] {
            let message = wide().estimate_effective_rank(probes).unwrap_err().to_string();
            assert!(message.contains("between 1 and 9"), "{message}");
        }
    }
}
