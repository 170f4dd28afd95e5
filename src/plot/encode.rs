//! Numbers for plotly, as plain arrays.
//!
//! Plotly's typed arrays (base64) are smaller, but plotly.js before 2.28 draws nothing from them,
//! and saved notebooks are opened with older ones. So numbers keep the digits that a figure can
//! show, and no more where there are many. Only matrices that would make a notebook three times as
//! large (it has a line for every number) are typed arrays; a picture of them lies below for older
//! plotly.js.

use serde_json::{Value, json};

use crate::text::base64;

/// Matrices with more cells than this are typed arrays.
pub(super) const PLAIN: usize = 16_384;

/// Arrays up to this length keep all digits.
pub(super) const EXACT: usize = 32;
/// Significant digits of a coordinate among many, and of a cell: hovering tells four.
const COORDINATE: i32 = 7;
const CELL: i32 = 4;

/// Coordinates; `None` is a gap.
pub(super) fn vector(values: &[Option<f64>]) -> Value {
    if values.len() <= EXACT {
        return values.iter().map(|value| json!(value)).collect();
    }
    rounded(values.iter().copied(), COORDINATE)
}

/// A matrix as rows; `None` is a blank cell.
pub(super) fn matrix(values: &[Option<f64>], columns: usize) -> Value {
    let columns = columns.max(1);
    if values.len() <= EXACT {
        return values.chunks(columns).map(|row| json!(row)).collect();
    }
    if values.len() > PLAIN {
        let cell = |value: &Option<f64>| value.map_or(f32::NAN, |value| value as f32);
        let bytes: Vec<u8> = values.iter().flat_map(|v| cell(v).to_le_bytes()).collect();
        let shape = format!("{}, {columns}", values.len() / columns);
        return json!({"dtype": "f4", "bdata": base64(&bytes), "shape": shape});
    }
    let last = last_digit(values, CELL);
    let row = |row: &[Option<f64>]| -> Value {
        row.iter().map(|value| digits(*value, CELL, last)).collect()
    };
    values.chunks(columns).map(row).collect()
}

fn rounded(values: impl Iterator<Item = Option<f64>> + Clone, keep: i32) -> Value {
    let all: Vec<Option<f64>> = values.collect();
    let last = last_digit(&all, keep);
    all.iter().map(|value| digits(*value, keep, last)).collect()
}

/// The power of ten that resolves what the values span, as finely as `keep` digits can.
fn last_digit(values: &[Option<f64>], keep: i32) -> i32 {
    let range = super::values::extent(values.iter().flatten().copied());
    match range.map(|(low, high)| high - low) {
        Some(span) if span > 0.0 => span.log10().floor() as i32 + 1 - keep,
        _ => i32::MIN / 2,
    }
}

/// `value` to `keep` significant digits, or down to 10^`last` if that is finer.
fn digits(value: Option<f64>, keep: i32, last: i32) -> Value {
    let Some(value) = value else { return Value::Null };
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return json!(value as i64);
    }
    let own = value.abs().log10().floor() as i32 + 1 - keep;
    let decimals = -(own.min(last));
    // Within these powers the scale is exact, and so the quotient is the double nearest to the
    // decimal number, which JSON then writes with no more digits.
    let rounded = match decimals {
        0..=22 => {
            let scale = 10_f64.powi(decimals);
            (value * scale).round() / scale
        }
        i32::MIN..0 => value.round(),
        _ => format!("{value:.*e}", keep as usize - 1).parse().unwrap_or(value),
    };
    json!(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_numbers_are_exact_and_gaps_are_null() {
        assert_eq!(vector(&[Some(1.0 / 3.0), None]), json!([1.0 / 3.0, null]));
        assert_eq!(
            matrix(&[Some(1.0), None, Some(0.1), Some(-2.0)], 2),
            json!([[1.0, null], [0.1, -2.0]])
        );
    }

    #[test]
    fn large_matrices_are_typed() {
        use base64::Engine as _;
        let cells: Vec<Option<f64>> =
            (0..130 * 130).map(|i| (i > 0).then_some(f64::from(i))).collect();
        let array = matrix(&cells, 130);
        assert_eq!((&array["dtype"], &array["shape"]), (&json!("f4"), &json!("130, 130")));
        let text = array["bdata"].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        assert!(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).is_nan());
        assert_eq!(bytes[4..8], 1_f32.to_le_bytes());
    }

    #[test]
    fn many_numbers_keep_the_digits_that_a_figure_shows() {
        let values: Vec<Option<f64>> = (0..100).map(|i| Some(f64::from(i).sin())).collect();
        let cells = matrix(&values, 100);
        let texts = cells[0].as_array().unwrap();
        for (value, cell) in values.iter().flatten().zip(texts) {
            assert!((cell.as_f64().unwrap() - value).abs() <= 0.5e-3 * value.abs(), "{cell}");
            assert!(cell.to_string().len() <= 10, "{cell}");
        }
        // Small differences on top of something large are what such a curve shows.
        let offset: Vec<Option<f64>> = (0..100).map(|i| Some(1e6 + f64::from(i) * 1e-3)).collect();
        let curve = vector(&offset);
        assert_eq!(curve[7].as_f64(), Some(1e6 + 0.007));
        // A value far below the others keeps its own digits.
        let tiny: Vec<Option<f64>> = (0..40).map(|i| Some(10_f64.powi(-i) / 3.0)).collect();
        for (value, text) in tiny.iter().flatten().zip(vector(&tiny).as_array().unwrap()) {
            assert!((text.as_f64().unwrap() / value - 1.0).abs() < 1e-6, "{text}");
        }
        assert_eq!(vector(&[Some(2.0); 40])[3], json!(2));
    }
}
