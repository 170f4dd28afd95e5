//! One number for each output feature.

use candle_core::{DType, Tensor};

use super::forms::Forms;
use super::{FINEST, Tracer};
use crate::bilinear::symmetrise;
use crate::linalg::{eigvalsh_within, lanczos};
use crate::progress::{Progress, interrupted};
use crate::{Error, Result};

/// A number that says something of an interaction matrix. With Q the matrix as the weights have
/// it, S its symmetric part and λ the eigenvalues of S:
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// The sum of the k largest `|λ|`.
    TruncatedEigenvalues {
        /// How many.
        k: usize,
    },
    /// `(Σ|λ|)² / Σλ²`: how many eigenvalues would do the same if they were equal;
    /// [`Tracer::estimate_effective_rank`] is faster.
    EffectiveRank,
    /// Mean of `z⁴` over the entries of Q, less 3, where `z` compares an entry with the same entry
    /// of all other output features: `z = (q − mean) / standard deviation`. Large where a few
    /// entries stand out.
    Kurtosis,
}

impl Tracer {
    /// The statistic of every output feature, `[features]`.
    ///
    /// Truncated eigenvalues come from block Lanczos without any matrix being formed, each right
    /// within [`Tracer::with_accuracy`] by a bound of its own, in f32; where k is above d_model / 8,
    /// where d_model is below 64 and for features that the iteration does not settle, from all
    /// eigenvalues, in f64, as the effective rank.
    ///
    /// # Errors
    /// k of zero or above d_model; [`Error::Interrupted`] when Stop is pressed.
    pub fn compute(&self, statistic: Statistic) -> Result<Tensor> {
        let values = match statistic {
            Statistic::TruncatedEigenvalues { k } => {
                self.check_truncated(k)?;
                let all: Vec<usize> = (0..self.features()).collect();
                match self.iterates(k) {
                    true => {
                        let label = "truncated eigenvalues of output features";
                        let mut progress = Progress::new(label, all.len() as u64, "feature");
                        let forms = Forms::new(self)?;
                        let mut start = lanczos::start(&forms, k)?;
                        self.truncated(&forms, &all, k, 0.0, &mut start, &mut progress)?.0
                    }
                    false => self.spectra(|values| sum_of_largest(values, k))?,
                }
            }
            Statistic::EffectiveRank => self.spectra(effective_rank)?,
            Statistic::Kurtosis => self.kurtosis()?,
        };
        let count = values.len();
        let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        Ok(Tensor::from_vec(values, count, self.out.device())?)
    }

    pub(super) fn check_truncated(&self, k: usize) -> Result<()> {
        let d = self.output.d_model();
        match (1..=d).contains(&k) {
            true => Ok(()),
            false => Err(Error::invalid("k", format!("between 1 and {d}"), k)),
        }
    }

    /// Whether the k largest eigenvalues are better found by iteration than among all of them.
    pub(super) fn iterates(&self, k: usize) -> bool {
        self.accuracy >= FINEST && lanczos::is_worth_it(self.output.d_model(), k)
    }

    /// Sums of the k largest `|λ|` of some features, and how many of them are right within the
    /// accuracy: of the others it is only certain that they are below `bar`.
    pub(super) fn truncated(
        &self,
        forms: &Forms,
        which: &[usize],
        k: usize,
        bar: f64,
        start: &mut lanczos::Start,
        progress: &mut Progress,
    ) -> Result<(Vec<f64>, usize)> {
        let until = lanczos::Until { accuracy: self.accuracy, bar };
        let found = lanczos::largest(forms, which, k, until, start, progress)?;
        let below = found.iter().flatten().filter(|found| !found.is_within(self.accuracy)).count();
        let sum = |(feature, found): (&usize, Option<lanczos::Largest>)| match found {
            Some(found) => Ok(found.sum()),
            None => Ok(sum_of_largest(&self.spectrum(*feature)?, k)),
        };
        let sums = which.iter().zip(found).map(sum).collect::<Result<_>>()?;
        Ok((sums, which.len() - below))
    }

    /// All eigenvalues of a feature's S.
    pub(super) fn spectrum(&self, feature: usize) -> Result<Vec<f64>> {
        if interrupted() {
            return Err(Error::Interrupted { what: "the eigenvalues".to_owned() });
        }
        let matrix = symmetrise(&self.interaction(feature)?)?;
        Ok(eigvalsh_within(&matrix)?.to_dtype(DType::F64)?.to_vec1()?)
    }

    fn spectra(&self, of: impl Fn(&[f64]) -> f64) -> Result<Vec<f64>> {
        let mut all = Vec::with_capacity(self.features());
        self.scan("spectra of output features", |matrices| {
            let values: Vec<Vec<f64>> =
                eigvalsh_within(matrices)?.to_dtype(DType::F64)?.to_vec2()?;
            all.extend(values.iter().map(|values| of(values)));
            Ok(())
        })?;
        Ok(all)
    }

    fn kurtosis(&self) -> Result<Vec<f64>> {
        let count = self.features() as f64;
        let wide =
            |feature| -> Result<Tensor> { Ok(self.interaction(feature)?.to_dtype(DType::F64)?) };
        let mut progress =
            Progress::new("kurtosis of output features", 2 * self.features() as u64, "feature");
        let mut each = |visit: &mut dyn FnMut(Tensor) -> Result<()>| -> Result<()> {
            for feature in 0..self.features() {
                visit(wide(feature)?)?;
                if progress.advance(1) {
                    return Err(Error::Interrupted { what: "the kurtosis".to_owned() });
                }
            }
            Ok(())
        };
        // A matrix is linear in its direction.
        let mean = self.interactions_of(&self.all_directions()?.mean_keepdim(0)?)?;
        let mean = mean.squeeze(0)?.to_dtype(DType::F64)?;
        let mut variance = mean.zeros_like()?;
        each(&mut |q| {
            variance = (&variance + (q - &mean)?.sqr()?)?;
            Ok(())
        })?;
        let variance = (variance / count)?;
        let mut all = Vec::with_capacity(self.features());
        each(&mut |q| {
            let fourth = ((q - &mean)?.sqr()? / &variance)?.sqr()?;
            all.push(fourth.mean_all()?.to_scalar::<f64>()? - 3.0);
            Ok(())
        })?;
        Ok(all)
    }

    /// Shows `visit` the symmetric interaction matrices of all features, some at a time.
    pub(super) fn scan(
        &self,
        label: &str,
        mut visit: impl FnMut(&Tensor) -> Result<()>,
    ) -> Result<()> {
        let mut progress = Progress::new(label, self.features() as u64, "feature");
        let mut done = 0;
        for matrices in self.groups() {
            let matrices = matrices?;
            visit(&matrices)?;
            done += matrices.dim(0)?;
            if progress.advance(matrices.dim(0)? as u64) && done < self.features() {
                return Err(Error::Interrupted { what: label.to_owned() });
            }
        }
        Ok(())
    }
}

/// `(Σ|λ|)² / Σλ²`, 0 where all are.
pub(super) fn effective_rank(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().map(|value| value.abs()).sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    if squares == 0.0 { 0.0 } else { sum * sum / squares }
}

/// The sum of the k largest magnitudes.
fn sum_of_largest(values: &[f64], k: usize) -> f64 {
    let mut sizes: Vec<f64> = values.iter().map(|value| value.abs()).collect();
    sizes.sort_by(|a, b| b.total_cmp(a));
    sizes[..k].iter().sum()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{tracer, wide};
    use super::*;
    use crate::bilinear::symmetrise;
    use crate::linalg::eigvalsh;

    #[test]
    fn statistics_are_their_formulas() {
        let tracer = tracer();
        let of = |statistic| tracer.compute(statistic).unwrap().to_vec1::<f32>().unwrap();
        let truncated = of(Statistic::TruncatedEigenvalues { k: 2 });
        let rank = of(Statistic::EffectiveRank);
        let all: Vec<Tensor> = (0..16).map(|f| tracer.interaction(f).unwrap()).collect();
        for feature in [0, 7, 15] {
            let symmetric = symmetrise(&all[feature]).unwrap();
            let values: Vec<f32> = eigvalsh(&symmetric).unwrap().to_vec1().unwrap();
            let mut sizes: Vec<f32> = values.iter().map(|value| value.abs()).collect();
            sizes.sort_by(|a, b| b.total_cmp(a));
            assert!((truncated[feature] / (sizes[0] + sizes[1]) - 1.0).abs() < 1e-5);
            // The squares of a symmetric matrix's eigenvalues add up to those of its entries.
            let squares = symmetric.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            let sum: f32 = sizes.iter().sum();
            assert!((rank[feature] / (sum * sum / squares) - 1.0).abs() < 1e-5);
        }
        let entries: Vec<Vec<f32>> =
            all.iter().map(|q| q.flatten_all().unwrap().to_vec1().unwrap()).collect();
        let expected: f64 = (0..64)
            .map(|at| {
                let column: Vec<f64> = entries.iter().map(|row| f64::from(row[at])).collect();
                let mean = column.iter().sum::<f64>() / 16.0;
                let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 16.0;
                ((column[7] - mean).powi(2) / variance).powi(2)
            })
            .sum::<f64>()
            / 64.0
            - 3.0;
        assert!((f64::from(of(Statistic::Kurtosis)[7]) - expected).abs() < 1e-5);
    }

    #[test]
    fn a_k_that_cannot_be_is_refused() {
        for k in [0, 9] {
            let refused = tracer().compute(Statistic::TruncatedEigenvalues { k }).unwrap_err();
            assert!(refused.to_string().contains("between 1 and 8"), "{refused}");
        }
        assert!(tracer().with_accuracy(-1.0).unwrap_err().to_string().contains("accuracy"));
    }

    #[test]
    fn iteration_and_all_eigenvalues_agree() {
        let tracer = wide();
        for k in [1, 2, 5] {
            assert!(tracer.iterates(k));
            let statistic = Statistic::TruncatedEigenvalues { k };
            let found: Vec<f32> = tracer.compute(statistic).unwrap().to_vec1().unwrap();
            let exact = tracer.clone().with_accuracy(0.0).unwrap();
            let exact: Vec<f32> = exact.compute(statistic).unwrap().to_vec1().unwrap();
            for (found, exact) in found.iter().zip(exact) {
                assert!((found / exact - 1.0).abs() < 1e-4, "k {k}: {found} {exact}");
            }
        }
    }
}
