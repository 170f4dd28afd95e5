//! Values that say that something is not used.

use serde_json::Value;

/// Words in a field's name for which a value of zero means that the thing is off.
const OFF_AT_ZERO: [&str; 11] = [
    "coef",
    "coeff",
    "coefficient",
    "decay",
    "dropout",
    "jitter",
    "noise",
    "pdrop",
    "penalty",
    "smoothing",
    "warmup",
];

/// Whether a value says that something is not used: null, false, an empty text, list or object, or
/// an object or list of such values; and zero, where the name is that of an amount whose zero means
/// "none": a dropout, a noise, a penalty, a coefficient, a decay, a warm-up.
///
/// A truth value that is true by default can change numbers when it is false. Types have such fields.
pub(crate) fn is_off(name: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.iter().all(Value::is_null),
        Value::Object(fields) => fields.iter().all(|(name, value)| is_off(name, value)),
        Value::Number(number) => {
            number.as_f64() == Some(0.0)
                && name.split(['_', '.']).any(|word| OFF_AT_ZERO.contains(&word))
        }
    }
}
