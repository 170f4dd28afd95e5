//! Binary operations, and weighted sums of them.

use std::fmt;
use std::str::FromStr;

use candle_core::Tensor;

use crate::{Error, Result};

/// A logic gate of two inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogicGate {
    /// 1 where both inputs are 1.
    And,
    /// 1 where at least one input is 1.
    Or,
    /// 1 where exactly one input is 1.
    Xor,
    /// Not [`LogicGate::And`].
    Nand,
    /// Not [`LogicGate::Or`].
    Nor,
    /// Not [`LogicGate::Xor`].
    Xnor,
}

impl LogicGate {
    const ALL: [(Self, &'static str); 6] = [
        (Self::And, "and"),
        (Self::Or, "or"),
        (Self::Xor, "xor"),
        (Self::Nand, "nand"),
        (Self::Nor, "nor"),
        (Self::Xnor, "xnor"),
    ];

    /// The gate as a polynomial `c₀ + c₁(a + b) + c₂ab`, exact for a and b in {0, 1}.
    fn polynomial(self) -> [f64; 3] {
        match self {
            Self::And => [0.0, 0.0, 1.0],
            Self::Or => [0.0, 1.0, -1.0],
            Self::Xor => [0.0, 1.0, -2.0],
            Self::Nand => [1.0, 0.0, -1.0],
            Self::Nor => [1.0, -1.0, 1.0],
            Self::Xnor => [1.0, -1.0, 2.0],
        }
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(gate, _)| *gate == self).map_or("", |(_, name)| name)
    }
}

/// A weighted sum of gates, written as `xor`, `and1`, or `or1_nand0.5`.
///
/// ```
/// use eigenlens::bilinear::toy::Operation;
/// let mixture: Operation = "or1_nand0.5".parse()?;
/// assert_eq!(mixture.to_string(), "or1_nand0.5");
/// # Ok::<(), eigenlens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    terms: Vec<(LogicGate, f64)>,
}

impl Operation {
    /// The sum of `terms`, each a gate and its weight.
    ///
    /// # Errors
    /// No term, or a weight that is not finite.
    pub fn new(terms: &[(LogicGate, f64)]) -> Result<Self> {
        if terms.is_empty() {
            return Err(Error::invalid("an operation", "a sum of at least one gate", "none"));
        }
        if let Some((gate, weight)) = terms.iter().find(|(_, weight)| !weight.is_finite()) {
            return Err(Error::invalid(format!("the weight of {}", gate.name()), "finite", weight));
        }
        Ok(Self { terms: terms.to_vec() })
    }

    /// The operation on every pair i < j of the columns of `x`: `[n, inputs]` in {0, 1} to
    /// `[n, inputs·(inputs − 1)/2]`.
    ///
    /// # Errors
    /// An `x` that is no matrix of at least two columns.
    pub fn target(&self, x: &Tensor) -> Result<Tensor> {
        let inputs = match *x.dims() {
            [_, inputs] if inputs >= 2 => inputs,
            _ => return Err(Error::shape("x", "[n, inputs] with inputs ≥ 2", x.dims())),
        };
        let [mut c0, mut c1, mut c2] = [0.0; 3];
        for (gate, weight) in &self.terms {
            let [g0, g1, g2] = gate.polynomial();
            (c0, c1, c2) = (c0 + weight * g0, c1 + weight * g1, c2 + weight * g2);
        }
        let mut columns = Vec::new();
        for (i, j) in pairs(inputs) {
            let (a, b) = (x.narrow(1, i, 1)?, x.narrow(1, j, 1)?);
            columns.push((((&a + &b)? * c1)? + ((a * b)?.affine(c2, c0))?)?);
        }
        Ok(Tensor::cat(&columns, 1)?)
    }
}

/// All pairs i < j of `0..inputs`, in the order of the outputs.
pub(super) fn pairs(inputs: usize) -> Vec<(usize, usize)> {
    (0..inputs).flat_map(|i| (i + 1..inputs).map(move |j| (i, j))).collect()
}

impl FromStr for Operation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let expected = "gates (and, or, xor, nand, nor, xnor), each with an optional weight, \
                            joined by _, as in or1_nand0.5";
            Error::invalid("an operation", expected, format!("`{text}`"))
        };
        let mut terms = Vec::new();
        for term in text.split('_') {
            let letters = term.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(term.len());
            let (name, weight) = term.split_at(letters);
            let gate = LogicGate::ALL.iter().find(|(_, own)| name.eq_ignore_ascii_case(own));
            let (gate, _) = gate.ok_or_else(wrong)?;
            let weight = match weight {
                "" => 1.0,
                weight => weight.parse().map_err(|_| wrong())?,
            };
            terms.push((*gate, weight));
        }
        Self::new(&terms)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<_> =
            self.terms.iter().map(|(gate, weight)| format!("{}{weight}", gate.name())).collect();
        f.write_str(&terms.join("_"))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn truth_tables() {
        let x = Tensor::new(&[[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]], &Device::Cpu).unwrap();
        for (operation, table) in [
            ("and", [0f32, 0., 0., 1.]),
            ("or1", [0., 1., 1., 1.]),
            ("xor", [0., 1., 1., 0.]),
            ("nand", [1., 1., 1., 0.]),
            ("nor", [1., 0., 0., 0.]),
            ("xnor", [1., 0., 0., 1.]),
            ("or1_nand0.5", [0.5, 1.5, 1.5, 1.]),
            ("xor-2", [0., -2., -2., 0.]),
        ] {
            let target = operation.parse::<Operation>().unwrap().target(&x).unwrap();
            assert_eq!(target.flatten_all().unwrap().to_vec1::<f32>().unwrap(), table);
        }
    }

    #[test]
    fn pairs_are_in_reading_order() {
        assert_eq!(pairs(4), [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]);
    }

    #[test]
    fn unknown_gates_are_refused_with_the_grammar() {
        for text in ["", "if", "and_", "or1x", "and1__or"] {
            let message = text.parse::<Operation>().unwrap_err().to_string();
            assert!(message.contains("or1_nand0.5"), "{message}");
        }
        assert!("andinf".parse::<Operation>().is_err());
        assert!(Operation::new(&[(LogicGate::And, f64::NAN)]).is_err());
        assert!(Operation::new(&[]).is_err());
    }
}
