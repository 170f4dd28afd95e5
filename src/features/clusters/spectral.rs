//! Clusters by the eigenvectors of the matrix of angles.

use std::fmt;

use candle_core::{DType, Device, Tensor};

use super::Clusters;
use super::angular::AngularMatrix;
use super::kmeans::{Partition, kmeans};
use crate::check::{check_positive, check_sizes};
use crate::display::show_as_text;
use crate::features::pairs::UnitVectors;
use crate::linalg::{TopEigenvectors, top_eigenvectors};
use crate::{Error, Result};

/// Vectors up to which no cosine is left out.
const FEW: usize = 2_048;

/// How [`Clusters::spectral`] looks for clusters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpectralOptions {
    /// Number of clusters, and of eigenvectors; 1,000.
    pub clusters: usize,
    /// Runs of k-means, of which the best is kept; 1.
    pub restarts: usize,
    /// Decides where k-means begins; 0.
    pub seed: u64,
    /// Of cosines below this in magnitude, the arcsine is taken to be the cosine itself; 0.2. Of up
    /// to 2,048 vectors, none is. [`SpectralReport::left_out`] bounds what that changes.
    pub linear_below: f64,
    /// Eigenvectors are good enough if nine tenths of them miss by less than this share of the last
    /// eigenvalue; 0.001.
    pub accuracy: f64,
}

impl Default for SpectralOptions {
    fn default() -> Self {
        Self { clusters: 1_000, restarts: 1, seed: 0, linear_below: 0.2, accuracy: 1e-3 }
    }
}

/// What is known of a spectral clustering beside the clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct SpectralReport {
    /// The smallest eigenvalues of `I − D^-½ A D^-½`, ascending, one a cluster.
    pub eigenvalues: Vec<f64>,
    /// No eigenvalue is farther than this from that of the exact matrix because of small cosines whose
    /// arcsine was taken to be the cosine: the largest row sum of what was left out.
    pub left_out: f64,
    /// The largest `‖S v − θ v‖` of an eigenvector.
    pub residual: f64,
    /// The sum of squared distances to the centres of k-means, over the sum about the mean.
    pub inertia: f64,
}

impl Clusters {
    /// Spectral clusters of the rows of `vectors` `[n, d]`, as in the study for GPT-2: with weights
    /// `A = 1 − θ/π` of the angles between different rows, row sums D, and the eigenvectors U of
    /// `D^-½ A D^-½` of the largest eigenvalues, k-means of the rows of `D^-½ U`.
    ///
    /// The matrix is not made. Because `1 − θ/π = ½ + arcsin(s)/π` for the cosine s, it is a constant,
    /// plus W Wᵀ/π, plus `(arcsin(s) − s)/π`, which is near zero but for the few large cosines.
    ///
    /// Neither scikit-learn's partition nor this one is stable: of GPT-2's features another seed
    /// gives quite another one. Groups of clearly alike features are in all of them, and
    /// [`Clusters::graph`] finds those faster.
    ///
    /// # Errors
    /// - Vectors that are no matrix, or hold NaN.
    /// - More clusters than vectors, fewer than two, or bad options.
    /// - [`Error::Interrupted`] when Stop is pressed.
    pub fn spectral(vectors: &Tensor, options: &SpectralOptions) -> Result<Self> {
        Ok(Self::spectral_with_report(vectors, options)?.0)
    }

    /// [`Clusters::spectral`], with what is known of how good it is.
    ///
    /// # Errors
    /// As [`Clusters::spectral`].
    pub fn spectral_with_report(
        vectors: &Tensor,
        options: &SpectralOptions,
    ) -> Result<(Self, SpectralReport)> {
        let &SpectralOptions { clusters: k, restarts, seed, linear_below, accuracy } = options;
        check_sizes(&[("`restarts`", restarts)])?;
        check_positive("`accuracy`", accuracy)?;
        if !(0.0..=1.0).contains(&linear_below) {
            return Err(Error::invalid("`linear_below`", "a cosine from 0 to 1", linear_below));
        }
        let unit = UnitVectors::of(&vectors.to_device(&Device::Cpu)?)?;
        let [n, _] = unit.dims();
        if k < 2 || k > n {
            let expected = format!("from 2 to {n}, the number of vectors");
            return Err(Error::invalid("`clusters`", expected, k));
        }
        let linear_below = if n <= FEW { 0.0 } else { linear_below };
        let angles = AngularMatrix::of(&unit, linear_below)?;
        let left_out = angles.left_out;
        let multiply = |x: &Tensor| angles.multiply(x);
        let TopEigenvectors { values, vectors, residuals } =
            top_eigenvectors(n, k, accuracy, &multiply)?;
        // k-means knows no unit: √n keeps the numbers near 1.
        let scale = (&angles.scale * (n as f64).sqrt())?;
        let embedding = vectors.broadcast_mul(&scale)?.t()?.contiguous()?;
        let spread = embedding.broadcast_sub(&embedding.mean_keepdim(0)?)?.sqr()?;
        let spread = spread.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let Partition { labels, inertia } = kmeans(&embedding, k, restarts, seed)?;
        let report = SpectralReport {
            eigenvalues: values.iter().map(|value| 1.0 - value).collect(),
            left_out,
            residual: residuals.into_iter().fold(0.0, f64::max),
            inertia: if spread > 0.0 { inertia / spread } else { 0.0 },
        };
        Ok((Self::from_labels(&labels)?, report))
    }

    /// The clusters of features with the same label, in the order of their smallest member.
    fn from_labels(labels: &[u32]) -> Result<Self> {
        let mut places = std::collections::HashMap::new();
        let mut clusters: Vec<Vec<usize>> = Vec::new();
        for (feature, label) in labels.iter().enumerate() {
            let place = *places.entry(*label).or_insert(clusters.len());
            if place == clusters.len() {
                clusters.push(Vec::new());
            }
            clusters[place].push(feature);
        }
        Self::new(labels.len(), clusters)
    }
}

show_as_text!(SpectralReport);

impl fmt::Display for SpectralReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.eigenvalues.last().copied().unwrap_or(f64::NAN);
        write!(
            f,
            "{} eigenvectors, of Laplacian eigenvalues up to {last:.5} (each within {:.1e}, and {:.1e} \
             for small cosines); k-means leaves {:.1} % of their variance",
            self.eigenvalues.len(),
            self.residual,
            self.left_out,
            100.0 * self.inertia
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::angular::tests::{planted, whole};
    use super::*;
    use crate::linalg::eigvalsh;

    #[test]
    fn separated_groups_are_the_clusters() {
        let vectors = planted(5, 8, 0, 30, 0.15);
        let options = SpectralOptions { clusters: 5, restarts: 3, ..SpectralOptions::default() };
        let (clusters, report) = Clusters::spectral_with_report(&vectors, &options).unwrap();
        for (group, members) in clusters.iter().enumerate() {
            assert_eq!(members, (8 * group..8 * group + 8).collect::<Vec<_>>());
        }
        let matrix = Tensor::new(whole(&vectors), &Device::Cpu).unwrap();
        let values: Vec<f64> = eigvalsh(&matrix).unwrap().to_vec1().unwrap();
        for (found, value) in report.eigenvalues.iter().zip(values.iter().rev()) {
            assert!((found - (1.0 - value)).abs() < 1e-5, "{found} {value}");
        }
        assert!(report.eigenvalues[0].abs() < 1e-5 && report.inertia < 0.1, "{report}");
    }

    #[test]
    fn planted_groups_are_found_through_a_krylov_basis() {
        // Large enough for a basis that is not the whole space.
        let vectors = planted(12, 14, 1_000, 24, 0.4);
        let options = SpectralOptions { clusters: 40, restarts: 2, ..SpectralOptions::default() };
        let clusters = Clusters::spectral(&vectors, &options).unwrap();
        let mean = (0..12).map(|group| {
            let members: Vec<usize> = (14 * group..14 * group + 14).collect();
            clusters.best_match(&members).unwrap().1
        });
        let mean = mean.sum::<f64>() / 12.0;
        assert!(mean > 0.7, "{mean}");
    }

    #[test]
    fn bad_options_are_named() {
        let vectors = planted(2, 3, 0, 4, 0.1);
        let message = |options: SpectralOptions| {
            Clusters::spectral(&vectors, &options).unwrap_err().to_string()
        };
        let plain = SpectralOptions { clusters: 2, ..SpectralOptions::default() };
        assert!(message(SpectralOptions { clusters: 7, ..plain }).contains("from 2 to 6"));
        assert!(message(SpectralOptions { clusters: 1, ..plain }).contains("`clusters`"));
        assert!(message(SpectralOptions { restarts: 0, ..plain }).contains("`restarts`"));
        assert!(message(SpectralOptions { linear_below: 2.0, ..plain }).contains("linear_below"));
        assert!(message(SpectralOptions { accuracy: 0.0, ..plain }).contains("`accuracy`"));
        let opposite = Tensor::new(&[[1f32, 0.0], [-1.0, 0.0]], &Device::Cpu).unwrap();
        let error = Clusters::spectral(&opposite, &plain).unwrap_err().to_string();
        assert!(error.contains("opposite"), "{error}");
    }
}
