//! What the original does to weights besides descent.

use candle_core::{DType, Device, Tensor};

use crate::check::check_finite;
use crate::linalg::unit_rows;
use crate::{Error, Result};

/// Columns `[d, n]` divided by their lengths.
///
/// # Errors
/// [`Error::Shape`] for another rank.
pub fn unit_columns(matrix: &Tensor) -> Result<Tensor> {
    Ok(unit_rows(&matrix.t()?.contiguous()?)?.t()?.contiguous()?)
}

/// A gradient `[d, n]` without its part along each of the columns: `g − w (Σ_d g w)`.
///
/// # Errors
/// [`Error::Shape`] unless both have one shape.
pub fn without_part_along(columns: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    if columns.dims() != gradient.dims() {
        return Err(Error::shape("the gradient", format!("{:?}", columns.dims()), gradient.dims()));
    }
    let along = (columns * gradient)?.sum_keepdim(0)?;
    Ok((gradient - columns.broadcast_mul(&along)?)?)
}

/// The point with the least sum of distances to points `[…, d]`, by Weiszfeld's iteration in f64:
/// from the mean, `m ← Σ x/‖x − m‖ / Σ 1/‖x − m‖` until a step is shorter than `tolerance`, at most
/// `most` times. Where m is at a point, that point is left out of the step.
///
/// # Errors
/// [`Error::Shape`] without points; [`Error::NonFinite`] for NaN.
pub fn geometric_median(points: &Tensor, most: usize, tolerance: f64) -> Result<Tensor> {
    let d = points.dims().last().copied().unwrap_or(0);
    if points.elem_count() == 0 {
        return Err(Error::shape("the points of a median", "at least one", points.dims()));
    }
    check_finite("the points of a median", points)?;
    let wide = points.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.reshape(((), d))?;
    let rows: Vec<Vec<f64>> = wide.to_vec2()?;
    let mut median: Vec<f64> = wide.mean(0)?.to_vec1()?;
    let distance =
        |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    for _ in 0..most {
        let (mut sum, mut total) = (vec![0.0; d], 0.0);
        for row in &rows {
            let apart = distance(row, &median);
            if apart > 0.0 {
                total += 1.0 / apart;
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x / apart);
            }
        }
        if total == 0.0 {
            break;
        }
        sum.iter_mut().for_each(|sum| *sum /= total);
        let moved = distance(&sum, &median);
        median = sum;
        if moved < tolerance {
            break;
        }
    }
    Ok(Tensor::new(median, &Device::Cpu)?.to_dtype(points.dtype())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    fn random(shape: &[usize], seed: u64) -> Tensor {
        Rng::seed(seed).normal(shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn medians_are_where_they_must_be() {
        // Of a square, its middle; of points on a line, the middle one.
        let square = Tensor::new(&[[0f64, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]], &Device::Cpu);
        let found = geometric_median(&square.unwrap(), 100, 1e-9).unwrap();
        assert!(found.to_vec1::<f64>().unwrap().iter().all(|x| (x - 1.0).abs() < 1e-9));
        let line = Tensor::new(&[[0f64], [1.0], [9.0]], &Device::Cpu).unwrap();
        let found = geometric_median(&line, 5_000, 1e-12).unwrap().to_vec1::<f64>().unwrap();
        assert!((found[0] - 1.0).abs() < 1e-2, "{found:?}");
        let none = Tensor::zeros((0, 2), DType::F64, &Device::Cpu).unwrap();
        assert!(geometric_median(&none, 1, 1.0).is_err());
    }

    #[test]
    fn a_projected_gradient_leaves_lengths_as_they_are() {
        let unit = unit_columns(&random(&[5, 12], 1)).unwrap();
        let projected = without_part_along(&unit, &random(&[5, 12], 2)).unwrap();
        let along: Vec<f32> = (unit * projected).unwrap().sum(0).unwrap().to_vec1().unwrap();
        assert!(along.iter().all(|x| x.abs() < 1e-5), "{along:?}");
    }
}
