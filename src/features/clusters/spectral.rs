//! Clusters by the eigenvectors of the matrix of angles.

use std::f64::consts::PI;
use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::Clusters;
use super::kmeans::{Partition, kmeans};
use crate::check::{check_positive, check_sizes};
use crate::display::show_as_text;
use crate::features::pairs::{PairVisitor, UnitVectors};
use crate::linalg::{TopEigenvectors, matmul, matmul_nt, top_eigenvectors, with_values};
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

/// `D^-½ A D^-½` by its products.
struct AngularMatrix<'a> {
    unit: &'a UnitVectors,
    /// `(arcsin(s) − s)/π` of large cosines.
    rest: SparseRest,
    /// What the other parts have on the diagonal, where A has 0; `[n]`.
    diagonal: Tensor,
    /// `D^-½`, `[n]`.
    scale: Tensor,
    left_out: f64,
}

impl<'a> AngularMatrix<'a> {
    fn of(unit: &'a UnitVectors, linear_below: f64) -> Result<Self> {
        let [n, _] = unit.dims();
        let (rest, dropped) = SparseRest::of(unit, linear_below)?;
        let diagonal = ((unit.rows().sqr()?.sum(1)? / PI)? + 0.5)?;
        let ones = Tensor::ones(n, DType::F32, &Device::Cpu)?;
        let mut own = Self { unit, rest, diagonal, scale: ones.clone(), left_out: 0.0 };
        let degrees = own.multiply(&ones.unsqueeze(0)?)?.squeeze(0)?;
        let least = degrees.min(0)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if least <= 0.0 {
            let expected = "not all opposite to one of them";
            return Err(Error::invalid("the vectors", expected, "a row sum of angles of 0"));
        }
        own.scale = degrees.powf(-0.5)?;
        own.left_out = dropped / (PI * least);
        Ok(own)
    }

    /// Products with rows `[b, n]`.
    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.broadcast_mul(&self.scale)?;
        let rows = self.unit.rows();
        let linear = (matmul_nt(&matmul(&x, rows)?, rows)? / PI)?;
        let sums = (x.sum_keepdim(1)? * 0.5)?;
        let all = (linear.broadcast_add(&sums)? - x.broadcast_mul(&self.diagonal)?)?;
        Ok((all + self.rest.multiply(&x)?)?.broadcast_mul(&self.scale)?)
    }
}

/// A sparse symmetric matrix without a diagonal.
struct SparseRest {
    offsets: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl SparseRest {
    /// The entries of cosines of at least `from` in magnitude, and a bound on the row sums of the
    /// magnitudes `|arcsin(s) − s|` of the others.
    fn of(unit: &UnitVectors, from: f64) -> Result<(Self, f64)> {
        let [n, _] = unit.dims();
        let scan = RestScan { from: from as f32, found: Mutex::new((Vec::new(), vec![0.0; n])) };
        unit.visit("the angles", &scan)?;
        let (parts, cubes) = scan.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        // arcsin(s) − s = s³/6 + 3s⁵/40 + …: its ratio to s³ grows with s.
        let ratio = if from > 0.0 { (from.asin() - from) / from.powi(3) } else { 0.0 };
        let dropped = cubes.into_iter().fold(0.0, f64::max) * ratio;
        let mut offsets = vec![0usize; n + 1];
        for entry in parts.iter().flatten() {
            offsets[entry.i as usize + 1] += 1;
            offsets[entry.j as usize + 1] += 1;
        }
        for i in 0..n {
            offsets[i + 1] += offsets[i];
        }
        let mut ends = offsets[..n].to_vec();
        let (mut columns, mut values) = (vec![0; offsets[n]], vec![0.0; offsets[n]]);
        let mut push = |row: u32, column: u32, value: f32| {
            let end = &mut ends[row as usize];
            (columns[*end], values[*end]) = (column, value);
            *end += 1;
        };
        for entry in parts.into_iter().flatten() {
            let s = f64::from(entry.cosine.clamp(-1.0, 1.0));
            let value = ((s.asin() - s) / PI) as f32;
            push(entry.i, entry.j, value);
            push(entry.j, entry.i, value);
        }
        Ok((Self { offsets, columns, values }, dropped))
    }

    /// Products with rows `[b, n]`.
    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        let (b, n) = (x.dims()[0], x.dims()[1]);
        // A row for each entry of x, so that what is summed lies together.
        let turned = x.t()?.contiguous()?;
        let sums: Vec<f32> = with_values(&turned, |x| {
            let mut sums = vec![0f32; n * b];
            sums.par_chunks_mut(b).enumerate().for_each(|(row, sums)| {
                let own = self.offsets[row]..self.offsets[row + 1];
                for (column, value) in self.columns[own.clone()].iter().zip(&self.values[own]) {
                    let x = &x[*column as usize * b..][..b];
                    sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += value * x);
                }
            });
            sums
        })?;
        Ok(Tensor::from_vec(sums, (n, b), &Device::Cpu)?.t()?.contiguous()?)
    }
}

/// A large cosine.
#[derive(Debug, Clone, Copy)]
struct LargeCosine {
    i: u32,
    j: u32,
    cosine: f32,
}

/// Collects large cosines and sums the cubes of small ones.
struct RestScan {
    from: f32,
    found: Mutex<(Vec<Vec<LargeCosine>>, Vec<f64>)>,
}

struct RestPart {
    large: Vec<LargeCosine>,
    rows: Range<usize>,
    columns: Range<usize>,
    row_cubes: Vec<f64>,
    column_cubes: Vec<f32>,
}

impl PairVisitor for RestScan {
    type Part = RestPart;

    fn begin(&self, rows: &Range<usize>, columns: &Range<usize>) -> RestPart {
        RestPart {
            large: Vec::new(),
            rows: rows.clone(),
            columns: columns.clone(),
            row_cubes: vec![0.0; rows.len()],
            column_cubes: vec![0.0; columns.len()],
        }
    }

    fn look(&self, part: &mut RestPart, i: usize, first: usize, cosines: &[f32]) {
        let cubes = &mut part.column_cubes[first - part.columns.start..];
        let mut sum = 0f32;
        for (cosine, cubes) in cosines.iter().zip(cubes) {
            let size = cosine.abs();
            let cube = if size < self.from { size * size * size } else { 0.0 };
            *cubes += cube;
            sum += cube;
        }
        part.row_cubes[i - part.rows.start] += f64::from(sum);
        let large = (first as u32..).zip(cosines).filter(|(_, c)| c.abs() >= self.from);
        part.large.extend(large.map(|(j, cosine)| LargeCosine { i: i as u32, j, cosine: *cosine }));
    }

    fn end(&self, part: RestPart) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let (parts, cubes) = &mut *found;
        parts.push(part.large);
        for (row, cube) in part.rows.zip(part.row_cubes) {
            cubes[row] += cube;
        }
        for (column, cube) in part.columns.zip(part.column_cubes) {
            cubes[column] += f64::from(cube);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::affinity::angular_affinity;
    use super::*;
    use crate::linalg::eigvalsh;
    use crate::random::Rng;

    /// `groups` of `each` rows around directions, and `rest` rows around none.
    fn planted(groups: usize, each: usize, rest: usize, d: usize, noise: f64) -> Tensor {
        let mut rng = Rng::seed(1);
        let centres = rng.normal((groups, d), &Device::Cpu).unwrap();
        let index: Vec<u32> = (0..(groups * each) as u32).map(|i| i / each as u32).collect();
        let own = centres.index_select(&Tensor::new(index, &Device::Cpu).unwrap(), 0).unwrap();
        let around = (rng.normal((groups * each, d), &Device::Cpu).unwrap() * noise).unwrap();
        let others = rng.normal((rest, d), &Device::Cpu).unwrap();
        Tensor::cat(&[&(own + around).unwrap(), &others], 0).unwrap()
    }

    /// `D^-½ A D^-½` with a diagonal of 0, in f64.
    fn whole(vectors: &Tensor) -> Vec<Vec<f64>> {
        let affinity = angular_affinity(vectors).unwrap().to_dtype(DType::F64).unwrap();
        let mut rows: Vec<Vec<f64>> = affinity.to_vec2().unwrap();
        rows.iter_mut().enumerate().for_each(|(i, row)| row[i] = 0.0);
        let degrees: Vec<f64> = rows.iter().map(|row| row.iter().sum()).collect();
        for (i, row) in rows.iter_mut().enumerate() {
            for (value, degree) in row.iter_mut().zip(&degrees) {
                *value /= (degrees[i] * degree).sqrt();
            }
        }
        rows
    }

    #[test]
    fn products_are_those_of_the_whole_matrix() {
        let vectors = planted(4, 10, 60, 12, 0.4);
        let unit = UnitVectors::of(&vectors).unwrap();
        let matrix = whole(&vectors);
        let eye = Tensor::eye(100, DType::F32, &Device::Cpu).unwrap();
        for from in [0.0, 0.2, 0.5] {
            let angles = AngularMatrix::of(&unit, from).unwrap();
            let found = angles.multiply(&eye).unwrap().to_vec2::<f32>().unwrap();
            let mut most = 0f64;
            for (found, row) in found.iter().zip(&matrix) {
                let gaps = found.iter().zip(row).map(|(a, b)| (f64::from(*a) - b).abs());
                most = most.max(gaps.sum());
            }
            assert!(most <= 1.1 * angles.left_out + 1e-4, "{from}: {most} {}", angles.left_out);
            assert_eq!(angles.left_out > 0.0, from > 0.0);
        }
        // Looser where more is left out.
        let bounds = [0.2, 0.5].map(|from| AngularMatrix::of(&unit, from).unwrap().left_out);
        assert!(bounds[1] > 3.0 * bounds[0], "{bounds:?}");
    }

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
