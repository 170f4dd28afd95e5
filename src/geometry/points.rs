//! Points in the plane, on the host.

use candle_core::{DType, Tensor};

use crate::check::check_all_finite;
use crate::{Error, Result};

/// Points of a tensor `[n, 2]`, finite and not all the same.
#[derive(Debug, Clone)]
pub(super) struct Points {
    pub(super) x: Vec<f64>,
    pub(super) y: Vec<f64>,
}

impl Points {
    pub(super) fn of(tensor: &Tensor) -> Result<Self> {
        const WHAT: &str = "the points";
        let [count, 2] = *tensor.dims() else {
            return Err(Error::shape(WHAT, "[n, 2], a point a row", tensor.dims()));
        };
        if !matches!(tensor.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
            let found = tensor.dtype().as_str();
            return Err(Error::invalid("the dtype of the points", "a floating-point type", found));
        }
        if count == 0 {
            return Err(Error::shape(WHAT, "at least two different points", tensor.dims()));
        }
        let flat: Vec<f64> = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        check_all_finite(WHAT, &flat)?;
        if flat.chunks_exact(2).all(|point| point == &flat[..2]) {
            let found = format!("{count} times ({}, {})", flat[0], flat[1]);
            return Err(Error::invalid(WHAT, "at least two different points", found));
        }
        let x = flat.iter().step_by(2).copied().collect();
        let y = flat.iter().skip(1).step_by(2).copied().collect();
        let points = Self { x, y };
        let spread = points.moved(points.mean(), 1.0).mean_square();
        if !spread.is_normal() {
            let expected = "of a spread whose square is neither 0 nor infinite in f64: scale them";
            return Err(Error::invalid(WHAT, expected, format!("a mean square of {spread}")));
        }
        Ok(points)
    }

    pub(super) fn len(&self) -> usize {
        self.x.len()
    }

    pub(super) fn mean(&self) -> [f64; 2] {
        let n = self.len() as f64;
        [self.x.iter().sum::<f64>() / n, self.y.iter().sum::<f64>() / n]
    }

    /// The mean of the squares of all coordinates (half the mean squared length).
    pub(super) fn mean_square(&self) -> f64 {
        let sum: f64 = self.x.iter().chain(&self.y).map(|v| v * v).sum();
        sum / (2 * self.len()) as f64
    }

    /// `scale · (point − origin)` for every point.
    pub(super) fn moved(&self, origin: [f64; 2], scale: f64) -> Self {
        let along = |values: &[f64], origin: f64| -> Vec<f64> {
            values.iter().map(|value| scale * (value - origin)).collect()
        };
        Self { x: along(&self.x, origin[0]), y: along(&self.y, origin[1]) }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn bad_points_are_named() {
        let message = |rows: &Tensor| Points::of(rows).unwrap_err().to_string();
        let cpu = &Device::Cpu;
        let three = Tensor::zeros((4, 3), DType::F32, cpu).unwrap();
        assert!(message(&three).contains("[n, 2]") && message(&three).contains("[4, 3]"));
        let none = Tensor::zeros((0, 2), DType::F32, cpu).unwrap();
        assert!(message(&none).contains("at least two"), "{}", message(&none));
        let same = Tensor::ones((5, 2), DType::F32, cpu).unwrap();
        assert!(message(&same).contains("5 times (1, 1)"), "{}", message(&same));
        let nan = Tensor::new(&[[0f32, 1.0], [2.0, f32::NAN]], cpu).unwrap();
        assert!(message(&nan).contains("index 3"), "{}", message(&nan));
        for size in [1e-200, 1e200] {
            let extreme = Tensor::new(&[[0f64, size], [size, 0.0]], cpu).unwrap();
            assert!(message(&extreme).contains("scale them"), "{}", message(&extreme));
        }
        let whole = Tensor::new(&[[0u32, 1], [2, 3]], cpu).unwrap();
        assert!(message(&whole).contains("u32"), "{}", message(&whole));
    }

    #[test]
    fn points_are_moved_and_measured() {
        let rows = Tensor::new(&[[1f32, 2.0], [3.0, 6.0]], &Device::Cpu).unwrap();
        let points = Points::of(&rows).unwrap();
        assert_eq!(points.mean(), [2.0, 4.0]);
        let centred = points.moved(points.mean(), 2.0);
        assert_eq!((centred.x.clone(), centred.y.clone()), (vec![-2.0, 2.0], vec![-4.0, 4.0]));
        assert_eq!(centred.mean_square(), 10.0);
    }
}
