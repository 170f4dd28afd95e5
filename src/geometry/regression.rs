//! Explanation by regression: which functions of the inputs make up a representation.

use std::fmt;

use candle_core::{DType, Device, Tensor};

use super::explanatory::Explanatory;
use super::principal::{Colouring, Principal};
use crate::check::check_finite;
use crate::display::show_as_text;
use crate::linalg::{lstsq, matmul};
use crate::progress::interrupted;
use crate::{Error, Result};

/// A representation explained by more and more functions of its inputs.
///
/// For values `Y` `[inputs, width]` and the columns `X` of the functions so far, each step solves
///
/// ```text
/// W = X⁺ Y      E = Y − X W      R² = 1 − ΣE² / Σ(Y − Ȳ)²
/// ```
///
/// with `Ȳ` the mean of each column. Seen as a picture, the residual `E` tells what to add next.
/// After Engels et al. (2024), section 5.
///
/// ```
/// use eigenlens::prelude::*;
/// # fn main() -> Result<()> {
/// let hour: Vec<f64> = (0..24).map(f64::from).collect();
/// let circle = Explanatory::circle("hour", hour.clone(), 24.0)?;
/// let values = (circle.columns() * 5.0)?; // a circle, and nothing else
/// let regression = Regression::explain(&values, &[Explanatory::constant(24)?, circle])?;
/// assert!(regression.steps()[1].r_squared.abs() < 1e-9);
/// assert!(regression.steps()[2].r_squared > 1.0 - 1e-9);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Regression {
    steps: Vec<Step>,
}

/// What is left after some functions.
#[derive(Debug, Clone)]
pub struct Step {
    /// The function added in this step; empty in the first, which has none.
    pub name: String,
    /// Columns of all functions so far, `[inputs, columns]`; none in the first step.
    pub columns: Option<Tensor>,
    /// Least-squares coefficients of the smallest norm, `[columns, width]`; none in the first step.
    pub coefficients: Option<Tensor>,
    /// What is not explained, `[inputs, width]`, f64.
    pub residual: Tensor,
    /// `1 − Σ residual² / Σ (values − mean of the column)²`, all columns together. The values
    /// themselves, before any function, have 0 or less.
    pub r_squared: f64,
    /// The same about 0: `1 − Σ residual² / Σ values²`.
    pub r_squared_about_zero: f64,
    /// Share of the residual's variance in each of its (at most three) largest components.
    pub explained_variance_ratio: Vec<f64>,
    /// These components, `[components, width]`, unit rows whose entry of largest magnitude is
    /// positive.
    pub components: Tensor,
}

impl Regression {
    /// Adds the functions one after another. The first step is without any, so there is one more
    /// than functions. Columns may depend on each other, as one-hot inputs and a constant do.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `values` is `[inputs, width]` and every function has as many
    /// inputs; [`Error::NonFinite`] for NaN; [`Error::Invalid`] if every column of `values` is
    /// constant, for then there is nothing to explain.
    pub fn explain(values: &Tensor, functions: &[Explanatory]) -> Result<Self> {
        const WHAT: &str = "the values to be explained";
        let [inputs, width] = *values.dims() else {
            return Err(Error::shape(WHAT, "[inputs, width]", values.dims()));
        };
        if inputs == 0 || width == 0 {
            return Err(Error::shape(WHAT, "at least one row and one column", values.dims()));
        }
        let values = values.to_dtype(DType::F64)?.to_device(&Device::Cpu)?;
        check_finite(WHAT, &values)?;
        let centred = values.broadcast_sub(&values.mean_keepdim(0)?)?;
        let spread = Spread { about_mean: power(&centred)?, about_zero: power(&values)? };
        if spread.about_mean <= 1e-24 * spread.about_zero || spread.about_mean == 0.0 {
            return Err(Error::invalid(WHAT, "different for some inputs", "constant columns"));
        }
        let mut steps = vec![Step::new(String::new(), None, &values, &spread)?];
        let mut columns: Option<Tensor> = None;
        for function in functions {
            if interrupted() {
                return Err(Error::Interrupted { what: "the regression".into() });
            }
            function.check_inputs(inputs)?;
            let all = match &columns {
                None => function.columns().clone(),
                Some(columns) => Tensor::cat(&[columns, function.columns()], 1)?,
            };
            let name = function.name().to_owned();
            steps.push(Step::new(name, Some(&all), &values, &spread)?);
            columns = Some(all);
        }
        Ok(Self { steps })
    }

    /// All steps, the one without any function first.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// `R²` with all functions.
    pub fn r_squared(&self) -> f64 {
        self.steps.last().map_or(0.0, |step| step.r_squared)
    }
}

show_as_text!(Regression);

impl fmt::Display for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = self.steps.first().map(|step| step.residual.dims().to_vec());
        write!(f, "Regression of values {:?}", shape.unwrap_or_default())?;
        let name = |step: &Step| match step.name.is_empty() {
            true => "(values)".to_owned(),
            false => format!("+ {}", step.name),
        };
        let wide = self.steps.iter().map(|step| name(step).chars().count()).max().unwrap_or(0);
        for step in &self.steps {
            let columns = step.columns.as_ref().map_or(0, |columns| columns.dims()[1]);
            let shares: Vec<String> = step
                .explained_variance_ratio
                .iter()
                .map(|r| format!("{:.1} %", 100.0 * r))
                .collect();
            // Without a function there is no fit whose quality R² could tell.
            let quality = match columns {
                0 => String::new(),
                _ => format!("R² {:.4}, {columns} columns", step.shown_r_squared()),
            };
            write!(
                f,
                "\n  {:wide$}  {quality:24}  residual's components {}",
                name(step),
                shares.join(", ")
            )?;
        }
        Ok(())
    }
}

/// Sums of squares of the values.
#[derive(Debug)]
struct Spread {
    about_mean: f64,
    about_zero: f64,
}

impl Step {
    fn new(
        name: String,
        columns: Option<&Tensor>,
        values: &Tensor,
        spread: &Spread,
    ) -> Result<Self> {
        let coefficients = columns.map(|columns| lstsq(columns, values)).transpose()?;
        let residual = match (columns, &coefficients) {
            (Some(columns), Some(coefficients)) => (values - matmul(columns, coefficients)?)?,
            _ => values.clone(),
        };
        let left = power(&residual)?;
        let Principal { components, ratio, .. } = Principal::of(&residual, true)?;
        Ok(Self {
            name,
            columns: columns.cloned(),
            coefficients,
            r_squared: 1.0 - left / spread.about_mean,
            r_squared_about_zero: 1.0 - left / spread.about_zero,
            explained_variance_ratio: ratio,
            components: Tensor::new(components, &Device::Cpu)?,
            residual,
        })
    }

    /// `R²`, where what is 0 but for rounding has no sign.
    pub(crate) fn shown_r_squared(&self) -> f64 {
        if self.r_squared.abs() < 1e-9 { 0.0 } else { self.r_squared }
    }

    /// One colour an input, `[inputs, 3]` as red, green and blue, from the residual's three largest
    /// components. A component's sign is a convention, so a channel may be seen upside down.
    ///
    /// # Errors
    /// [`Error::Tensor`] if an operation fails.
    pub fn colours(&self, colouring: Colouring) -> Result<Tensor> {
        Principal::of(&self.residual, colouring == Colouring::Largest)?.colours(colouring)
    }
}

/// The sum of squares.
fn power(values: &Tensor) -> Result<f64> {
    Ok(values.sqr()?.sum_all()?.to_scalar()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    /// Two inputs of 8 and 6 values, and random directions for some functions of them.
    fn example() -> (Tensor, Vec<Explanatory>) {
        let grid: Vec<(f64, f64)> = (0..48).map(|i| (f64::from(i / 6), f64::from(i % 6))).collect();
        let functions = vec![
            Explanatory::one_hot("a", (0..48).map(|i| i / 6), 8).unwrap(),
            Explanatory::circle("a + b", grid.iter().map(|(a, b)| a + b), 7.0).unwrap(),
            Explanatory::indicator("b = 3", grid.iter().map(|(_, b)| *b == 3.0)).unwrap(),
        ];
        let all = Explanatory::join("all", &functions).unwrap();
        let directions = Rng::seed(3).normal((11, 5), &Device::Cpu).unwrap();
        let directions = directions.to_dtype(DType::F64).unwrap();
        (all.columns().matmul(&directions).unwrap(), functions)
    }

    #[test]
    fn functions_that_made_the_values_explain_them() {
        let (values, functions) = example();
        let regression = Regression::explain(&values, &functions).unwrap();
        let r: Vec<f64> = regression.steps().iter().map(|step| step.r_squared).collect();
        assert_eq!(r.len(), 4);
        assert!(r[0] <= 1e-12 && r[1] > 0.1 && r[2] > r[1] + 0.1, "{r:?}");
        assert!((r[3] - 1.0).abs() < 1e-12 && regression.r_squared() == r[3], "{r:?}");
        // Residuals are at right angles to every column so far.
        for step in &regression.steps()[1..] {
            let columns = step.columns.as_ref().unwrap();
            let inner = columns.t().unwrap().matmul(&step.residual).unwrap();
            assert!(power(&inner).unwrap() < 1e-18);
        }
        let text = regression.to_string();
        assert!(text.contains("[48, 5]") && text.contains("+ b = 3"), "{text}");
    }

    #[test]
    fn columns_that_depend_on_each_other_do_no_harm() {
        let (values, mut functions) = example();
        let before = Regression::explain(&values, &functions[..1]).unwrap().r_squared();
        functions.insert(1, Explanatory::constant(48).unwrap());
        let after = Regression::explain(&values, &functions[..2]).unwrap().r_squared();
        assert!((before - after).abs() < 1e-12);
    }

    #[test]
    fn colours_fill_their_range() {
        let (values, functions) = example();
        let regression = Regression::explain(&values, &functions).unwrap();
        let step = &regression.steps()[1];
        let rows: Vec<Vec<f64>> = step.colours(Colouring::Range).unwrap().to_vec2().unwrap();
        for channel in 0..3 {
            let column = rows.iter().map(|row| row[channel]);
            assert_eq!(column.clone().fold(1.0, f64::min), 0.0);
            assert_eq!(column.fold(0.0, f64::max), 1.0);
        }
        let rows: Vec<Vec<f64>> = step.colours(Colouring::Largest).unwrap().to_vec2().unwrap();
        assert!(rows.iter().any(|row| row[0] == 1.0) && rows.iter().any(|row| row[0] < 0.0));
        // One column has one component: the other channels are dark.
        let narrow = Regression::explain(&values.narrow(1, 0, 1).unwrap(), &[]).unwrap();
        let rows: Vec<Vec<f64>> =
            narrow.steps()[0].colours(Colouring::Range).unwrap().to_vec2().unwrap();
        assert!(rows.iter().all(|row| row[1] == 0.0 && row[2] == 0.0));
    }

    #[test]
    fn bad_values_are_named() {
        let (values, functions) = example();
        let message =
            |values: &Tensor| Regression::explain(values, &functions).unwrap_err().to_string();
        assert!(message(&values.narrow(0, 0, 47).unwrap()).contains("`a`"));
        assert!(message(&values.flatten_all().unwrap()).contains("[inputs, width]"));
        assert!(message(&values.zeros_like().unwrap()).contains("constant"));
        assert!(message(&(values.ones_like().unwrap() * 3.7).unwrap()).contains("constant"));
        assert!(message(&(&values / 0.0).unwrap()).contains("NaN or infinite"));
    }
}
