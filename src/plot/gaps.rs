//! Values that have no place on a figure.

use crate::{Error, Result};

/// Values at or below this are masks and not numbers: attention scores are masked with −1e30, or
/// with the least number of their type.
const MASK: f64 = -1e29;
/// Why a value is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    NotFinite,
    Masked,
    NotPositive,
    Outside,
}

/// Why one number cannot be drawn, if it cannot.
pub(super) fn gap(value: f64, log: bool) -> Option<Gap> {
    if !value.is_finite() {
        Some(Gap::NotFinite)
    } else if value <= MASK {
        Some(Gap::Masked)
    } else if log && value <= 0.0 {
        Some(Gap::NotPositive)
    } else {
        None
    }
}

/// Why a cell of an image cannot be drawn, if it cannot. Minus infinity is a mask there: it is what
/// masked attention scores are in f16.
pub(super) fn cell_gap(value: f32) -> Option<Gap> {
    match f64::from(value) {
        f64::NEG_INFINITY => Some(Gap::Masked),
        value => gap(value, false),
    }
}

/// Refuses data of which nothing can be drawn.
pub(super) fn drawable(what: &str, values: &[f64]) -> Result<()> {
    if values.is_empty() {
        let expected = "at least one number; leave it out if nothing was recorded";
        return Err(Error::invalid(what, expected, "none"));
    }
    if values.iter().any(|&value| gap(value, false).is_none()) {
        return Ok(());
    }
    let expected = "finite for at least one value; look for where they became NaN or were masked";
    let found = match values {
        [value] => format!("{value} alone"),
        _ => format!("{} values, none of them finite", values.len()),
    };
    Err(Error::invalid(what, expected, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_without_a_place_are_told_by_their_reason() {
        assert_eq!(gap(f64::NEG_INFINITY, false), Some(Gap::NotFinite));
        assert_eq!(cell_gap(f32::NEG_INFINITY), Some(Gap::Masked));
        assert_eq!(cell_gap(-1e30), Some(Gap::Masked));
        assert_eq!(cell_gap(f32::MIN), Some(Gap::Masked));
        assert_eq!(cell_gap(f32::INFINITY), Some(Gap::NotFinite));
        assert_eq!((gap(-1e28, false), gap(-1.0, true)), (None, Some(Gap::NotPositive)));
    }

    #[test]
    fn nothing_to_draw_is_an_error_with_a_way_out() {
        let words = |values: &[f64]| drawable("the loss", values).err().map(|e| e.to_string());
        assert!(words(&[]).is_some_and(|e| e.contains("leave it out if nothing was recorded")));
        let nan = words(&[f64::NAN, f64::INFINITY]);
        assert!(nan.is_some_and(|e| e.contains("became NaN") && e.contains("2 values")));
        assert_eq!(words(&[f64::NAN, 1.0]), None);
    }
}
