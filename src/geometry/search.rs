//! The next function of the inputs that explains most.

use candle_core::{D, Tensor};

use super::explanatory::Explanatory;
use super::regression::Regression;
use super::subspace::{host, squares};
use crate::check::{check_finite, check_sizes};
use crate::linalg::{matmul, matmul_tn, svd};
use crate::progress::safe_point;
use crate::{Error, Result};

/// Singular values below this share of a function's size are of columns that are known already.
const KNOWN: f64 = 1e-9;

/// When a [`Regression::search`] ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchEnd {
    /// Functions that are added at most; 5.
    pub most: usize,
    /// The least gain in adjusted R² that counts; 0.01. A function with less is not added, and of
    /// two whose gains differ by less the smaller is.
    pub least_gain: f64,
}

impl Default for SearchEnd {
    fn default() -> Self {
        Self { most: 5, least_gain: 0.01 }
    }
}

impl Regression {
    /// Explains `values` by the functions `known` and then, one after another, by that one of
    /// `candidates` which raises the adjusted R² most,
    ///
    /// ```text
    /// 1 − (1 − R²) (n − 1)/(n − 1 − rank)
    /// ```
    ///
    /// so that a function of many columns has to explain more than chance. Of candidates that are
    /// within [`SearchEnd::least_gain`] of the best, the one that adds the fewest columns is taken:
    /// one-hot answers contain every function of the answer. Engels et al. (2024) choose by hand,
    /// from pictures of the residual.
    ///
    /// # Errors
    /// As [`Regression::explain`]; [`Error::Invalid`] for no candidates; [`Error::Interrupted`] when
    /// Stop is pressed.
    pub fn search(
        values: &Tensor,
        known: &[Explanatory],
        candidates: &[Explanatory],
        end: &SearchEnd,
    ) -> Result<Self> {
        check_sizes(&[("the number of candidates", candidates.len())])?;
        let [inputs, _] = *values.dims() else {
            let what = "the values to be explained";
            return Err(Error::shape(what, "[inputs, width]", values.dims()));
        };
        for function in known.iter().chain(candidates) {
            function.check_inputs(inputs)?;
        }
        let x = host(values)?;
        check_finite("the values to be explained", &x)?;
        let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        let mut state = ExplainedSoFar { total: squares(&centred)?, residual: x, basis: None };
        let mut chosen = known.to_vec();
        // Values that do not vary are refused by the regression.
        if state.total == 0.0 {
            return Self::explain(values, &chosen);
        }
        for function in known {
            if let Some(part) = state.new_part(function)? {
                state.add(&part)?;
            }
        }
        let mut left: Vec<&Explanatory> = candidates.iter().collect();
        for _ in 0..end.most {
            let before = state.adjusted(0.0, 0, inputs)?;
            let mut gains: Vec<(f64, usize, Tensor)> = Vec::new();
            for (i, function) in left.iter().enumerate() {
                safe_point("the search for functions")?;
                let Some(part) = state.new_part(function)? else { continue };
                let explained = squares(&matmul_tn(&part, &state.residual)?)?;
                let score = state.adjusted(explained, part.dims()[1], inputs)?;
                gains.push((score - before, i, part));
            }
            let most = gains.iter().map(|(gain, ..)| *gain).fold(f64::NEG_INFINITY, f64::max);
            let least = end.least_gain.max(most - end.least_gain);
            let best = gains
                .into_iter()
                .filter(|(gain, ..)| *gain >= least)
                .min_by(|(a, _, x), (b, _, y)| x.dims()[1].cmp(&y.dims()[1]).then(b.total_cmp(a)));
            let Some((_, i, part)) = best else { break };
            state.add(&part)?;
            chosen.push(left.remove(i).clone());
        }
        Self::explain(values, &chosen)
    }
}

/// What is explained so far.
struct ExplainedSoFar {
    total: f64,
    residual: Tensor,
    /// Orthonormal columns of all functions so far.
    basis: Option<Tensor>,
}

impl ExplainedSoFar {
    /// Orthonormal columns of what a function adds to the others, if it adds anything.
    fn new_part(&self, function: &Explanatory) -> Result<Option<Tensor>> {
        let columns = function.columns();
        let apart = match &self.basis {
            None => columns.clone(),
            Some(basis) => (columns - matmul(basis, &matmul_tn(basis, columns)?)?)?,
        };
        let parts = svd(&apart)?;
        let values: Vec<f64> = parts.values.to_vec1()?;
        let size = squares(columns)?.sqrt();
        let rank = values.iter().take_while(|value| **value > KNOWN * size).count();
        match rank {
            0 => Ok(None),
            _ => Ok(Some(parts.u.narrow(D::Minus1, 0, rank)?.contiguous()?)),
        }
    }

    fn add(&mut self, part: &Tensor) -> Result<()> {
        self.residual = (&self.residual - matmul(part, &matmul_tn(part, &self.residual)?)?)?;
        self.basis = Some(match &self.basis {
            None => part.clone(),
            Some(basis) => Tensor::cat(&[basis, part], 1)?,
        });
        Ok(())
    }

    /// The adjusted R² with `more` columns, which explain so much of the residual's squares.
    fn adjusted(&self, explained: f64, more: usize, inputs: usize) -> Result<f64> {
        let rank = self.basis.as_ref().map_or(0, |basis| basis.dims()[1]) + more;
        let free = inputs as f64 - 1.0 - rank as f64;
        if free <= 0.0 {
            return Ok(f64::NEG_INFINITY);
        }
        let left = squares(&self.residual)? - explained;
        Ok(1.0 - left / self.total * (inputs as f64 - 1.0) / free)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::random::Rng;

    fn random(rows: usize, width: usize, seed: u64) -> Tensor {
        let x = Rng::seed(seed).normal((rows, width), &Device::Cpu).unwrap();
        x.to_dtype(DType::F64).unwrap()
    }

    #[test]
    fn planted_functions_are_found_in_the_order_of_their_share() {
        let inputs: Vec<(usize, usize)> = (0..49).map(|i| (i / 7, i % 7)).collect();
        let circle = |name: &str, of: fn(f64, f64) -> f64, period: f64| {
            let values = inputs.iter().map(|&(a, b)| of(a as f64, b as f64));
            Explanatory::circle(name, values, period).unwrap()
        };
        let sum = circle("sum", |a, b| a + b, 7.0);
        let apart = circle("difference", |a, b| a - b, 7.0);
        let twice = circle("twice", |a, b| 2.0 * (a + b), 7.0);
        let start = Explanatory::one_hot("a", inputs.iter().map(|one| one.0), 7).unwrap();
        let many = Explanatory::from_columns("noise", &random(49, 20, 1)).unwrap();
        let known = [Explanatory::constant(49).unwrap()];
        let part = |one: &Explanatory, size: f64, seed| {
            let columns = one.columns();
            let directions = random(columns.dims()[1], 12, seed);
            (columns.matmul(&directions).unwrap() * size).unwrap()
        };
        let values = (part(&apart, 1.0, 2) + part(&sum, 4.0, 3)).unwrap();
        let values = (values + random(49, 12, 4) * 0.1).unwrap();
        let candidates = [many, twice, start.clone(), apart, sum];
        let found =
            Regression::search(&values, &known, &candidates, &SearchEnd::default()).unwrap();
        let names: Vec<&str> = found.steps()[2..].iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["sum", "difference"], "{found}");
        assert!(found.r_squared() > 0.98);
        // What is known already is not found again.
        let end = SearchEnd { least_gain: 0.0, ..SearchEnd::default() };
        let first = [known[0].clone(), start.clone()];
        let again = Regression::search(&values, &first, &[start], &end).unwrap();
        assert_eq!(again.steps().len(), 3);
    }

    #[test]
    fn a_search_for_nothing_is_named() {
        let values = random(9, 3, 0);
        let one = [Explanatory::constant(9).unwrap()];
        let text = |values: &Tensor, candidates: &[Explanatory]| {
            let end = SearchEnd::default();
            Regression::search(values, &one, candidates, &end).unwrap_err().to_string()
        };
        assert!(text(&values, &[]).contains("candidates"));
        assert!(text(&values.narrow(0, 0, 8).unwrap(), &one).contains("`constant`"));
        assert!(text(&values.flatten_all().unwrap(), &one).contains("[inputs, width]"));
        assert!(text(&values.ones_like().unwrap(), &one).contains("constant"));
    }
}
