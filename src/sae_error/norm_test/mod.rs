//! Whether the size of the error can be read off the activation.

mod baselines;
#[cfg(test)]
mod tests;

use std::fmt;

use candle_core::Tensor;

pub use self::baselines::{NormBaseline, NormBaselines};

use super::explained::Explained;
use super::moments::{CentredSums, CrossFit, Moments};
use super::parts::{BlockParts, row_squares};
use super::per_token::side_by_side;
use super::split::{ContextFolds, rows_at};
use crate::check::check_sizes;
use crate::display::{ShownColumn, ShownTable};
use crate::progress::Progress;
use crate::{Error, Result};

/// Parts of the contexts, each judged by a map of the others.
pub(super) const NORM_FOLDS: usize = 5;

/// The standard deviation of a squared norm as a share of its mean, up to which it counts as constant:
/// what a normalisation before the autoencoder leaves of it is rounding and the constant in its root.
const CONSTANT_NORM: f64 = 1e-4;

/// Whose squared norm is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NormTarget {
    /// The activation x itself.
    X,
    /// The reconstruction x̂.
    Reconstruction,
    /// The error e.
    Error,
    /// The linear part of the error.
    Linear,
    /// The nonlinear part of the error.
    Nonlinear,
    /// `x̂ + nonlinear`, which is x without the linear part.
    ReconstructionAndNonlinear,
}

impl NormTarget {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::X,
        Self::Reconstruction,
        Self::Error,
        Self::Linear,
        Self::Nonlinear,
        Self::ReconstructionAndNonlinear,
    ];
}

impl fmt::Display for NormTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X => "x",
            Self::Reconstruction => "x̂",
            Self::Error => "e",
            Self::Linear => "linear part",
            Self::Nonlinear => "nonlinear part",
            Self::ReconstructionAndNonlinear => "x̂ + nonlinear part",
        })
    }
}

/// R² of a squared norm from x.
#[derive(Debug, Clone, PartialEq)]
pub struct NormTestRow {
    /// The autoencoder.
    pub name: String,
    /// Whose norm.
    pub target: NormTarget,
    /// R² of `‖z‖²` from `[x, 1]`; none if the norm does not vary, as that of an activation behind a
    /// normalisation.
    pub with_intercept: Option<f64>,
    /// R² of `‖z‖²` from x alone.
    pub without: Option<f64>,
    /// R² of the study's formula: `‖z‖² + 1` from x alone. Its ones were appended to the target in place
    /// of the inputs. For x itself it has no ones.
    pub published: Option<f64>,
}

/// How well the squared norms of errors, and of what they are made of, are predicted by a linear map of
/// the activation. All R² are held out by context. After Engels et al. (2024).
///
/// A norm may be predictable because x contains it: the rows of x and x̂ tell what to compare with, and
/// [`NormTest::with_baselines`] what simpler numbers do.
#[derive(Debug, Clone)]
pub struct NormTest {
    /// A row for each autoencoder and target, in the order of [`NormTarget::ALL`].
    pub rows: Vec<NormTestRow>,
    /// What simpler numbers than the activation tell of `‖e‖²`; empty if they were not asked for.
    pub baselines: Vec<NormBaseline>,
}

impl NormTest {
    /// Of several errors by name. Goes through the rows of each once more.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no autoencoders, fewer than five contexts, or too few rows; what reading
    /// the rows fails with; [`Error::Interrupted`] when Stop is pressed.
    pub fn of(explained: &[(&str, &Explained)]) -> Result<Self> {
        check_sizes(&[("the number of autoencoders", explained.len())])?;
        let total: usize = explained.iter().map(|(_, own)| own.rows().rows()).sum();
        let mut progress = Progress::new("the norm test", total as u64, "row");
        let mut rows = Vec::with_capacity(explained.len() * NormTarget::ALL.len());
        for (name, own) in explained {
            rows.extend(of_one(name, own, &mut progress)?);
        }
        Ok(Self { rows, baselines: Vec::new() })
    }

    /// The same with R² of `‖e‖²` from numbers that are simpler than the activation.
    ///
    /// # Errors
    /// As [`NormBaselines::measure`].
    pub fn with_baselines(self, inputs: &NormBaselines<'_>) -> Result<Self> {
        Ok(Self { baselines: inputs.measure()?, ..self })
    }

    /// The row of an autoencoder and a target.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an autoencoder that was not among them.
    pub fn get(&self, name: &str, target: NormTarget) -> Result<&NormTestRow> {
        let found = self.rows.iter().find(|row| row.name == name && row.target == target);
        found.ok_or_else(|| Error::NotFound {
            what: format!("the autoencoder `{name}`"),
            hint: "It is not in the table.".to_owned(),
        })
    }
}

fn of_one(name: &str, explained: &Explained, progress: &mut Progress) -> Result<Vec<NormTestRow>> {
    const TARGETS: usize = NormTarget::ALL.len();
    let rows = explained.rows();
    let contexts = rows.contexts();
    let folds = ContextFolds::new(contexts, NORM_FOLDS, 0)?;
    // Squared norms, and the same plus one.
    let mut moments = Moments::new(rows.width(), 2 * TARGETS, NORM_FOLDS)?;
    rows.for_each_block(&mut |block| {
        let contexts = &contexts[block.range()?];
        let targets = targets(&explained.cross_maps().parts(&block, contexts)?)?;
        let targets = Tensor::cat(&[&targets, &(&targets + 1.0)?], 1)?;
        for (fold, group) in folds.groups(contexts)?.iter().enumerate() {
            if !group.is_empty() {
                let x = rows_at(&block.activations, group)?;
                moments.add(fold, &x, &rows_at(&targets, group)?)?;
            }
        }
        match progress.advance(contexts.len() as u64) {
            true => Err(Error::Interrupted { what: "the norm test".to_owned() }),
            false => Ok(()),
        }
    })?;
    let all: Vec<usize> = (0..NORM_FOLDS).collect();
    let varies = varies(&moments.centred(&all)?);
    let with = CrossFit::new(&moments, true)?.per_target();
    let without = CrossFit::new(&moments, false)?.per_target();
    let row = |(i, target): (usize, NormTarget)| NormTestRow {
        name: name.to_owned(),
        target,
        with_intercept: with[i].filter(|_| varies[i]),
        without: without[i].filter(|_| varies[i]),
        published: match target {
            NormTarget::X => without[i],
            _ => without[TARGETS + i],
        }
        .filter(|_| varies[i]),
    };
    Ok(NormTarget::ALL.into_iter().enumerate().map(row).collect())
}

/// Squared norms in the order of [`NormTarget::ALL`], `[n, 6]`.
fn targets(parts: &BlockParts) -> Result<Tensor> {
    let x = &parts.activations;
    let reconstructions = (x - &parts.errors)?;
    let both = (&reconstructions + &parts.nonlinear)?;
    let squares = [x, &reconstructions, &parts.errors, &parts.linear, &parts.nonlinear, &both]
        .map(row_squares)
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let columns: Vec<&[f64]> = squares.iter().map(Vec::as_slice).collect();
    Ok(side_by_side(&columns)?.to_device(x.device())?)
}

/// Whether each squared norm varies by more than rounding.
fn varies(sums: &CentredSums) -> Vec<bool> {
    let n = sums.rows() as f64;
    let spreads = sums.totals().iter().zip(sums.target_means());
    spreads.map(|(total, mean)| (total / n).sqrt() > CONSTANT_NORM * mean).collect()
}

impl NormTest {
    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn shown(&self) -> ShownTable {
        let columns = [
            ShownColumn::left("autoencoder"),
            ShownColumn::left("squared norm of"),
            ShownColumn::right("from [x, 1]"),
            ShownColumn::right("from x"),
            ShownColumn::right("published"),
        ];
        let mut shown =
            ShownTable::new(columns).caption("R² of squared norms, held out by context");
        let number = |r: Option<f64>| r.map_or("constant".to_owned(), |r| format!("{r:.4}"));
        for row in &self.rows {
            shown.push([
                row.name.clone(),
                row.target.to_string(),
                number(row.with_intercept),
                number(row.without),
                number(row.published),
            ]);
        }
        for row in &self.baselines {
            let cells = [row.name.clone(), "e".to_owned(), number(row.r_squared)];
            shown.push(cells.into_iter().chain([String::new(), String::new()]));
        }
        shown
    }
}

impl fmt::Display for NormTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R² of squared norms, held out by context\n{}", self.shown().text())
    }
}
