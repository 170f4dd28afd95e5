//! Checks of arguments that many modules make: sizes, rates, finite numbers.

use candle_core::{DType, Tensor};

use crate::{Error, Result};

/// Returns an error for the first of some named sizes that is zero.
pub(crate) fn check_sizes(sizes: &[(&str, usize)]) -> Result<()> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((what, _)) => Err(Error::invalid(*what, "at least 1", 0)),
        None => Ok(()),
    }
}

/// Returns an error unless `value` is finite and at least zero.
pub(crate) fn check_not_negative(what: &str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::invalid(what, "a finite number that is not negative", value))
}

/// Returns an error unless `value` is finite and above zero.
pub(crate) fn check_positive(what: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::invalid(what, "a finite number above zero", value))
}

/// Returns an error unless `value` is between 0 and 1, both included.
pub(crate) fn check_fraction(what: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(what, "between 0 and 1", value))
}

/// Returns [`Error::NonFinite`] with the place of the first of `values` that is NaN or infinite.
pub(crate) fn check_all_finite<'a, T: Copy + Into<f64> + 'a>(
    what: &str,
    values: impl IntoIterator<Item = &'a T>,
) -> Result<()> {
    match values.into_iter().position(|&value| !value.into().is_finite()) {
        Some(index) => Err(Error::NonFinite { what: what.to_owned(), index }),
        None => Ok(()),
    }
}

/// [`check_all_finite`] for a tensor of floating point numbers, which stays on its device unless it
/// holds such a value.
pub(crate) fn check_finite(what: &str, tensor: &Tensor) -> Result<()> {
    let flat = tensor.flatten_all()?;
    // A sum is cheap and finite unless something is wrong, or has overflowed: then look closely.
    let sum = flat.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    if sum.is_finite() {
        return Ok(());
    }
    let values: Vec<f64> = flat.to_dtype(DType::F64)?.to_vec1()?;
    check_all_finite(what, &values)
}

/// The first of some fields in which two values differ: its name, and how each has it, as JSON.
macro_rules! first_difference {
    ($a:expr, $b:expr, $($name:literal: $($field:ident).+),+ $(,)?) => {
        'found: {
            $(if $a.$($field).+ != $b.$($field).+ {
                let shown = [&$a.$($field).+, &$b.$($field).+]
                    .map(|own| serde_json::to_string(own).unwrap_or_default());
                let [a, b] = shown;
                break 'found Some(($name, a, b));
            })+
            None
        }
    };
}

pub(crate) use first_difference;

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn numbers_outside_their_range_are_refused_by_name() {
        assert!(
            check_not_negative("`rate`", 0.0).is_ok() && check_positive("`rate`", 1e-9).is_ok()
        );
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            let error = check_not_negative("`rate`", bad).unwrap_err().to_string();
            assert!(error.starts_with("`rate` must be a finite number"), "{error}");
            assert!(check_positive("`rate`", bad).is_err());
        }
        assert!(check_positive("`rate`", 0.0).is_err());
        assert!(check_sizes(&[("a", 1), ("b", 0)]).unwrap_err().to_string().starts_with("b must"));
    }

    #[test]
    fn the_first_value_that_is_not_finite_is_told() {
        let values = [1f32, f32::INFINITY, f32::NAN];
        let first = |result| matches!(result, Err(Error::NonFinite { index: 1, .. }));
        assert!(first(check_all_finite("x", &values)));
        let tensor = Tensor::new(&values, &Device::Cpu).unwrap();
        assert!(first(check_finite("x", &tensor)));
        // The sum overflows, the values do not.
        let large = Tensor::new(&[f32::MAX, f32::MAX], &Device::Cpu).unwrap();
        assert!(check_finite("x", &large).is_ok());
    }
}
