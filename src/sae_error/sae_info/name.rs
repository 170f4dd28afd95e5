//! Names of published autoencoders.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// The parts of a name such as `layer_20/width_16k/average_l0_58`, under which Gemma Scope's
/// autoencoders are published.
///
/// ```
/// use eigenlens::sae_error::SaeName;
/// # fn main() -> eigenlens::Result<()> {
/// let name: SaeName = "layer_20/width_131k/average_l0_12".parse()?;
/// assert_eq!((name.layer, name.width, name.l0), (20, 131_072, 12));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaeName {
    /// The layer.
    pub layer: usize,
    /// Number of features: `16k` is the power of two next to 16,000.
    pub width: usize,
    /// Features that are active on average, as published.
    pub l0: u32,
}

impl FromStr for SaeName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let parts: Vec<&str> = name.trim_matches('/').split('/').collect();
        let [layer, width, l0] = parts[..] else { return Err(unnamed(name)) };
        let layer = layer.strip_prefix("layer_").and_then(|layer| layer.parse().ok());
        let width = width.strip_prefix("width_").and_then(width_of);
        let l0 = l0.strip_prefix("average_l0_").and_then(|l0| l0.parse().ok());
        match (layer, width, l0) {
            (Some(layer), Some(width), Some(l0)) => Ok(Self { layer, width, l0 }),
            _ => Err(unnamed(name)),
        }
    }
}

fn unnamed(name: &str) -> Error {
    Error::invalid("the name", "as in layer_20/width_16k/average_l0_58", name)
}

/// The power of two next to a number of thousands (`16k`) or millions (`1m`).
fn width_of(text: &str) -> Option<usize> {
    let (digits, unit) = match (text.strip_suffix('k'), text.strip_suffix('m')) {
        (Some(digits), _) => (digits, 1e3),
        (_, Some(digits)) => (digits, 1e6),
        _ => return text.parse().ok(),
    };
    let number = digits.parse::<u32>().ok().filter(|number| (1..10_000).contains(number))?;
    Some(1 << (f64::from(number) * unit).log2().round() as u32)
}

impl fmt::Display for SaeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = match self.width {
            width if width >= 1 << 20 => format!("{}m", width / 1_000_000),
            width if width >= 1_000 => format!("{}k", width / 1_000),
            width => width.to_string(),
        };
        write!(f, "layer_{}/width_{width}/average_l0_{}", self.layer, self.l0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_names_are_read_and_written() {
        for (name, width) in [
            ("4k", 4_096),
            ("16k", 1 << 14),
            ("32k", 1 << 15),
            ("65k", 1 << 16),
            ("131k", 1 << 17),
            ("262k", 1 << 18),
            ("524k", 1 << 19),
            ("1m", 1 << 20),
        ] {
            let name = format!("layer_9/width_{name}/average_l0_8");
            let found: SaeName = name.parse().unwrap();
            assert_eq!(found, SaeName { layer: 9, width, l0: 8 });
            assert_eq!(found.to_string(), name);
        }
        for bad in ["", "layer_9/width_16k", "layer_x/width_16k/average_l0_8", "a/b/c", "9/16k/8"] {
            let error = bad.parse::<SaeName>().unwrap_err().to_string();
            assert!(error.contains("layer_20/width_16k/average_l0_58"), "{error}");
        }
        assert!("layer_9/width_0k/average_l0_8".parse::<SaeName>().is_err());
    }
}
