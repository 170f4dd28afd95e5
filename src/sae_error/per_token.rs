//! Whether the same tokens are hard for several autoencoders.

use std::fmt;

use candle_core::{Device, Tensor};

use super::moments::{CrossFit, Moments};
use super::parts::ErrorParts;
use super::split::{ContextFolds, rows_at};
use crate::check::{check_all_finite, check_sizes};
use crate::display::{ShownColumn, ShownTable};
use crate::progress::safe_point;
use crate::{Error, Result};

/// Parts of the contexts, each judged by a line that was fitted on the others.
const FOLDS: usize = 5;

/// Error norms of the same tokens under several autoencoders, and how well one predicts another.
///
/// ```text
/// R²[i][j]:   ‖eⱼ‖ from [‖eᵢ‖, 1]      gain[i][j] = (R²′ − R²)/(1 − R²)
/// ```
///
/// where R²′ has the norm of the nonlinear part of eᵢ as a second input: which share of what is left it
/// explains. Both are held out by context, with the five folds of seed 0. After Engels et al. (2024).
///
/// ```
/// use std::sync::Arc;
/// use eigenlens::prelude::*;
/// use eigenlens::sae_error::{ExplainOptions, Explained, PerToken, TensorRows};
/// # fn main() -> Result<()> {
/// let x = Rng::seed(0).normal((400, 3), &Device::Cpu)?;
/// let contexts: Vec<u32> = (0..400).map(|row| row / 20).collect();
/// let noise = Rng::seed(1).normal((400, 3), &Device::Cpu)?;
/// let parts = |scale: f64| -> Result<_> {
///     let rows = TensorRows::new(x.clone(), (&x + (&noise * scale)?)?, contexts.clone())?;
///     Explained::of(Arc::new(rows), &ExplainOptions::default())?.parts()
/// };
/// let (small, large) = (parts(0.2)?, parts(0.1)?);
/// let found = PerToken::of(&[("small", &small), ("large", &large)], &contexts)?;
/// assert!(found.r_squared[0][1].is_some_and(|r| r > 0.99)); // twice the same error
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct PerToken {
    /// Names of the autoencoders.
    pub names: Vec<String>,
    /// R² of the norm of error j (column) from that of error i (row); none on the diagonal, and where
    /// norms do not vary.
    pub r_squared: Vec<Vec<Option<f64>>>,
    /// What the nonlinear norm of i adds, as a share of what its total norm leaves; none where there is
    /// no R², or nothing is left.
    pub gain: Vec<Vec<Option<f64>>>,
    /// `‖e‖` of each token, per autoencoder.
    pub total: Vec<Vec<f64>>,
    /// Norm of the linear part of each token, per autoencoder.
    pub linear: Vec<Vec<f64>>,
    /// Norm of the nonlinear part of each token, per autoencoder.
    pub nonlinear: Vec<Vec<f64>>,
    /// The context of each token.
    pub contexts: Vec<u32>,
}

impl PerToken {
    /// Of the parts of several errors by name, all of the same tokens, whose contexts are given.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no autoencoders or fewer than five contexts; [`Error::Shape`] for another
    /// number of tokens; [`Error::NonFinite`] for NaN; [`Error::Interrupted`] when Stop is pressed.
    pub fn of(parts: &[(&str, &ErrorParts)], contexts: &[u32]) -> Result<Self> {
        check_sizes(&[("the number of autoencoders", parts.len())])?;
        for (name, own) in parts {
            if [&own.total, &own.linear, &own.nonlinear]
                .iter()
                .any(|own| own.len() != contexts.len())
            {
                let expected = format!("{} tokens, as there are contexts", contexts.len());
                return Err(Error::shape(format!("the parts of `{name}`"), expected, own.len()));
            }
            check_all_finite(&format!("the norms of `{name}`"), &own.total)?;
        }
        let groups = ContextFolds::new(contexts, FOLDS, 0)?.groups(contexts)?;
        let columns: Vec<&[f64]> = parts.iter().map(|(_, own)| own.total.as_slice()).collect();
        let targets = side_by_side(&columns)?;
        let mut r_squared = Vec::with_capacity(parts.len());
        let mut gain = Vec::with_capacity(parts.len());
        for (i, (_, own)) in parts.iter().enumerate() {
            safe_point("the comparison of tokens")?;
            let alone = per_target(&[&own.total], &targets, &groups)?;
            let both = per_target(&[&own.total, &own.nonlinear], &targets, &groups)?;
            let off_diagonal = |j: usize, value: Option<f64>| value.filter(|_| j != i);
            let gains = alone.iter().zip(&both).map(|(alone, both)| {
                let (alone, both) = ((*alone)?, (*both)?);
                (alone < 1.0).then(|| (both - alone) / (1.0 - alone))
            });
            gain.push(gains.enumerate().map(|(j, gain)| off_diagonal(j, gain)).collect());
            r_squared
                .push(alone.into_iter().enumerate().map(|(j, r)| off_diagonal(j, r)).collect());
        }
        let each = |of: fn(&ErrorParts) -> &Vec<f64>| {
            parts.iter().map(|(_, own)| of(own).clone()).collect()
        };
        Ok(Self {
            names: parts.iter().map(|(name, _)| (*name).to_owned()).collect(),
            r_squared,
            gain,
            total: each(|own| &own.total),
            linear: each(|own| &own.linear),
            nonlinear: each(|own| &own.nonlinear),
            contexts: contexts.to_vec(),
        })
    }
}

/// Columns `[n, columns]`, f64.
pub(super) fn side_by_side(columns: &[&[f64]]) -> Result<Tensor> {
    let rows = columns.first().map_or(0, |column| column.len());
    let values: Vec<f64> =
        (0..rows).flat_map(|row| columns.iter().map(move |column| column[row])).collect();
    Ok(Tensor::from_vec(values, (rows, columns.len()), &Device::Cpu)?)
}

/// R² of each target from some columns and an intercept, held out by fold; none if it does not vary.
pub(super) fn per_target(
    columns: &[&[f64]],
    targets: &Tensor,
    groups: &[Vec<u32>],
) -> Result<Vec<Option<f64>>> {
    let inputs = side_by_side(columns)?;
    let mut moments = Moments::new(columns.len(), targets.dims()[1], groups.len())?;
    for (fold, rows) in groups.iter().enumerate() {
        moments.add(fold, &rows_at(&inputs, rows)?, &rows_at(targets, rows)?)?;
    }
    Ok(CrossFit::new(&moments, true)?.per_target())
}

impl PerToken {
    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn caption(&self) -> String {
        let (saes, tokens) = (self.names.len(), self.contexts.len());
        format!(
            "R² of error norms of {saes} autoencoders from each other (+ gain), {tokens} tokens"
        )
    }

    fn shown(&self) -> ShownTable {
        let names = self.names.iter().map(ShownColumn::right);
        let first = ShownColumn::left("from \\ of").naming_rows();
        let mut shown = ShownTable::new([first].into_iter().chain(names)).caption(self.caption());
        for (i, name) in self.names.iter().enumerate() {
            let cells =
                self.r_squared[i].iter().zip(&self.gain[i]).map(|(r_squared, gain)| {
                    match (r_squared, gain) {
                        (Some(r), Some(gain)) => format!("{r:.3} ({:+.1} %)", 100.0 * gain),
                        (Some(r), None) => format!("{r:.3}"),
                        (None, _) => String::new(),
                    }
                });
            shown.push([name.clone()].into_iter().chain(cells));
        }
        shown
    }
}

impl fmt::Display for PerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.caption(), self.shown().text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;
    use crate::sae_error::parts::tests::of_norms;
    use crate::sae_error::split::Split;

    const ROWS: usize = 200;

    fn positive(seed: u64) -> Vec<f64> {
        let values = Rng::seed(seed).uniform(0.5, 2.0, ROWS, &Device::Cpu).unwrap();
        values.to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
    }

    fn contexts() -> Vec<u32> {
        (0..ROWS as u32).map(|row| row / 10).collect()
    }

    fn parts(seed: u64, total: impl Fn(f64, f64) -> f64) -> ErrorParts {
        let (own, other) = (positive(0), positive(seed));
        let total = own.iter().zip(&other).map(|(own, other)| total(*own, *other)).collect();
        of_norms(total, own, other)
    }

    #[test]
    fn a_norm_that_follows_another_has_a_gain_of_one() {
        // The second total is a line in the first total and the first nonlinear norm.
        let (first, second) =
            (parts(1, |own, _| own), parts(1, |own, other| 2.0 * own + other + 1.0));
        let found = PerToken::of(&[("a", &first), ("b", &second)], &contexts()).unwrap();
        assert!((found.gain[0][1].unwrap() - 1.0).abs() < 1e-9, "{found}");
        assert_eq!((found.r_squared[0][0], found.gain[1][1]), (None, None));
        let x = side_by_side(&[&first.total]).unwrap();
        let y = side_by_side(&[&second.total]).unwrap();
        let (_, score) = Split::Folds(5).regress(&x, &y, &contexts(), true, 0).unwrap();
        assert!((found.r_squared[0][1].unwrap() - score.r_squared).abs() < 1e-12);
        // Of variances 4 and 1 the first is told.
        assert!((score.r_squared - 0.8).abs() < 0.1);
        let text = found.to_string();
        assert!(text.contains("2 autoencoders") && text.contains("(+100.0 %)"), "{text}");
        assert_eq!(
            (found.total.len(), &found.nonlinear[0], found.names[1].as_str()),
            (2, &positive(1), "b")
        );
    }

    #[test]
    fn norms_that_do_not_vary_have_no_r_squared() {
        let (first, constant) = (parts(1, |own, _| own), parts(1, |_, _| 3.0));
        let found = PerToken::of(&[("a", &first), ("b", &constant)], &contexts()).unwrap();
        assert_eq!((found.r_squared[0][1], found.gain[0][1]), (None, None));
        // A constant tells nothing of another.
        assert!(found.r_squared[1][0].is_some_and(|r| r < 0.01), "{found}");
    }

    #[test]
    fn errors_of_other_tokens_are_refused() {
        let own = parts(1, |own, _| own);
        let text = |parts: &[(&str, &ErrorParts)], contexts: &[u32]| {
            PerToken::of(parts, contexts).unwrap_err().to_string()
        };
        assert!(text(&[], &contexts()).contains("autoencoders"));
        assert!(text(&[("a", &own)], &contexts()[1..]).contains("the parts of `a`"));
        assert!(text(&[("a", &own)], &[0; ROWS]).contains("the number of contexts"));
        let nan = parts(1, |own, _| own / 0.0);
        assert!(text(&[("a", &nan)], &contexts()).contains("the norms of `a`"));
    }
}
