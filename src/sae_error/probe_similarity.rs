//! Which features a linear probe of the squared norm reads.

use std::fmt;

use candle_core::{DType, Device};

use super::moments::Moments;
use super::sae_info::SaeInfo;
use crate::check::check_sizes;
use crate::display::show_as_text;
use crate::linalg::matmul_tn;
use crate::{Error, Result};

/// What [`ProbeSimilarity::measure`] looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarityOptions {
    /// Features that are shown, those with the largest products with the probe; 10,000.
    pub features: usize,
    /// Features of a running mean; 100.
    pub window: usize,
    /// Whether the probe has an intercept; yes. The study's has none.
    pub intercept: bool,
}

impl Default for SimilarityOptions {
    fn default() -> Self {
        Self { features: 10_000, window: 100, intercept: true }
    }
}

/// How the features of an autoencoder that are strongly active lie to the probe of the norm.
///
/// For `d = x̂ − b_dec`, the part of a reconstruction that features write, a is the vector of the
/// regression of `‖d‖²` on d, and a feature's similarity is `wᵢ · a` with its decoder direction wᵢ. A
/// linear map predicts a squared norm well if features that are active with large values lie along a.
/// After Engels et al. (2024), Figure 14, who shift the running mean by 45 features
/// ([`original::study_running_mean`](super::original::study_running_mean)).
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeSimilarity {
    /// `wᵢ · a` of each feature that is active somewhere, the largest first.
    pub similarity: Vec<f64>,
    /// The same features' mean activation where they are active.
    pub mean_activation: Vec<f64>,
    /// The same features' numbers.
    pub features: Vec<usize>,
    /// Means of similarity and of mean activation over each run of `window` features that follow each
    /// other; none if there are fewer.
    pub running: Vec<(f64, f64)>,
    /// In-sample R² of the probe.
    pub r_squared: f64,
}

impl ProbeSimilarity {
    /// Fits the probe to the reconstructions of `info`.
    ///
    /// # Errors
    /// - [`Error::Invalid`] for options of 0, if no feature is active, and for reconstructions whose
    ///   squared norm does not vary.
    /// - As [`Moments::fit`], for fewer rows than d + 1, and [`SaeInfo::activations`].
    pub fn measure(info: &SaeInfo, options: &SimilarityOptions) -> Result<Self> {
        check_sizes(&[("`features`", options.features), ("`window`", options.window)])?;
        let sae = info.sae();
        let bias = sae.b_dec().to_dtype(DType::F64)?;
        let mut moments = Moments::new(sae.d_out(), 1, 1)?;
        info.rows().for_each_block(&mut |block| {
            let written = block.reconstructions.to_dtype(DType::F64)?.broadcast_sub(&bias)?;
            moments.add(0, &written, &written.sqr()?.sum_keepdim(1)?)
        })?;
        let probe = moments.fit(&[0], options.intercept)?;
        let r_squared = moments.score(&probe, &[0])?.r_squared;
        let decoder = sae.w_dec().to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let similarity = matmul_tn(&decoder, &probe.matrix(&Device::Cpu)?)?;
        let similarity: Vec<f64> = similarity.flatten_all()?.to_vec1()?;
        Self::of(&similarity, &info.features().mean_when_active(), options, r_squared)
    }

    /// Sorts the features that are active somewhere.
    fn of(
        similarity: &[f64],
        means: &[Option<f64>],
        options: &SimilarityOptions,
        r_squared: f64,
    ) -> Result<Self> {
        let mut found: Vec<(usize, f64, f64)> = similarity
            .iter()
            .zip(means)
            .enumerate()
            .filter_map(|(feature, (similarity, mean))| Some((feature, *similarity, (*mean)?)))
            .collect();
        if found.is_empty() {
            return Err(Error::invalid("the features", "active somewhere", "none that is"));
        }
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        found.truncate(options.features);
        let mean = |own: &[(usize, f64, f64)]| {
            let (x, y) = own.iter().fold((0.0, 0.0), |(x, y), own| (x + own.1, y + own.2));
            (x / own.len() as f64, y / own.len() as f64)
        };
        Ok(Self {
            running: found.windows(options.window).map(mean).collect(),
            features: found.iter().map(|own| own.0).collect(),
            similarity: found.iter().map(|own| own.1).collect(),
            mean_activation: found.iter().map(|own| own.2).collect(),
            r_squared,
        })
    }
}

show_as_text!(ProbeSimilarity);

impl fmt::Display for ProbeSimilarity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} features, probe of the squared norm with R² {:.3}: products {:.3} to {:.3}",
            self.features.len(),
            self.r_squared,
            self.similarity.last().copied().unwrap_or(f64::NAN),
            self.similarity.first().copied().unwrap_or(f64::NAN)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::lstsq;
    use crate::model::HookPoint;
    use crate::sae_error::downstream::tests::small_info;

    #[test]
    fn features_are_sorted_and_means_are_at_the_mean_of_their_places() {
        let options = SimilarityOptions { features: 4, window: 2, intercept: true };
        let means = [Some(1.0), None, Some(3.0), Some(5.0), Some(7.0), Some(9.0)];
        let similarity = [2.0, 99.0, 8.0, -1.0, 4.0, -2.0];
        let found = ProbeSimilarity::of(&similarity, &means, &options, 0.5).unwrap();
        assert_eq!(found.features, [2, 4, 0, 3]);
        assert_eq!(found.similarity, [8.0, 4.0, 2.0, -1.0]);
        assert_eq!(found.mean_activation, [3.0, 7.0, 1.0, 5.0]);
        assert_eq!(found.running, [(6.0, 5.0), (3.0, 4.0), (0.5, 3.0)]);
        let none = ProbeSimilarity::of(&[1.0], &[None], &options, 0.5);
        assert!(none.unwrap_err().to_string().contains("active somewhere"));
    }

    #[test]
    fn the_probe_is_the_least_squares_one() {
        let info = small_info(HookPoint::ResidPost(0));
        let options = SimilarityOptions { intercept: false, ..SimilarityOptions::default() };
        let found = ProbeSimilarity::measure(&info, &options).unwrap();
        let bias = info.sae().b_dec().to_dtype(DType::F64).unwrap();
        let written = info.reconstructions().unwrap().to_dtype(DType::F64).unwrap();
        let written = written.broadcast_sub(&bias).unwrap();
        let squares = written.sqr().unwrap().sum_keepdim(1).unwrap();
        let probe = lstsq(&written, &squares).unwrap();
        let decoder = info.sae().w_dec().to_dtype(DType::F64).unwrap();
        let expected: Vec<f64> =
            matmul_tn(&decoder, &probe).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for (feature, own) in found.features.iter().zip(&found.similarity) {
            assert!((own - expected[*feature]).abs() < 1e-6 * expected[*feature].abs().max(1.0));
        }
        assert!(found.similarity.windows(2).all(|pair| pair[0] >= pair[1]));
        let dead = info.features().dead();
        assert!(found.running.is_empty() && found.features.len() + dead == info.width());
        let none = SimilarityOptions { window: 0, ..options };
        assert!(ProbeSimilarity::measure(&info, &none).is_err());
    }
}
