//! Named functions of the inputs that may explain a representation.

use std::f64::consts::TAU;

use candle_core::{DType, Device, Tensor};

use crate::check::{check_finite, check_sizes};
use crate::{Error, Result};

/// A named function of the inputs: one column or several, a row for each input, f64.
///
/// ```
/// use eigenlens::geometry::Explanatory;
/// # fn main() -> eigenlens::Result<()> {
/// let hours = [0.0, 6.0, 12.0];
/// let circle = Explanatory::circle("hour of the day", hours, 24.0)?;
/// assert_eq!(circle.columns().dims(), [3, 2]); // cosine and sine
/// let noon = Explanatory::indicator("noon", hours.map(|hour| hour == 12.0))?;
/// let both = Explanatory::join("hours", &[circle, noon])?;
/// assert_eq!(both.columns().dims(), [3, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Explanatory {
    name: String,
    columns: Tensor,
}

impl Explanatory {
    /// A function by its values, one an input.
    ///
    /// # Errors
    /// [`Error::Invalid`] without inputs, [`Error::NonFinite`] for NaN.
    pub fn new(name: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Result<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        let rows = values.len();
        Self::from_rows(name.into(), values, rows, 1)
    }

    /// Several functions under one name: a tensor `[inputs, functions]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for another rank, [`Error::NonFinite`] for NaN.
    pub fn from_columns(name: impl Into<String>, columns: &Tensor) -> Result<Self> {
        let name = name.into();
        let [rows, width] = *columns.dims() else {
            let what = format!("the columns of `{name}`");
            return Err(Error::shape(what, "[inputs, functions]", columns.dims()));
        };
        let values = columns.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        Self::from_rows(name, values, rows, width)
    }

    /// 1 where a condition holds, 0 elsewhere: a delta.
    ///
    /// # Errors
    /// [`Error::Invalid`] without inputs.
    pub fn indicator(
        name: impl Into<String>,
        holds: impl IntoIterator<Item = bool>,
    ) -> Result<Self> {
        Self::new(name, holds.into_iter().map(|holds| f64::from(u8::from(holds))))
    }

    /// One indicator for each of `classes` classes: of the input's token, of its place.
    ///
    /// # Errors
    /// [`Error::Invalid`] without inputs or for a class that is not below `classes`.
    pub fn one_hot(
        name: impl Into<String>,
        class_of: impl IntoIterator<Item = usize>,
        classes: usize,
    ) -> Result<Self> {
        let (name, class_of) = (name.into(), class_of.into_iter().collect::<Vec<_>>());
        if let Some(class) = class_of.iter().find(|class| **class >= classes) {
            let what = format!("a class of `{name}`");
            return Err(Error::invalid(what, format!("below {classes}"), class));
        }
        Self::one_hot_of_first(name, class_of, classes)
    }

    /// One indicator for each of the first `count` classes, and none for all others, which are then
    /// one class in a regression.
    ///
    /// Engels et al. (2024) have eight for every input: right for a week, not for the twelve months
    /// of a year. [`Explanatory::one_hot`] refuses such classes.
    ///
    /// # Errors
    /// [`Error::Invalid`] without inputs or for a `count` of 0.
    pub fn one_hot_of_first(
        name: impl Into<String>,
        class_of: impl IntoIterator<Item = usize>,
        count: usize,
    ) -> Result<Self> {
        let class_of: Vec<usize> = class_of.into_iter().collect();
        let mut values = vec![0.0; class_of.len() * count];
        for (row, &class) in class_of.iter().enumerate().filter(|(_, class)| **class < count) {
            values[row * count + class] = 1.0;
        }
        Self::from_rows(name.into(), values, class_of.len(), count)
    }

    /// `cos(2πv/period)` and `sin(2πv/period)`: of one input, of a sum or of a difference.
    ///
    /// # Errors
    /// [`Error::Invalid`] without inputs or for a period of 0, [`Error::NonFinite`] for NaN.
    pub fn circle(
        name: impl Into<String>,
        values: impl IntoIterator<Item = f64>,
        period: f64,
    ) -> Result<Self> {
        if period == 0.0 || !period.is_finite() {
            return Err(Error::invalid("the period of a circle", "finite and not 0", period));
        }
        let mut columns = Vec::new();
        for value in values {
            let (sin, cos) = (TAU * value / period).sin_cos();
            columns.extend([cos, sin]);
        }
        let rows = columns.len() / 2;
        Self::from_rows(name.into(), columns, rows, 2)
    }

    /// 1 for each of `inputs` inputs.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `inputs` is 0.
    pub fn constant(inputs: usize) -> Result<Self> {
        Self::new("constant", std::iter::repeat_n(1.0, inputs))
    }

    /// Several functions as one, which a regression then adds in one step.
    ///
    /// # Errors
    /// [`Error::Shape`] unless all have as many inputs, [`Error::Invalid`] for none.
    pub fn join(name: impl Into<String>, functions: &[Self]) -> Result<Self> {
        let (name, first) = (name.into(), functions.first());
        let Some(first) = first else {
            return Err(Error::invalid("functions to join", "at least one", 0));
        };
        for function in functions {
            function.check_inputs(first.inputs())?;
        }
        let columns: Vec<&Tensor> = functions.iter().map(|function| &function.columns).collect();
        Ok(Self { name, columns: Tensor::cat(&columns, 1)? })
    }

    fn from_rows(name: String, values: Vec<f64>, rows: usize, columns: usize) -> Result<Self> {
        let what = format!("the values of `{name}`");
        check_sizes(&[(&what, rows), (&format!("the columns of `{name}`"), columns)])?;
        let columns = Tensor::from_vec(values, (rows, columns), &Device::Cpu)?;
        check_finite(&what, &columns)?;
        Ok(Self { name, columns })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `[inputs, functions]`, f64 on the CPU.
    pub fn columns(&self) -> &Tensor {
        &self.columns
    }

    pub(super) fn inputs(&self) -> usize {
        self.columns.dims()[0]
    }

    pub(super) fn check_inputs(&self, expected: usize) -> Result<()> {
        if self.inputs() == expected {
            return Ok(());
        }
        let what = format!("the explanatory function `{}`", self.name);
        Err(Error::shape(what, format!("{expected} values, one an input"), self.inputs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_what_their_names_say() {
        let rows = |function: &Explanatory| function.columns().to_vec2::<f64>().unwrap();
        let hot = Explanatory::one_hot("a", [2, 0], 3).unwrap();
        assert_eq!(rows(&hot), [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]);
        let two = Explanatory::one_hot_of_first("a", [2, 0, 1], 2).unwrap();
        assert_eq!(rows(&two), [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);
        let circle = Explanatory::circle("a + b", [0.0, 3.0], 12.0).unwrap();
        assert!((rows(&circle)[1][1] - 1.0).abs() < 1e-15 && rows(&circle)[0] == [1.0, 0.0]);
        let both = Explanatory::join("all", &[hot, Explanatory::constant(2).unwrap()]).unwrap();
        assert_eq!(rows(&both), [[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 0.0, 1.0]]);
        assert_eq!(both.name(), "all");
    }

    #[test]
    fn bad_functions_are_named() {
        let text = |result: Result<Explanatory>| result.unwrap_err().to_string();
        assert!(text(Explanatory::new("sin a", [])).contains("`sin a`"));
        assert!(text(Explanatory::new("ln a", [0.0, f64::NAN])).contains("`ln a`"));
        assert!(text(Explanatory::one_hot("day", [7], 7)).contains("below 7"));
        assert!(text(Explanatory::circle("day", [1.0], 0.0)).contains("period"));
        let two = [Explanatory::constant(2).unwrap(), Explanatory::constant(3).unwrap()];
        assert!(text(Explanatory::join("both", &two)).contains("2 values"));
        assert!(text(Explanatory::join("none", &[])).contains("at least one"));
    }
}
