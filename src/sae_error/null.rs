//! The R² of an error that the covariances alone imply.

use std::fmt;

use candle_core::{Device, Tensor};

use super::moments::{CentredSums, rank_cut, smallest_solution};
use crate::display::{ShownColumn, ShownTable, rows_to_show};
use crate::linalg::{eigh, eigvalsh, matmul, matmul_tn};
use crate::{Error, Result};

/// Directions that a table shows.
const SHOWN_DIRECTIONS: usize = 12;

/// How much of "the error is linearly predictable" follows from second moments alone.
///
/// An activation is the sum of its reconstruction and its error, `x = x̂ + e`, so that x predicts e even
/// if nothing else does. If x̂ and e are uncorrelated, the best linear map from x to e is a Wiener
/// filter, whose R² needs no more than two covariances:
///
/// ```text
/// R²₀ = tr(Σₑ Σ⁻¹ Σₑ) / tr Σₑ      Σ = Σ_x̂ + Σₑ
/// ```
///
/// An R² near it says that the error is large where the activation varies little, and nothing about
/// features. The best multiple of x alone, `e ≈ λ x`, has `λ = R² = FVU` in that case.
///
/// All numbers are of all rows and in sample, because R²₀ is; compare it with [`in_sample`] and not
/// with the R² held out. Made by [`Explained::null`](super::Explained::null).
///
/// [`in_sample`]: LinearNull::in_sample
#[derive(Debug, Clone)]
pub struct LinearNull {
    /// R²₀: what the covariances alone imply.
    pub r_squared: f64,
    /// The measured R² of the error vector from x, of the same rows, in sample.
    pub in_sample: f64,
    /// What is measured beyond the null, `in_sample − r_squared`.
    pub excess: f64,
    /// R² of the best multiple of the activation, `e ≈ λ x`.
    pub scalar: f64,
    /// That λ, `tr Σₓₑ / tr Σₓ`; the FVU if x̂ and e are uncorrelated.
    pub lambda: f64,
    /// The share of the predicted part that the one scalar carries, `scalar / in_sample`.
    pub share_of_scalar: f64,
    /// The principal directions of x, from the largest variance down. Under the null with one set of
    /// directions for both covariances, R² of each is its FVU.
    pub directions: Vec<NullDirection>,
    /// R² of the best map of each rank, for ranks in powers of two and the full one.
    pub by_rank: Vec<(usize, f64)>,
}

/// The error along a principal direction of the activations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NullDirection {
    /// The variance of x along it.
    pub variance: f64,
    /// The variance of e along it over that of x.
    pub fvu: f64,
    /// R² of the error along it from all of x, in sample; 0 if there is no error along it.
    pub r_squared: f64,
}

impl LinearNull {
    /// From the sums of x with e among its targets first, those of e alone, and the measured R².
    pub(super) fn new(x: &CentredSums, e: &CentredSums, in_sample: f64) -> Result<Self> {
        let (sx, se) = (x.xx_tensor()?, e.xx_tensor()?);
        let d = sx.dims()[0];
        let sxe = x.xy_tensor()?.narrow(1, 0, d)?.contiguous()?;
        let (trace_x, trace_e) = (trace(&sx)?, trace(&se)?);
        if trace_e <= 0.0 {
            let expected = "different for some rows, for the null to be defined";
            return Err(Error::invalid("the error", expected, "a constant"));
        }
        let trace_xe = trace(&sxe)?;
        let spectrum = ErrorSpectrum::new(&sx, &sxe, &se)?;
        let scalar = trace_xe * trace_xe / (trace_x * trace_e);
        let r_squared = null_trace(&sx, &sxe, &se)? / trace_e;
        Ok(Self {
            r_squared,
            in_sample,
            excess: in_sample - r_squared,
            scalar,
            lambda: trace_xe / trace_x,
            share_of_scalar: scalar / in_sample,
            directions: spectrum.directions(x.rows() as f64),
            by_rank: spectrum.by_rank(trace_e)?,
        })
    }

    /// The nonlinear FVU that the null implies, `FVU (1 − R²₀)`.
    pub fn nonlinear_fvu(&self, fvu: f64) -> f64 {
        fvu * (1.0 - self.r_squared)
    }
}

fn trace(square: &Tensor) -> Result<f64> {
    let d = square.dims()[0];
    let values: Vec<f64> = square.flatten_all()?.to_vec1()?;
    Ok(values.iter().step_by(d + 1).sum())
}

/// `tr(Σₑ Σ⁻¹ Σₑ)` with `Σ = Σ_x̂ + Σₑ`, where `Σ_x̂ = Σₓ − Σₓₑ − Σₑₓ + Σₑ` because `x̂ = x − e`.
fn null_trace(sx: &Tensor, sxe: &Tensor, se: &Tensor) -> Result<f64> {
    let d = sx.dims()[0];
    let both = ((sx - sxe)? - sxe.t()?)?;
    let independent: Vec<f64> = (both + (se * 2.0)?)?.flatten_all()?.to_vec1()?;
    let errors: Vec<f64> = se.flatten_all()?.to_vec1()?;
    let filter = smallest_solution(&independent, &errors, d, d)?;
    Ok(filter.matrix.iter().zip(&errors).map(|(filter, error)| filter * error).sum())
}

/// Sums in the coordinates of the principal directions of x.
struct ErrorSpectrum {
    /// Eigenvalues of Sₓ that count, from the largest down.
    values: Vec<f64>,
    /// `Λ^(−1/2) Vᵀ Sₓₑ`, `[directions, d]`.
    whitened: Tensor,
    /// `Σ (vᵀe)²` along each direction.
    errors: Vec<f64>,
    /// What of it x predicts.
    predicted: Vec<f64>,
}

impl ErrorSpectrum {
    fn new(sx: &Tensor, sxe: &Tensor, se: &Tensor) -> Result<Self> {
        let spectrum = eigh(sx)?;
        let mut values: Vec<f64> = spectrum.values.to_vec1()?;
        let d = values.len();
        let cut = rank_cut(d, values.last().copied().unwrap_or(0.0));
        values.retain(|&value| value > 0.0 && value > cut);
        values.reverse();
        let order: Vec<u32> = (0..values.len()).map(|i| (d - 1 - i) as u32).collect();
        let order = Tensor::new(order, &Device::Cpu)?;
        let vectors = spectrum.vectors.index_select(&order, 1)?;
        let roots: Vec<f64> = values.iter().map(|value| value.sqrt().recip()).collect();
        let roots = Tensor::from_vec(roots, (values.len(), 1), &Device::Cpu)?;
        let whitened = matmul_tn(&vectors, sxe)?.broadcast_mul(&roots)?;
        let along = |product: Tensor| -> Result<Vec<f64>> { Ok(product.sum(0)?.to_vec1()?) };
        let errors = along((matmul(se, &vectors)? * &vectors)?)?;
        let predicted = along(matmul(&whitened, &vectors)?.sqr()?)?;
        Ok(Self { values, whitened, errors, predicted })
    }

    fn directions(&self, rows: f64) -> Vec<NullDirection> {
        let all = self.values.iter().zip(self.errors.iter().zip(&self.predicted));
        let direction = |(value, (error, predicted)): (&f64, (&f64, &f64))| NullDirection {
            variance: value / rows,
            fvu: error / value,
            r_squared: if *error > 0.0 { predicted / error } else { 0.0 },
        };
        all.map(direction).collect()
    }

    /// The eigenvalues of `Sₑₓ Sₓ⁻¹ Sₓₑ` are what the best map of each rank adds.
    fn by_rank(&self, total: f64) -> Result<Vec<(usize, f64)>> {
        let full = self.values.len();
        let products = matmul_tn(&self.whitened, &self.whitened)?;
        let mut gains: Vec<f64> = eigvalsh(&products)?.to_vec1()?;
        gains.reverse();
        let ranks = std::iter::successors(Some(1), |rank| Some(rank * 2));
        let ranks = ranks.take_while(|rank| *rank < full).chain([full]);
        Ok(ranks.map(|rank| (rank, gains[..rank].iter().sum::<f64>() / total)).collect())
    }
}

impl LinearNull {
    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn summary(&self) -> String {
        format!(
            "R² of the error {:.4} in sample, {:.4} by the covariances alone (excess {:.4}); \
             one scalar λ = {:.4} carries {:.1} % of it",
            self.in_sample,
            self.r_squared,
            self.excess,
            self.lambda,
            100.0 * self.share_of_scalar
        )
    }

    fn shown(&self) -> ShownTable {
        let columns = ["direction", "variance of x", "FVU along it", "R² along it"];
        let mut shown = ShownTable::new(columns.map(ShownColumn::right)).caption(self.summary());
        for row in rows_to_show(self.directions.len(), SHOWN_DIRECTIONS) {
            let Some(row) = row else {
                shown.push_gap(None);
                continue;
            };
            let own = self.directions[row];
            shown.push([
                (row + 1).to_string(),
                format!("{:.4e}", own.variance),
                format!("{:.4}", own.fvu),
                format!("{:.4}", own.r_squared),
            ]);
        }
        shown
    }
}

impl fmt::Display for LinearNull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.summary(), self.shown().text())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::random::Rng;
    use crate::sae_error::moments::Moments;

    /// The null of reconstructions and errors, `[n, d]` each.
    fn null(reconstructions: &Tensor, errors: &Tensor) -> Result<LinearNull> {
        let x = (reconstructions + errors)?;
        let d = x.dims()[1];
        let mut moments = Moments::new(d, d, 1)?;
        moments.add(0, &x, errors)?;
        let mut of_errors = Moments::of_inputs(d);
        of_errors.add_inputs(errors)?;
        let in_sample = moments.fit(&[0], true)?.in_sample();
        LinearNull::new(&moments.centred(&[0])?, &of_errors.centred(&[0])?, in_sample)
    }

    fn gaussian(seed: u64, rows: usize, scales: &[f64]) -> Tensor {
        let x = Rng::seed(seed).normal((rows, scales.len()), &Device::Cpu).unwrap();
        let scales = Tensor::new(scales, &Device::Cpu).unwrap();
        x.to_dtype(DType::F64).unwrap().broadcast_mul(&scales).unwrap()
    }

    /// Columns of a Hadamard matrix: uncorrelated, exactly.
    fn hadamard(columns: &[u32]) -> Tensor {
        let entry = |row: u32, column: u32| {
            if (row & column).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 }
        };
        let values: Vec<f64> =
            (0..32).flat_map(|row| columns.iter().map(move |&column| entry(row, column))).collect();
        Tensor::from_vec(values, (32, columns.len()), &Device::Cpu).unwrap()
    }

    #[test]
    fn uncorrelated_parts_have_the_null_of_the_closed_form() {
        // x̂ with variances 9, 4, 1 and e with variances 1, 1, 4, all uncorrelated.
        let scale = |x: Tensor, scales: &[f64]| {
            x.broadcast_mul(&Tensor::new(scales, &Device::Cpu).unwrap()).unwrap()
        };
        let x = scale(hadamard(&[1, 2, 4]), &[3.0, 2.0, 1.0]);
        let e = scale(hadamard(&[8, 16, 3]), &[1.0, 1.0, 2.0]);
        let found = null(&x, &e).unwrap();
        // Σ e⁴/(x̂² + e²) over directions, of Σ e².
        let r_squared = (1.0 / 10.0 + 1.0 / 5.0 + 16.0 / 5.0) / 6.0;
        assert!((found.r_squared - r_squared).abs() < 1e-12, "{found}");
        assert!((found.in_sample - r_squared).abs() < 1e-12 && found.excess.abs() < 1e-12);
        let fvu = 6.0 / 20.0;
        assert!((found.lambda - fvu).abs() < 1e-12 && (found.scalar - fvu).abs() < 1e-12);
        assert!((found.share_of_scalar - fvu / r_squared).abs() < 1e-12);
        assert!((found.nonlinear_fvu(fvu) - fvu * (1.0 - r_squared)).abs() < 1e-12);
        let variances: Vec<f64> = found.directions.iter().map(|own| own.variance).collect();
        for (found, expected) in variances.iter().zip([10.0, 5.0, 5.0]) {
            assert!((found - expected).abs() < 1e-12);
        }
        let first = found.directions[0];
        assert!((first.fvu - 0.1).abs() < 1e-12 && (first.r_squared - 0.1).abs() < 1e-12);
        let ranks = [(1, 3.2 / 6.0), (2, 3.4 / 6.0), (3, r_squared)];
        for (found, expected) in found.by_rank.iter().zip(ranks) {
            assert!(found.0 == expected.0 && (found.1 - expected.1).abs() < 1e-12, "{found:?}");
        }
    }

    #[test]
    fn independent_gaussians_are_at_the_null() {
        let x = gaussian(0, 50_000, &[3.0, 2.0, 1.5, 1.0, 0.5, 0.1]);
        let e = gaussian(1, 50_000, &[0.3, 0.5, 0.5, 0.7, 0.4, 0.4]);
        let found = null(&x, &e).unwrap();
        assert!(found.excess.abs() < 0.01, "{found}");
        assert!((found.lambda - found.scalar).abs() < 0.01);
    }

    #[test]
    fn an_error_that_follows_the_reconstruction_is_beyond_the_null() {
        let x = gaussian(2, 2_000, &[3.0, 2.0, 1.5]);
        let e = (&x * 0.2).unwrap();
        let found = null(&x, &e).unwrap();
        assert!((found.in_sample - 1.0).abs() < 1e-9 && found.excess > 0.9, "{found}");
        assert!((found.scalar - 1.0).abs() < 1e-9 && (found.lambda - 0.2 / 1.2).abs() < 1e-9);
        assert!(null(&x, &(e * 0.0).unwrap()).unwrap_err().to_string().contains("a constant"));
    }

    #[test]
    fn directions_without_variance_are_left_out() {
        let x = gaussian(3, 200, &[3.0, 2.0]);
        let e = gaussian(4, 200, &[0.3, 0.5]);
        let twice = |x: &Tensor| Tensor::cat(&[x, x], 1).unwrap();
        let (found, plain) = (null(&twice(&x), &twice(&e)).unwrap(), null(&x, &e).unwrap());
        assert_eq!((found.directions.len(), found.by_rank.len()), (2, 2));
        assert!((found.r_squared - plain.r_squared).abs() < 1e-9, "{found} for {plain}");
        assert!((found.by_rank[1].1 - plain.in_sample).abs() < 1e-9);
        assert!(found.to_string().contains("FVU along it"));
    }
}
