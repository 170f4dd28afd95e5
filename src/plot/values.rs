//! What charts take as data: tensors, vectors, slices, alone or with names.

use candle_core::{DType, Tensor};

use crate::check::check_all_finite;
use crate::{Error, Result};

/// A number that a chart can show. `None` is a gap, like NaN.
pub trait Number: Copy {
    /// The nearest `f64`; NaN for a gap.
    fn as_f64(self) -> f64;
}

macro_rules! numbers {
    ($($t:ty),*) => {$(
        impl Number for $t {
            fn as_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}
numbers!(f32, f64, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

impl Number for half::f16 {
    fn as_f64(self) -> f64 {
        self.to_f64()
    }
}

impl Number for half::bf16 {
    fn as_f64(self) -> f64 {
        self.to_f64()
    }
}

impl Number for bool {
    fn as_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
}

impl<T: Number> Number for Option<T> {
    fn as_f64(self) -> f64 {
        self.map_or(f64::NAN, T::as_f64)
    }
}

/// One-dimensional data: a tensor with one axis longer than 1, a vector, a slice or an array.
pub trait IntoValues {
    /// The numbers, in order.
    ///
    /// # Errors
    /// [`Error::Shape`] for a tensor of more than one dimension.
    fn into_values(self) -> Result<Vec<f64>>;
}

impl IntoValues for &Tensor {
    fn into_values(self) -> Result<Vec<f64>> {
        if self.dims().iter().filter(|&&d| d != 1).count() > 1 {
            return Err(Error::shape("the data of a series", "[n]", self.dims()));
        }
        Ok(self.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
    }
}

impl IntoValues for Tensor {
    fn into_values(self) -> Result<Vec<f64>> {
        (&self).into_values()
    }
}

impl<T: Number> IntoValues for &[T] {
    fn into_values(self) -> Result<Vec<f64>> {
        Ok(self.iter().map(|v| v.as_f64()).collect())
    }
}

impl<T: Number> IntoValues for &Vec<T> {
    fn into_values(self) -> Result<Vec<f64>> {
        self.as_slice().into_values()
    }
}

impl<T: Number> IntoValues for Vec<T> {
    fn into_values(self) -> Result<Vec<f64>> {
        self.as_slice().into_values()
    }
}

impl<T: Number, const N: usize> IntoValues for [T; N] {
    fn into_values(self) -> Result<Vec<f64>> {
        self.as_slice().into_values()
    }
}

impl<T: Number, const N: usize> IntoValues for &[T; N] {
    fn into_values(self) -> Result<Vec<f64>> {
        self.as_slice().into_values()
    }
}

/// A name (empty for none) and the numbers of one series.
pub type Named = (String, Vec<f64>);

/// One series or several: numbers, a tensor `[series, n]`, vectors of vectors, or pairs of name and
/// numbers.
///
/// ```
/// use eigenlens::plot::line;
/// let (train, test) = (vec![0.9_f32, 0.5, 0.3], vec![1.0_f32, 0.7, 0.6]);
/// line(&train)?;
/// line([("train", &train), ("test", &test)])?;
/// # Ok::<(), eigenlens::Error>(())
/// ```
pub trait IntoSeries {
    /// The series, in order.
    ///
    /// # Errors
    /// [`Error::Shape`] for a tensor of more than two dimensions.
    fn into_series(self) -> Result<Vec<Named>>;
}

impl IntoSeries for &Tensor {
    fn into_series(self) -> Result<Vec<Named>> {
        match self.rank() {
            0 | 1 => Ok(vec![(String::new(), self.into_values()?)]),
            2 => {
                let rows: Vec<Vec<f64>> = self.to_dtype(DType::F64)?.to_vec2()?;
                let name = |i: usize| if rows.len() > 1 { i.to_string() } else { String::new() };
                Ok(rows.iter().enumerate().map(|(i, row)| (name(i), row.clone())).collect())
            }
            _ => Err(Error::shape("the data of a chart", "[n] or [series, n]", self.dims())),
        }
    }
}

impl IntoSeries for Tensor {
    fn into_series(self) -> Result<Vec<Named>> {
        (&self).into_series()
    }
}

macro_rules! one_series {
    ($([$($generics:tt)*] $t:ty),*) => {$(
        impl<$($generics)*> IntoSeries for $t {
            fn into_series(self) -> Result<Vec<Named>> {
                Ok(vec![(String::new(), self.into_values()?)])
            }
        }
    )*};
}
one_series!(
    [T: Number] &[T],
    [T: Number] Vec<T>,
    [T: Number] &Vec<T>,
    [T: Number, const N: usize] [T; N],
    [T: Number, const N: usize] &[T; N]
);

impl<T: Number> IntoSeries for Vec<Vec<T>> {
    fn into_series(self) -> Result<Vec<Named>> {
        (&self).into_series()
    }
}

impl<T: Number> IntoSeries for &Vec<Vec<T>> {
    fn into_series(self) -> Result<Vec<Named>> {
        let name = |i: usize| if self.len() > 1 { i.to_string() } else { String::new() };
        self.iter().enumerate().map(|(i, row)| Ok((name(i), row.into_values()?))).collect()
    }
}

impl<S: Into<String>, V: IntoValues> IntoSeries for Vec<(S, V)> {
    fn into_series(self) -> Result<Vec<Named>> {
        self.into_iter().map(|(name, values)| Ok((name.into(), values.into_values()?))).collect()
    }
}

impl<S: Into<String>, V: IntoValues, const N: usize> IntoSeries for [(S, V); N] {
    fn into_series(self) -> Result<Vec<Named>> {
        self.into_iter().map(|(name, values)| Ok((name.into(), values.into_values()?))).collect()
    }
}

/// Refuses empty data and data with NaN or infinity, where an order or a size is needed.
pub(crate) fn check(what: &str, values: &[f64]) -> Result<()> {
    if values.is_empty() {
        return Err(Error::invalid(what, "at least one number", "none"));
    }
    check_all_finite(what, values)
}

/// Smallest and largest of finite numbers; `None` where there is none.
pub(super) fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|v| v.is_finite()).fold(None, |range, v| match range {
        None => Some((v, v)),
        Some((low, high)) => Some((f64::min(low, v), f64::max(high, v))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn series_come_with_and_without_names() -> Result<()> {
        assert_eq!([1.0_f32, 2.0].into_series()?, [(String::new(), vec![1.0, 2.0])]);
        let named = vec![("a", vec![1_usize]), ("b", vec![2])].into_series()?;
        assert_eq!(named, [("a".to_owned(), vec![1.0]), ("b".to_owned(), vec![2.0])]);
        let rows = Tensor::new(&[[1_f32, 2.0], [3.0, 4.0]], &Device::Cpu)?.into_series()?;
        assert_eq!(rows[1], ("1".to_owned(), vec![3.0, 4.0]));
        assert_eq!(vec![vec![1_u16], vec![2]].into_series()?[1], ("1".to_owned(), vec![2.0]));
        let gaps = [Some(1.5), None].into_values()?;
        assert!(gaps[0] == 1.5 && gaps[1].is_nan());
        let halves = [half::f16::from_f32(0.5), half::f16::INFINITY].into_values()?;
        assert_eq!(halves, [0.5, f64::INFINITY]);
        Ok(())
    }

    #[test]
    fn bad_data_is_named() -> Result<()> {
        let cube = Tensor::zeros((2, 2, 2), DType::F32, &Device::Cpu)?;
        assert!(matches!((&cube).into_series(), Err(Error::Shape { .. })));
        assert!(matches!((&cube).into_values(), Err(Error::Shape { .. })));
        assert!(check("y", &[]).is_err());
        let error = check("the loss", &[1.0, f64::NAN]).err().map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains("the loss") && e.contains("index 1")));
        Ok(())
    }
}
