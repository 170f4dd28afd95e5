//! Plotly's typed arrays: compact forms of numbers.

use serde_json::{Value, json};

use crate::encode::base64;

/// Arrays up to this length stay readable numbers.
const SHORT: usize = 32;

/// A matrix as plotly's typed array: base64 of little-endian f32, row-major.
pub(super) fn matrix(values: &[f32], rows: usize, columns: usize) -> Value {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    json!({"dtype": "f4", "bdata": base64(&bytes), "shape": format!("{rows}, {columns}")})
}

/// A vector: numbers where there are few, else a typed array of f64.
pub(super) fn vector(values: &[f64]) -> Value {
    if values.len() <= SHORT {
        return json!(values);
    }
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    json!({"dtype": "f8", "bdata": base64(&bytes)})
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::plot) fn decode(text: &str) -> Vec<u8> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(text).unwrap()
    }

    #[test]
    fn typed_arrays_hold_the_numbers() {
        let array = matrix(&[1.5, -2.0], 1, 2);
        let bytes = decode(array["bdata"].as_str().unwrap());
        assert_eq!(bytes, [1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat());
        assert_eq!(array["shape"], "1, 2");
        assert_eq!(vector(&[1.0, 2.0]), json!([1.0, 2.0]));
        assert_eq!(vector(&[0.5; 40])["dtype"], "f8");
    }
}
