//! Steps of fitting a probe: checks, components, the plane, the quality.

use candle_core::{D, Tensor};

use super::subspace::{Subspace, host, is_independent, squares};
use super::targets::Targets;
use crate::check::check_finite;
use crate::linalg::{Pca, Qr, matmul_tn, pca, qr, svd};
use crate::{Error, Result};

/// Components whose variance is below this share of the largest are rounding.
const ROUNDING: f64 = 1e-12;

/// Activations `[n, d]` in f64 on the CPU, with `rows` rows.
pub(super) fn checked(x: &Tensor, rows: usize) -> Result<Tensor> {
    const WHAT: &str = "the activations";
    match *x.dims() {
        [n, d] if n == rows && d > 0 => {}
        _ => return Err(Error::shape(WHAT, format!("[{rows}, d], a row a target"), x.dims())),
    }
    let x = host(x)?;
    check_finite(WHAT, &x)?;
    Ok(x)
}

/// The first `count` principal components, or all that vary.
pub(super) fn components(x: &Tensor, count: Option<usize>) -> Result<Pca> {
    let (rows, width) = x.dims2()?;
    let most = rows.min(width);
    if let Some(count) = count
        && (count == 0 || count > most)
    {
        let expected = format!("from 1 to {most}, because the activations are [{rows}, {width}]");
        return Err(Error::invalid("`components`", expected, count));
    }
    let found = pca(x, count.unwrap_or(most))?;
    let largest = found.variances.first().copied().unwrap_or(0.0);
    let square = squares(x)? / rows as f64;
    if largest <= f64::EPSILON.powi(2) * square {
        return Err(Error::invalid("the activations", "different in some rows", "equal rows"));
    }
    let varying =
        found.variances.iter().take_while(|variance| **variance > ROUNDING * largest).count();
    Ok(Pca {
        scores: found.scores.narrow(D::Minus1, 0, varying)?.contiguous()?,
        components: found.components.narrow(0, 0, varying)?.contiguous()?,
        explained: found.explained[..varying].to_vec(),
        variances: found.variances[..varying].to_vec(),
        mean: found.mean,
    })
}

/// Orthonormal columns that span those of `scores`, `[n, ≤ k]`.
pub(super) fn span(scores: &Tensor) -> Result<Tensor> {
    let parts = svd(scores)?;
    let values: Vec<f64> = parts.values.to_vec1()?;
    let most = values.first().copied().unwrap_or(0.0);
    let count = values.iter().take_while(|value| **value > ROUNDING.sqrt() * most).count();
    Ok(parts.u.narrow(D::Minus1, 0, count.max(1))?.contiguous()?)
}

/// The subspace of directions `V W` and its triangle, if they do not depend on each other.
pub(super) fn plane(components: &Tensor, solution: &Tensor) -> Result<Option<(Subspace, Tensor)>> {
    let (k, q) = solution.dims2()?;
    if q > k {
        return Ok(None);
    }
    // V has orthonormal columns, so that the decomposition of W is that of V W.
    let Qr { q: turned, r } = qr(solution)?;
    if !is_independent(&r)? {
        return Ok(None);
    }
    Ok(Some((Subspace::of_basis(matmul_tn(components, &turned)?), r)))
}

/// How good predictions are.
#[derive(Debug, Clone)]
pub(super) struct ProbeQuality {
    pub(super) r_squared: Vec<f64>,
    pub(super) pooled: f64,
    pub(super) mean_absolute_error: f64,
}

impl ProbeQuality {
    /// Of `predictions`, `[n, q]`.
    pub(super) fn of(predictions: &Tensor, targets: &Targets) -> Result<Self> {
        let t = targets.columns()?;
        let error = (&t - predictions)?;
        let column = |x: &Tensor| -> Result<Vec<f64>> { Ok(x.sqr()?.sum(0)?.to_vec1()?) };
        let left = column(&error)?;
        let all = column(&t.broadcast_sub(&t.mean_keepdim(0)?)?)?;
        for (name, spread) in targets.names().iter().zip(&all) {
            if *spread <= 1e-20 * t.elem_count() as f64 {
                let expected = "different for some rows";
                return Err(Error::invalid(format!("the target `{name}`"), expected, "constant"));
            }
        }
        Ok(Self {
            r_squared: left.iter().zip(&all).map(|(left, all)| 1.0 - left / all).collect(),
            pooled: 1.0 - left.iter().sum::<f64>() / all.iter().sum::<f64>(),
            mean_absolute_error: error.abs()?.mean_all()?.to_scalar()?,
        })
    }
}
