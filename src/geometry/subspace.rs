//! Linear subspaces and the angles between them.

use std::fmt;

use candle_core::{D, DType, Device, Tensor};

use crate::check::{check_finite, check_sizes};
use crate::display::show_as_text;
use crate::linalg::{matmul, matmul_nt, matmul_tn, qr, svd};
use crate::random::Rng;
use crate::{Error, Result};

/// Columns whose part that earlier ones do not span is this small beside the largest are dependent.
const DEPENDENT: f64 = 1e-10;

/// A linear subspace of ℝᵈ, by an orthonormal basis `S`, `[d, q]`.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::geometry::Subspace;
/// # fn main() -> Result<()> {
/// let plane = Subspace::spanned_by(&Tensor::new(&[[1f32, 0.], [0., 1.], [0., 0.]], &Device::Cpu)?)?;
/// let line = Subspace::spanned_by(&Tensor::new(&[[1f32], [0.], [1.]], &Device::Cpu)?)?;
/// assert!((plane.angles(&line)?[0].to_degrees() - 45.0).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Subspace {
    basis: Tensor,
}

impl Subspace {
    /// The span of the columns of `columns`, `[d, q]`.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are at most d columns, [`Error::NonFinite`] for NaN,
    /// [`Error::Invalid`] for columns that depend on each other.
    pub fn spanned_by(columns: &Tensor) -> Result<Self> {
        const WHAT: &str = "the columns that span a subspace";
        match *columns.dims() {
            [d, q] if q > 0 && q <= d => {}
            _ => return Err(Error::shape(WHAT, "[d, q] with q at most d", columns.dims())),
        }
        let columns = columns.to_dtype(DType::F64)?.to_device(&Device::Cpu)?;
        check_finite(WHAT, &columns)?;
        let parts = qr(&columns)?;
        if !is_independent(&parts.r)? {
            return Err(Error::invalid(WHAT, "independent of each other", "dependent columns"));
        }
        Ok(Self { basis: parts.q })
    }

    /// The span of orthonormal columns, which are the basis.
    pub(super) fn of_basis(basis: Tensor) -> Self {
        Self { basis }
    }

    /// A uniformly random subspace of `dimensions` dimensions in ℝᵈ for d = `width`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for zero dimensions or more than `width`.
    pub fn random(width: usize, dimensions: usize, rng: &mut Rng) -> Result<Self> {
        check_sizes(&[("the width", width), ("the dimensions of a subspace", dimensions)])?;
        if dimensions > width {
            let expected = format!("at most {width}, the width");
            return Err(Error::invalid("the dimensions of a subspace", expected, dimensions));
        }
        Self::spanned_by(&rng.normal((width, dimensions), &Device::Cpu)?)
    }

    /// The orthonormal basis, `[d, q]`, f64 on the CPU.
    pub fn basis(&self) -> &Tensor {
        &self.basis
    }

    /// d, the width of the space that it lies in.
    pub fn width(&self) -> usize {
        self.basis.dims()[0]
    }

    /// q, its dimensions.
    pub fn dimensions(&self) -> usize {
        self.basis.dims()[1]
    }

    /// The principal angles to `other` in radians, from the smallest up, as many as the smaller of
    /// the two has dimensions. Two planes are the same if both angles are 0, and at right angles if
    /// both are π/2.
    ///
    /// Cosines are singular values of `AᵀB`; angles below π/4 come from sines, the singular values
    /// of `B − A AᵀB`, because an arc cosine near 1 loses half of the digits (Björck and Golub,
    /// 1973).
    ///
    /// # Errors
    /// [`Error::Shape`] for a subspace of another width.
    pub fn angles(&self, other: &Self) -> Result<Vec<f64>> {
        self.check_width("the other subspace", other.width())?;
        let (large, small) = match self.dimensions() >= other.dimensions() {
            true => (&self.basis, &other.basis),
            false => (&other.basis, &self.basis),
        };
        let inner = matmul_tn(large, small)?;
        let cosines: Vec<f64> = svd(&inner)?.values.to_vec1()?;
        let apart = (small - matmul(large, &inner)?)?;
        let mut sines: Vec<f64> = svd(&apart)?.values.to_vec1()?;
        sines.reverse();
        let angle = |(cosine, sine): (&f64, &f64)| match cosine * cosine > 0.5 {
            true => sine.clamp(0.0, 1.0).asin(),
            false => cosine.clamp(0.0, 1.0).acos(),
        };
        Ok(cosines.iter().zip(&sines).map(angle).collect())
    }

    /// The share of the squares of `x`, `[n, d]`, that lies in it: `Σ|xS|² / Σ|x|²`, from 0 to 1. Of
    /// random vectors it is q/d.
    ///
    /// # Errors
    /// As [`Subspace::coordinates`]; [`Error::Invalid`] if all of `x` is zero.
    pub fn share(&self, x: &Tensor) -> Result<f64> {
        let inside = squares(&self.coordinates(x)?)?;
        let all = squares(&host(x)?)?;
        match all > 0.0 {
            true => Ok(inside / all),
            false => Err(Error::invalid("the vectors", "not all zero", "zeros")),
        }
    }

    /// Coordinates of rows `x`, `[n, d]`, on the basis: `x S`, `[n, q]`, f64.
    ///
    /// # Errors
    /// [`Error::Shape`] for rows of another width, [`Error::NonFinite`] for NaN.
    pub fn coordinates(&self, x: &Tensor) -> Result<Tensor> {
        self.check_width("the vectors", x.dims().last().copied().unwrap_or(0))?;
        if x.rank() != 2 {
            return Err(Error::shape("the vectors", format!("[n, {}]", self.width()), x.dims()));
        }
        let x = host(x)?;
        check_finite("the vectors", &x)?;
        matmul(&x, &self.basis)
    }

    /// The part of rows `x`, `[n, d]`, that lies in it: `x S Sᵀ`, f64.
    ///
    /// # Errors
    /// As [`Subspace::coordinates`].
    pub fn project(&self, x: &Tensor) -> Result<Tensor> {
        matmul_nt(&self.coordinates(x)?, &self.basis)
    }

    fn check_width(&self, what: &str, found: usize) -> Result<()> {
        match found == self.width() {
            true => Ok(()),
            false => Err(Error::shape(what, format!("vectors of {} entries", self.width()), found)),
        }
    }
}

/// In f64 on the CPU.
pub(super) fn host(x: &Tensor) -> Result<Tensor> {
    Ok(x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?)
}

/// The sum of squares.
pub(super) fn squares(x: &Tensor) -> Result<f64> {
    Ok(x.sqr()?.sum_all()?.to_scalar()?)
}

/// Whether the columns behind a triangle R `[k, q]` of a QR decomposition do not depend on each
/// other.
pub(super) fn is_independent(r: &Tensor) -> Result<bool> {
    let rows: Vec<Vec<f64>> = r.to_vec2()?;
    let columns = r.dim(D::Minus1)?;
    let largest = rows.iter().flatten().fold(0f64, |most, entry| most.max(entry.abs()));
    let own = |i: usize| rows.get(i).map_or(0.0, |row| row[i].abs());
    Ok(largest > 0.0 && (0..columns).all(|i| own(i) > DEPENDENT * largest))
}

show_as_text!(Subspace);

impl fmt::Display for Subspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subspace of {} dimensions in {}", self.dimensions(), self.width())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns<const N: usize>(rows: &[[f64; 2]; N]) -> Tensor {
        Tensor::new(rows, &Device::Cpu).unwrap()
    }

    #[test]
    fn angles_are_those_that_the_planes_were_made_with() {
        let (small, large) = (1e-9f64, 1.2f64);
        let first = columns(&[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]);
        let second = columns(&[
            [small.cos(), 0.0],
            [0.0, large.cos()],
            [small.sin(), 0.0],
            [0.0, large.sin()],
        ]);
        let [first, second] = [first, second].map(|basis| Subspace::spanned_by(&basis).unwrap());
        for found in [first.angles(&second).unwrap(), second.angles(&first).unwrap()] {
            assert!((found[0] - small).abs() < 1e-15 && (found[1] - large).abs() < 1e-12);
        }
        // A line in a plane, in both orders.
        let line = Subspace::spanned_by(&first.basis().narrow(1, 1, 1).unwrap()).unwrap();
        assert!(first.angles(&line).unwrap()[0] < 1e-12);
        assert_eq!(line.angles(&second).unwrap().len(), 1);
        assert!((line.angles(&second).unwrap()[0] - large).abs() < 1e-12);
    }

    #[test]
    fn a_random_plane_holds_its_share_of_random_vectors() {
        let mut rng = Rng::seed(4);
        let plane = Subspace::random(40, 2, &mut rng).unwrap();
        let x = rng.normal((4_000, 40), &Device::Cpu).unwrap();
        assert!((plane.share(&x).unwrap() - 0.05).abs() < 0.005);
        let inside = plane.project(&x).unwrap();
        assert!((plane.share(&inside).unwrap() - 1.0).abs() < 1e-12);
        let rest = (host(&x).unwrap() - inside).unwrap();
        assert!(plane.share(&rest).unwrap() < 1e-20);
        assert_eq!(plane.to_string(), "Subspace of 2 dimensions in 40");
    }

    #[test]
    fn what_spans_nothing_is_named() {
        let text = |result: Result<Subspace>| result.unwrap_err().to_string();
        let twice = columns(&[[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]]);
        assert!(text(Subspace::spanned_by(&twice)).contains("independent"));
        assert!(text(Subspace::spanned_by(&twice.zeros_like().unwrap())).contains("independent"));
        assert!(text(Subspace::spanned_by(&twice.t().unwrap())).contains("q at most d"));
        assert!(text(Subspace::spanned_by(&(&twice / 0.0).unwrap())).contains("NaN"));
        assert!(text(Subspace::random(3, 4, &mut Rng::seed(0))).contains("at most 3"));
        assert!(text(Subspace::random(3, 0, &mut Rng::seed(0))).contains("at least 1"));
        let plane = Subspace::random(3, 2, &mut Rng::seed(0)).unwrap();
        let other = Subspace::random(4, 2, &mut Rng::seed(0)).unwrap();
        assert!(plane.angles(&other).unwrap_err().to_string().contains("3 entries"));
        assert!(plane.share(&columns(&[[0.0, 0.0]])).is_err());
        let zeros = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(plane.share(&zeros).unwrap_err().to_string().contains("not all zero"));
    }
}
