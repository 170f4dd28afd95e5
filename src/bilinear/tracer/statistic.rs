//! One number for each output feature.

use candle_core::{DType, Tensor};

use super::Tracer;
use crate::linalg::eigvalsh_within;
use crate::notebook::Progress;
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
    /// `(Σ|λ|)² / Σλ²`: how many eigenvalues would do the same if they were equal.
    EffectiveRank,
    /// Mean of `z⁴` over the entries of Q, less 3, where `z` compares an entry with the same entry
    /// of all other output features: `z = (q − mean) / standard deviation`. Large where a few
    /// entries stand out.
    Kurtosis,
}

impl Tracer {
    /// The statistic of every output feature, `[features]`.
    ///
    /// # Errors
    /// k of zero or above d_model; [`Error::Interrupted`] when Stop is pressed.
    pub fn compute(&self, statistic: Statistic) -> Result<Tensor> {
        let d = self.output.d_model();
        let values = match statistic {
            Statistic::TruncatedEigenvalues { k } => {
                if k == 0 || k > d {
                    return Err(Error::invalid("k", format!("between 1 and {d}"), k));
                }
                self.spectra(|values| {
                    let mut sizes: Vec<f64> = values.iter().map(|value| value.abs()).collect();
                    sizes.sort_by(|a, b| b.total_cmp(a));
                    sizes[..k].iter().sum()
                })?
            }
            Statistic::EffectiveRank => self.spectra(|values| {
                let sum: f64 = values.iter().map(|value| value.abs()).sum();
                let squares: f64 = values.iter().map(|value| value * value).sum();
                if squares == 0.0 { 0.0 } else { sum * sum / squares }
            })?,
            Statistic::Kurtosis => self.kurtosis()?,
        };
        let count = values.len();
        let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        Ok(Tensor::from_vec(values, count, self.out.device())?)
    }

    /// The `count` output features with the largest statistic, and the statistic, from the largest
    /// down.
    ///
    /// # Errors
    /// As [`Tracer::compute`]; more features than there are.
    pub fn top(&self, count: usize, statistic: Statistic) -> Result<Vec<(usize, f32)>> {
        if count > self.features() {
            let expected = format!("at most {}, the output features", self.features());
            return Err(Error::invalid("the number of features", expected, count));
        }
        let values: Vec<f32> = self.compute(statistic)?.to_vec1()?;
        let mut all: Vec<(usize, f32)> = values.into_iter().enumerate().collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(count);
        Ok(all)
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
        let mean = self.interactions_of(&self.mean_direction()?)?;
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

#[cfg(test)]
mod tests {
    use super::super::tests::tracer;
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
    fn the_top_features_come_first() {
        let tracer = tracer();
        let statistic = Statistic::TruncatedEigenvalues { k: 1 };
        let top = tracer.top(16, statistic).unwrap();
        assert!(top.is_sorted_by(|a, b| a.1 >= b.1));
        assert_eq!(tracer.top(3, statistic).unwrap(), top[..3]);
        assert!(tracer.top(17, statistic).unwrap_err().to_string().contains("at most 16"));
        let zero = tracer.compute(Statistic::TruncatedEigenvalues { k: 9 }).unwrap_err();
        assert!(zero.to_string().contains("between 1 and 8"), "{zero}");
    }
}
