//! Arrays of the crate `ndarray` as data of charts.

use ndarray::{ArrayBase, Data, Dimension};

use super::values::{IntoSeries, IntoValues, Named, Number};
use crate::{Error, Result};

impl<T: Number, S: Data<Elem = T>, D: Dimension> IntoValues for &ArrayBase<S, D> {
    fn into_values(self) -> Result<Vec<f64>> {
        if self.shape().iter().filter(|&&size| size != 1).count() > 1 {
            return Err(Error::shape("the data of a series", "[n]", self.shape()));
        }
        Ok(self.iter().map(|value| value.as_f64()).collect())
    }
}

impl<T: Number, S: Data<Elem = T>, D: Dimension> IntoValues for ArrayBase<S, D> {
    fn into_values(self) -> Result<Vec<f64>> {
        (&self).into_values()
    }
}

impl<T: Number, S: Data<Elem = T>, D: Dimension> IntoSeries for &ArrayBase<S, D> {
    fn into_series(self) -> Result<Vec<Named>> {
        match *self.shape() {
            [rows, columns] if rows > 1 => {
                let values: Vec<f64> = self.iter().map(|value| value.as_f64()).collect();
                let row = |i: usize| values[i * columns..][..columns].to_vec();
                Ok((0..rows).map(|i| (i.to_string(), row(i))).collect())
            }
            _ => Ok(vec![(String::new(), self.into_values()?)]),
        }
    }
}

impl<T: Number, S: Data<Elem = T>, D: Dimension> IntoSeries for ArrayBase<S, D> {
    fn into_series(self) -> Result<Vec<Named>> {
        (&self).into_series()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, array};

    use super::*;

    #[test]
    fn arrays_are_series_as_tensors_are() -> Result<()> {
        assert_eq!(array![1f32, 2.].into_values()?, [1.0, 2.0]);
        let matrix = array![[1i64, 2], [3, 4], [5, 6]];
        assert_eq!((&matrix).into_series()?[1], ("1".to_owned(), vec![3.0, 4.0]));
        assert_eq!(matrix.t().into_series()?[0], ("0".to_owned(), vec![1.0, 3.0, 5.0]));
        let error = Array3::<f64>::zeros((2, 2, 2)).into_series();
        assert!(matches!(error, Err(Error::Shape { .. })));
        Ok(())
    }
}
