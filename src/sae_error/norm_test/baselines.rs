//! What simpler numbers than the activation tell of the size of the error.

use std::collections::BTreeMap;

use super::NORM_FOLDS;
use crate::check::check_all_finite;
use crate::sae_error::per_token::{per_target, side_by_side};
use crate::sae_error::split::ContextFolds;
use crate::{Error, Result};

/// Numbers of each token that may tell the size of its error; all in one order.
#[derive(Debug, Clone, Copy)]
pub struct NormBaselines<'a> {
    /// The context of each token.
    pub contexts: &'a [u32],
    /// `‖e‖²`, which is predicted.
    pub squared_error_norms: &'a [f64],
    /// The tokens themselves.
    pub tokens: &'a [u32],
    /// Loss of the model at each token.
    pub model_loss: &'a [f32],
    /// Active features.
    pub l0: &'a [u32],
    /// `‖x‖`.
    pub activation_norms: &'a [f64],
}

/// R² of `‖e‖²` from a number of each token, held out by context.
#[derive(Debug, Clone, PartialEq)]
pub struct NormBaseline {
    /// What predicts.
    pub name: String,
    /// R²; none if the norms do not vary.
    pub r_squared: Option<f64>,
}

impl NormBaselines<'_> {
    /// R² of `‖e‖²` from a line in each number, and from the mean of each token over other contexts.
    ///
    /// A token's mean is shrunk to that of all tokens by as much as its few occurrences ask for: with k
    /// the variance within tokens over that between them,
    ///
    /// ```text
    /// prediction = (Σ of the token + k · mean of all) / (count of the token + k)
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] unless all have a number for each token; [`Error::NonFinite`] for NaN;
    /// [`Error::Invalid`] for fewer than five contexts.
    pub fn measure(&self) -> Result<Vec<NormBaseline>> {
        self.check()?;
        let groups = ContextFolds::new(self.contexts, NORM_FOLDS, 0)?.groups(self.contexts)?;
        let y = self.squared_error_norms;
        let target = side_by_side(&[y])?;
        let loss: Vec<f64> = self.model_loss.iter().copied().map(f64::from).collect();
        let l0: Vec<f64> = self.l0.iter().copied().map(f64::from).collect();
        let squares: Vec<f64> = self.activation_norms.iter().map(|norm| norm * norm).collect();
        let lines: [(&str, &[f64]); 4] = [
            ("loss of the model", &loss),
            ("L0", &l0),
            ("‖x‖", self.activation_norms),
            ("‖x‖²", &squares),
        ];
        let mut found = Vec::with_capacity(lines.len() + 1);
        for (name, numbers) in lines {
            let r_squared = per_target(&[numbers], &target, &groups)?[0];
            found.push(NormBaseline { name: name.to_owned(), r_squared });
        }
        let r_squared = by_token(self.tokens, y, &groups);
        found.push(NormBaseline { name: "token".to_owned(), r_squared });
        Ok(found)
    }

    fn check(&self) -> Result<()> {
        let rows = self.contexts.len();
        for (name, len) in [
            ("`squared_error_norms`", self.squared_error_norms.len()),
            ("`tokens`", self.tokens.len()),
            ("`model_loss`", self.model_loss.len()),
            ("`l0`", self.l0.len()),
            ("`activation_norms`", self.activation_norms.len()),
        ] {
            if len != rows {
                let expected = format!("{rows} numbers, as there are contexts");
                return Err(Error::shape(name, expected, len));
            }
        }
        check_all_finite("`squared_error_norms`", self.squared_error_norms)?;
        check_all_finite("`model_loss`", self.model_loss)?;
        check_all_finite("`activation_norms`", self.activation_norms)
    }
}

/// Sums over the occurrences of tokens.
#[derive(Debug, Default)]
struct TokenMeans {
    /// Count and sum of each token.
    of_token: BTreeMap<u32, (f64, f64)>,
    count: f64,
    sum: f64,
    squares: f64,
}

impl TokenMeans {
    fn add(&mut self, token: u32, value: f64) {
        let own = self.of_token.entry(token).or_default();
        *own = (own.0 + 1.0, own.1 + value);
        self.count += 1.0;
        self.sum += value;
        self.squares += value * value;
    }

    fn mean(&self) -> f64 {
        self.sum / self.count
    }

    /// The variance within tokens over that between them, by the mean squares of a one-way analysis of
    /// variance; infinite if tokens do not differ.
    fn shrinkage(&self) -> f64 {
        let tokens = self.of_token.len() as f64;
        let between_squares: f64 = self.of_token.values().map(|(n, sum)| sum * sum / n).sum();
        let within = (self.squares - between_squares).max(0.0) / (self.count - tokens);
        let between = (between_squares - self.sum * self.mean()) / (tokens - 1.0);
        let sizes: f64 = self.of_token.values().map(|(n, _)| n * n).sum();
        let size = (self.count - sizes / self.count) / (tokens - 1.0);
        let variance = (between - within) / size;
        match variance > 0.0 {
            true => within / variance,
            // Also where every token occurs once, or there is one.
            false => f64::INFINITY,
        }
    }

    fn predict(&self, token: u32, shrinkage: f64) -> f64 {
        match self.of_token.get(&token) {
            Some((count, sum)) if shrinkage.is_finite() => {
                (sum + shrinkage * self.mean()) / (count + shrinkage)
            }
            _ => self.mean(),
        }
    }
}

/// R² of `y` from the mean of each token over the other folds.
fn by_token(tokens: &[u32], y: &[f64], groups: &[Vec<u32>]) -> Option<f64> {
    let mean = y.iter().sum::<f64>() / y.len() as f64;
    let total: f64 = y.iter().map(|y| (y - mean).powi(2)).sum();
    let mut left = 0.0;
    for (fold, judged) in groups.iter().enumerate() {
        let mut means = TokenMeans::default();
        let others = groups.iter().enumerate().filter(|(other, _)| *other != fold);
        // Less the mean, so that the squares keep their digits.
        others.flat_map(|(_, rows)| rows).for_each(|&row| {
            means.add(tokens[row as usize], y[row as usize] - mean);
        });
        let shrinkage = means.shrinkage();
        for &row in judged {
            let predicted = mean + means.predict(tokens[row as usize], shrinkage);
            left += (y[row as usize] - predicted).powi(2);
        }
    }
    (total > 0.0).then(|| 1.0 - left / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinkage_is_that_of_an_analysis_of_variance() {
        let mut means = TokenMeans::default();
        for (token, value) in [(0, 1.0), (0, 3.0), (1, 5.0), (1, 7.0), (2, 9.0), (2, 11.0)] {
            means.add(token, value);
        }
        // Within: 3 · 2 / 3 = 2. Between: 2 (16 + 0 + 16) / 2 = 32, of which (32 − 2)/2 = 15 are real.
        assert!((means.shrinkage() - 2.0 / 15.0).abs() < 1e-12);
        let k = 2.0 / 15.0;
        assert!((means.predict(0, k) - (4.0 + 6.0 * k) / (2.0 + k)).abs() < 1e-12);
        assert_eq!(means.predict(7, k), 6.0);
        let mut once = TokenMeans::default();
        (0..4).for_each(|token| once.add(token, f64::from(token)));
        assert_eq!((once.shrinkage(), once.predict(2, once.shrinkage())), (f64::INFINITY, 1.5));
    }

    #[test]
    fn a_line_and_a_token_are_recognised() {
        let rows = 120;
        let contexts: Vec<u32> = (0..rows).map(|row| row / 10).collect();
        let tokens: Vec<u32> = (0..rows).map(|row| row * 7 % 5).collect();
        let l0: Vec<u32> = (0..rows).map(|row| row * row % 11).collect();
        let y: Vec<f64> = tokens.iter().map(|token| f64::from(*token * *token) + 100.0).collect();
        let line: Vec<f64> = l0.iter().map(|l0| 3.0 * f64::from(*l0) + 1.0).collect();
        let loss = vec![2f32; rows as usize];
        let inputs = |y: &[f64]| -> Vec<Option<f64>> {
            let inputs = NormBaselines {
                contexts: &contexts,
                squared_error_norms: y,
                tokens: &tokens,
                model_loss: &loss,
                l0: &l0,
                activation_norms: &line,
            };
            inputs.measure().unwrap().into_iter().map(|own| own.r_squared).collect()
        };
        let [loss, l0, norm, square, token] = inputs(&line)[..] else { panic!("five") };
        assert!((l0.unwrap() - 1.0).abs() < 1e-9 && (norm.unwrap() - 1.0).abs() < 1e-9);
        assert!(square.unwrap() < 1.0 - 1e-3 && token.unwrap() < 0.5 && loss.unwrap() < 0.01);
        assert!((inputs(&y)[4].unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(inputs(&vec![4.0; rows as usize]), [None; 5]);
    }

    #[test]
    fn numbers_of_other_tokens_are_refused() {
        let inputs = NormBaselines {
            contexts: &[0, 1, 2, 3, 4],
            squared_error_norms: &[1.0; 5],
            tokens: &[0; 5],
            model_loss: &[0.0; 4],
            l0: &[1; 5],
            activation_norms: &[1.0; 5],
        };
        assert!(inputs.measure().unwrap_err().to_string().contains("`model_loss`"));
        let nan = NormBaselines { model_loss: &[f32::NAN; 5], ..inputs };
        assert!(nan.measure().unwrap_err().to_string().contains("`model_loss` holds NaN"));
    }
}
