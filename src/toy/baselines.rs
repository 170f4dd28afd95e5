//! What simpler methods find: principal components, independent components, nothing.

use candle_core::{D, DType, Device, Tensor};

use super::streams::{COMPONENTS, RANDOM};
use crate::check::check_finite;
use crate::linalg::{eigh, matmul, matmul_nt, matmul_tn, unit_rows};
use crate::progress::Progress;
use crate::random::Rng;
use crate::{Error, Result};

/// Directions whose variance is below this share of the largest hold no signal.
const RANK: f64 = 1e-9;

/// `size` directions that know nothing of the data: uniform on the sphere, `[size, dims]`.
///
/// # Errors
/// A size or dimension of 0.
pub fn random_dictionary(size: usize, dims: usize, seed: u64) -> Result<Tensor> {
    crate::check::check_sizes(&[("the size", size), ("the number of dimensions", dims)])?;
    unit_rows(&Rng::stream(seed, RANDOM).normal((size, dims), &Device::Cpu)?)
}

/// The `count` principal components of samples `x` `[n, dims]`: orthonormal rows `[count, dims]`,
/// largest variance first, f32. The mean is taken off first.
///
/// # Errors
/// A count above the dimensions, fewer than two samples, NaN.
pub fn pca(x: &Tensor, count: usize) -> Result<Tensor> {
    let spectrum = CovarianceSpectrum::of(x, count)?;
    Ok(spectrum.leading(count)?.t()?.to_dtype(DType::F32)?.contiguous()?)
}

/// How [`ica`] iterates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IcaOptions {
    /// Most iterations; 200.
    pub steps: usize,
    /// It ends when no direction turns by more than this, as `1 − |cos|`; 1e-4.
    pub tolerance: f64,
    /// Seed of the first directions; 0.
    pub seed: u64,
}

impl Default for IcaOptions {
    fn default() -> Self {
        Self { steps: 200, tolerance: 1e-4, seed: 0 }
    }
}

/// `count` independent components of samples `x` `[n, dims]` by FastICA: rows of length 1
/// `[count, dims]`, f32.
///
/// With whitened samples z, all rows w of an orthogonal W go together, and W is made orthogonal
/// again after each step by `(WWᵀ)^−½ W`:
///
/// ```text
/// w ← E[z g(wᵀz)] − E[g′(wᵀz)] w      g = tanh
/// ```
///
/// After Hyvärinen (1999). What is returned is the *mixing* directions, the ones whose sum the
/// samples are, in data space; their signs mean nothing.
///
/// # Errors
/// A count above the rank of the data, fewer than two samples, NaN; [`Error::Interrupted`] when
/// Stop is pressed.
pub fn ica(x: &Tensor, count: usize, options: IcaOptions) -> Result<Tensor> {
    crate::check::check_sizes(&[("the number of steps", options.steps)])?;
    let spectrum = CovarianceSpectrum::of(x, count)?;
    let rank = spectrum.rank();
    if count > rank {
        let expected = format!("at most {rank}, the rank of the samples");
        return Err(Error::invalid("the number of components", expected, count));
    }
    let axes = spectrum.leading(count)?; // [dims, count]
    let spread = spectrum.spread(count)?; // [count]
    let whiten = axes.broadcast_div(&spread)?;
    // f32 for the long products; sums over samples end in f64 where it matters, in W.
    let z = matmul(&spectrum.centred, &whiten)?.to_dtype(DType::F32)?;
    let n = z.dim(0)? as f64;
    let start = Rng::stream(options.seed, COMPONENTS).normal((count, count), &Device::Cpu)?;
    let mut w = orthogonal(&start.to_dtype(DType::F64)?)?;
    let mut progress = Progress::new("independent components", options.steps as u64, "step");
    for step in 0..options.steps {
        let g = matmul_nt(&z, &w.to_dtype(DType::F32)?)?.tanh()?; // [n, count]
        let pull = (matmul_tn(&g, &z)?.to_dtype(DType::F64)? / n)?;
        let slope = (1.0 - (g.sqr()?.mean(0)?.to_dtype(DType::F64)?))?;
        let new = orthogonal(&(pull - w.broadcast_mul(&slope.unsqueeze(1)?)?)?)?;
        let turned = (1.0 - (&new * &w)?.sum(D::Minus1)?.abs()?)?.max(0)?.to_scalar::<f64>()?;
        w = new;
        progress.note(format!("turned by {turned:.1e}"));
        let stop = progress.advance(1);
        if turned.abs() < options.tolerance {
            break;
        }
        if stop && step + 1 < options.steps {
            return Err(Error::Interrupted { what: "the independent components".to_owned() });
        }
    }
    // z = V⁻¹Qᵀx and s = Wz, so x = Q V Wᵀ s.
    let mixing = matmul(&axes.broadcast_mul(&spread)?, &w.t()?.contiguous()?)?;
    unit_rows(&mixing.t()?.to_dtype(DType::F32)?.contiguous()?)
}

/// The covariance of samples, taken apart.
struct CovarianceSpectrum {
    centred: Tensor,
    values: Vec<f64>,
    /// Columns, ascending.
    vectors: Tensor,
}

impl CovarianceSpectrum {
    fn of(x: &Tensor, count: usize) -> Result<Self> {
        let (n, dims) = match *x.dims() {
            [n, dims] if n > 1 && dims > 0 => (n, dims),
            _ => return Err(Error::shape("the samples", "[n, dims], at least two", x.dims())),
        };
        if count == 0 || count > dims {
            let expected = format!("from 1 to {dims}, the dimensions");
            return Err(Error::invalid("the number of components", expected, count));
        }
        let x = x.to_dtype(DType::F64)?;
        check_finite("the samples", &x)?;
        let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        let covariance = (matmul_tn(&centred, &centred)? / n as f64)?;
        let spectrum = eigh(&covariance)?;
        Ok(Self { centred, values: spectrum.values.to_vec1()?, vectors: spectrum.vectors })
    }

    fn rank(&self) -> usize {
        let most = self.values.last().copied().unwrap_or(0.0);
        self.values.iter().filter(|&&value| value > RANK * most && value > 0.0).count()
    }

    /// The `count` columns of most variance, the largest first, `[dims, count]`.
    fn leading(&self, count: usize) -> Result<Tensor> {
        let dims = self.values.len();
        let order: Vec<u32> = (0..count).map(|i| (dims - 1 - i) as u32).collect();
        Ok(self.vectors.index_select(&Tensor::new(order, &Device::Cpu)?, 1)?)
    }

    /// Their standard deviations, `[count]`.
    fn spread(&self, count: usize) -> Result<Tensor> {
        let roots: Vec<f64> = self.values.iter().rev().take(count).map(|v| v.sqrt()).collect();
        Ok(Tensor::new(roots, &Device::Cpu)?)
    }
}

/// `(WWᵀ)^−½ W`, the nearest matrix with orthonormal rows.
fn orthogonal(w: &Tensor) -> Result<Tensor> {
    let spectrum = eigh(&matmul_nt(w, w)?)?;
    let roots = spectrum.values.sqrt()?;
    let inverse = matmul_nt(&spectrum.vectors.broadcast_div(&roots)?, &spectrum.vectors)?;
    matmul(&inverse, w)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::mmcs_unsigned;

    fn f64s(values: &[&[f64]]) -> Tensor {
        let flat: Vec<f64> = values.iter().flat_map(|row| row.iter().copied()).collect();
        Tensor::from_vec(flat, (values.len(), values[0].len()), &Device::Cpu).unwrap()
    }

    #[test]
    fn principal_components_of_known_data() {
        // Spread 2 along (3, 4)/5 and 1 across it, around a mean that must not matter.
        let x = f64s(&[&[11.2, 6.6], &[8.8, 3.4], &[9.2, 5.6], &[10.8, 4.4]]);
        let found: Vec<Vec<f32>> = pca(&x, 2).unwrap().to_vec2().unwrap();
        for (row, expected) in found.iter().zip([[0.6, 0.8], [0.8, -0.6]]) {
            let cosine = row[0] * expected[0] + row[1] * expected[1];
            assert!((cosine.abs() - 1.0).abs() < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn independent_components_are_unmixed_and_principal_ones_are_not() {
        // Sources far from Gaussian, mixed by directions that are not orthogonal.
        let sources = Rng::seed(4).uniform(-1.0, 1.0, (8_000, 3), &Device::Cpu).unwrap();
        let mixing =
            Tensor::new(&[[1f32, 0.2, 0.0], [0.6, 0.8, 0.1], [-0.3, 0.4, 0.9]], &Device::Cpu);
        let mixing = mixing.unwrap();
        let x = sources.matmul(&mixing).unwrap();
        let found = ica(&x, 3, IcaOptions::default()).unwrap();
        assert!(mmcs_unsigned(&mixing, &found).unwrap() > 0.999);
        assert!(mmcs_unsigned(&mixing, &pca(&x, 3).unwrap()).unwrap() < 0.97);
        let again = ica(&x, 3, IcaOptions::default()).unwrap();
        assert_eq!(found.to_vec2::<f32>().unwrap(), again.to_vec2::<f32>().unwrap());
    }

    #[test]
    fn data_without_enough_directions_are_refused() {
        let flat = f64s(&[&[1.0, 2.0], &[2.0, 4.0], &[0.0, 0.0]]);
        let message = ica(&flat, 2, IcaOptions::default()).unwrap_err().to_string();
        assert!(message.contains("at most 1"), "{message}");
        assert!(pca(&flat, 3).unwrap_err().to_string().contains("from 1 to 2"));
        assert!(pca(&f64s(&[&[1.0, 2.0]]), 1).is_err());
        assert!(pca(&f64s(&[&[1.0, f64::NAN], &[1.0, 2.0]]), 1).is_err());
        let constant = f64s(&[&[1.0, 2.0], &[1.0, 2.0]]);
        assert!(ica(&constant, 1, IcaOptions::default()).is_err());
        assert!(random_dictionary(0, 3, 0).is_err());
    }
}
