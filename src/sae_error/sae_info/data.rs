//! What there is of an autoencoder on a sample of text.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use candle_core::Tensor;
use rayon::prelude::*;

use super::model::InfoModel;
use super::sample::{InfoTokens, TextSample};
use crate::check::check_sizes;
use crate::geometry::Interval;
use crate::model::HookPoint;
use crate::random::Rng;
use crate::sae::{Codes, Sae};
use crate::{Error, Result};

/// Resamplings of the contexts for an interval.
const DRAWS: usize = 200;
const CONFIDENCE: f64 = 0.95;
/// Variance below this share of the mean square is rounding.
const ROUNDING: f64 = 1e-12;

/// Where the activations at a hook point are.
#[derive(Debug)]
pub(super) enum KeptActivations {
    /// `[tokens, d]`, f32 on the CPU.
    Memory(Tensor),
    /// In a file for each unit.
    Files(Vec<PathBuf>),
    /// The model makes them again.
    Nothing,
}

/// What was found, from which all else follows.
#[derive(Debug, Clone)]
pub(super) struct InfoParts {
    pub(super) name: String,
    pub(super) sae: Sae,
    pub(super) point: HookPoint,
    pub(super) sample: TextSample,
    pub(super) tokens: Arc<InfoTokens>,
    /// `‖x‖²` of each token.
    pub(super) squares: Arc<Vec<f64>>,
    /// Σx of each context of the text, `[contexts, d]`.
    pub(super) sums: Arc<Vec<f64>>,
    /// `‖x − x̂‖²` of each token.
    pub(super) squared_errors: Vec<f64>,
    pub(super) codes: Codes,
    pub(super) activations: Arc<KeptActivations>,
    pub(super) model: Arc<InfoModel>,
    pub(super) folds: usize,
    pub(super) seed: u64,
}

/// [`InfoParts`] with the columns that follow from them.
#[derive(Debug)]
pub(super) struct InfoData {
    pub(super) parts: InfoParts,
    pub(super) l0: Vec<u32>,
    pub(super) error_norms: Vec<f64>,
    pub(super) activation_norms: Vec<f64>,
    pub(super) code_norms: Vec<f64>,
    fvu: OnceLock<Interval>,
}

impl InfoData {
    /// Takes the parts, if they are of one sample.
    ///
    /// # Errors
    /// [`Error::Shape`] for columns of different lengths.
    pub(super) fn new(parts: InfoParts) -> Result<Self> {
        let InfoParts { tokens, squares, squared_errors, codes, .. } = &parts;
        let rows = tokens.tokens.len();
        for (what, found) in [
            ("the losses", tokens.losses.len()),
            ("the squared norms", squares.len()),
            ("the squared errors", squared_errors.len()),
            ("the codes", codes.rows()),
        ] {
            if found != rows {
                return Err(Error::shape(what, format!("{rows}, one a token"), found));
            }
        }
        let active = |row: usize| codes.row(row).filter(|(_, value)| *value != 0.0);
        let square =
            |row: usize| active(row).map(|(_, value)| f64::from(value).powi(2)).sum::<f64>();
        let roots = |squares: &[f64]| squares.iter().map(|square| square.sqrt()).collect();
        Ok(Self {
            l0: (0..rows).map(|row| active(row).count() as u32).collect(),
            error_norms: roots(squared_errors),
            activation_norms: roots(squares),
            code_norms: (0..rows).map(|row| square(row).sqrt()).collect(),
            fvu: OnceLock::new(),
            parts,
        })
    }

    /// The codes of some tokens.
    ///
    /// # Errors
    /// None for tokens that there are.
    pub(super) fn codes_of(&self, rows: Range<usize>) -> Result<Codes> {
        let codes = &self.parts.codes;
        Codes::new(codes.width(), rows.map(|row| codes.row(row).collect()))
    }

    /// `Σ‖x − x̂‖² / Σ‖x − x̄‖²`, with the interval of a bootstrap over contexts, in each draw of which x̄
    /// is the mean of the contexts that were drawn. The ends are NaN for a single context.
    pub(super) fn fvu(&self) -> Interval {
        *self.fvu.get_or_init(|| self.bootstrapped_fvu())
    }

    fn bootstrapped_fvu(&self) -> Interval {
        let contexts = self.context_sums();
        let draws = if contexts.len() < 2 { 0 } else { DRAWS };
        let draws = resampled(&contexts, draws, self.parts.seed);
        let mean = unexplained(&contexts, &vec![1.0; contexts.len()]);
        let unknown = Interval { mean, lower: f64::NAN, upper: f64::NAN, confidence: CONFIDENCE };
        Interval::of_draws(mean, draws, CONFIDENCE).unwrap_or(unknown)
    }

    /// [`InfoData::fvu`] in each draw.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no draws or fewer than two contexts.
    pub(super) fn fvu_draws(&self, draws: usize, seed: u64) -> Result<Vec<f64>> {
        check_sizes(&[("`draws`", draws)])?;
        let contexts = self.context_sums();
        if contexts.len() < 2 {
            let expected = "at least 2, for one has no spread";
            return Err(Error::invalid("the number of contexts", expected, contexts.len()));
        }
        Ok(resampled(&contexts, draws, seed))
    }

    /// The sums of each context that has tokens.
    fn context_sums(&self) -> Vec<ContextSums<'_>> {
        let InfoParts { tokens, squares, squared_errors, sums, sample, .. } = &self.parts;
        let width = sums.len() / sample.contexts.len();
        let mut found: Vec<ContextSums<'_>> = Vec::new();
        let mut last = None;
        for (row, &context) in tokens.contexts.iter().enumerate() {
            if last != Some(context) {
                let sum = &sums[context as usize * width..][..width];
                found.push(ContextSums { tokens: 0.0, errors: 0.0, squares: 0.0, sum });
                last = Some(context);
            }
            if let Some(own) = found.last_mut() {
                own.tokens += 1.0;
                own.errors += squared_errors[row];
                own.squares += squares[row];
            }
        }
        found
    }
}

/// Sums over the tokens of a context.
struct ContextSums<'a> {
    tokens: f64,
    /// `Σ‖x − x̂‖²`.
    errors: f64,
    /// `Σ‖x‖²`.
    squares: f64,
    /// Σx.
    sum: &'a [f64],
}

/// [`unexplained`] of as many contexts, drawn with replacement, in each draw.
fn resampled(contexts: &[ContextSums<'_>], draws: usize, seed: u64) -> Vec<f64> {
    let mut rng = Rng::seed(seed);
    let mut draw = || {
        let mut weights = vec![0.0; contexts.len()];
        (0..contexts.len()).for_each(|_| weights[rng.below(contexts.len())] += 1.0);
        weights
    };
    let (mut found, together) = (Vec::with_capacity(draws), rayon::current_num_threads());
    while found.len() < draws {
        // Drawn one after another, so that they do not depend on the number of threads.
        let count = together.min(draws - found.len());
        let weights: Vec<Vec<f64>> = (0..count).map(|_| draw()).collect();
        found.par_extend(weights.par_iter().map(|weights| unexplained(contexts, weights)));
    }
    found
}

/// The share of the variance that is error, of contexts that count `weights` times; NaN if nothing
/// varies.
fn unexplained(contexts: &[ContextSums<'_>], weights: &[f64]) -> f64 {
    let [mut tokens, mut errors, mut squares] = [0.0; 3];
    let mut sum = vec![0.0; contexts.first().map_or(0, |own| own.sum.len())];
    for (own, &weight) in contexts.iter().zip(weights).filter(|(_, weight)| **weight > 0.0) {
        tokens += weight * own.tokens;
        errors += weight * own.errors;
        squares += weight * own.squares;
        sum.iter_mut().zip(own.sum).for_each(|(sum, x)| *sum += weight * x);
    }
    let variance = squares - sum.iter().map(|x| x * x).sum::<f64>() / tokens;
    if variance > ROUNDING * squares { errors / variance } else { f64::NAN }
}
