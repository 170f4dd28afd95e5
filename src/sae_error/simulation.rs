//! Known amounts of noise, and in which part of the error they are found.

mod closed_form;
mod measured;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;

use candle_core::{DType, Tensor};

use self::closed_form::ClosedForm;
use self::measured::{measured, missing_part};
use self::source::{Reconstructed, fold_rows};
use super::moments::Moments;
use super::sae_info::SaeInfo;
use crate::check::{check_all_finite, check_finite, check_fraction, check_positive, check_sizes};
use crate::display::{ShownColumn, ShownTable};
use crate::progress::Progress;
use crate::random::Rng;
use crate::{Error, Result};

/// Units of noise in the standard deviation of an entry of x, where no unit is given: the largest
/// noise of the grid is then as large as the activations.
const UNITS_PER_DEVIATION: f64 = 4.0;

/// What [`NoiseSimulation`] simulates.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulationOptions {
    /// Pairs of noises for which features are taken away, (σa, σr) in units; (1, 0.6) and (0.6, 1).
    pub lines: Vec<(f64, f64)>,
    /// Shares of the features that are taken away, those of the least mean activation first; 0 to 0.5.
    pub ablated: Vec<f64>,
    /// Noises of which all pairs are simulated with all features there, in units; 0 to 4.
    pub grid: Vec<f64>,
    /// What a unit of noise is in x. None, the default, is a quarter of the standard deviation of an
    /// entry of x, so that the same noises mean the same in every model; the study has `Some(1.0)`.
    pub unit: Option<f64>,
    /// Rows that are taken, the first ones; 50,000.
    pub rows: usize,
    /// Folds of contexts, each judged by a linear map that was fitted on the others; 5.
    pub folds: usize,
    /// Seed of the noise; 0.
    pub seed: u64,
}

impl Default for SimulationOptions {
    fn default() -> Self {
        Self {
            lines: vec![(1.0, 0.6), (0.6, 1.0)],
            ablated: vec![0.0, 0.1, 0.2, 0.3, 0.4, 0.5],
            grid: vec![0.0, 1.0, 2.0, 3.0, 4.0],
            unit: None,
            rows: 50_000,
            folds: 5,
            seed: 0,
        }
    }
}

impl SimulationOptions {
    fn check(&self) -> Result<()> {
        check_sizes(&[("`rows`", self.rows)])?;
        if self.folds < 2 {
            let expected = "at least 2: what is judged is never what was fitted on";
            return Err(Error::invalid("`folds`", expected, self.folds));
        }
        self.ablated.iter().try_for_each(|share| check_fraction("`ablated`", *share))?;
        let noises = self.lines.iter().flat_map(|(a, r)| [*a, *r]).chain(self.grid.iter().copied());
        let noises: Vec<f64> = noises.collect();
        check_all_finite("the noises", &noises)?;
        if let Some(noise) = noises.iter().find(|noise| **noise < 0.0) {
            return Err(Error::invalid("the noises", "not negative", noise));
        }
        self.unit.map_or(Ok(()), |unit| check_positive("`unit`", unit))
    }

    /// Each setting once, (σa, σr, share taken away): the lines, then the grid.
    fn settings(&self) -> Vec<[f64; 3]> {
        let mut settings: Vec<[f64; 3]> = Vec::new();
        let lines = self.lines.iter();
        let lines = lines.flat_map(|(a, r)| self.ablated.iter().map(|share| [*a, *r, *share]));
        let grid = self.grid.iter().flat_map(|a| self.grid.iter().map(|r| [*a, *r, 0.0]));
        for setting in lines.chain(grid) {
            if !settings.contains(&setting) {
                settings.push(setting);
            }
        }
        settings
    }
}

/// What is found for known noises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseCell {
    /// σa, the standard deviation of the noise that is added to activations, in units.
    pub activation_noise: f64,
    /// σr, that of the noise that is added to reconstructions.
    pub reconstruction_noise: f64,
    /// The share of the features that were taken away.
    pub ablated: f64,
    /// `Σ‖e‖²/Σ‖x′ − x̄′‖²`.
    pub total: f64,
    /// What the linear prediction of e from x′ takes away of it, held out.
    pub linear: f64,
    /// The rest.
    pub nonlinear: f64,
    /// `total` in closed form.
    pub closed_total: f64,
    /// `linear` in closed form.
    pub closed_linear: f64,
    /// `nonlinear` in closed form.
    pub closed_nonlinear: f64,
}

/// In which part of the error noises of known size are found.
///
/// Activations are replaced by what an autoencoder makes of them, so that it has no error. Then some
/// of its features are taken away, and noise is added to activations and to reconstructions:
///
/// ```text
/// x′ = x + σa ε      r = decode(features that are left) + σr ε′      e = x′ − r ≈ x′A + b
/// ```
///
/// The study reads the linear part of an error as features that are absent and noise of activations,
/// and the nonlinear part as noise of reconstructions. With all features there, and λᵢ the eigenvalues
/// of the covariance of x, the parts have a closed form:
///
/// ```text
/// total = d(σa² + σr²)/T    nonlinear = [d σr² + Σ σa² λᵢ/(λᵢ + σa²)]/T    T = Σ λᵢ + d σa²
/// ```
///
/// So noise of activations counts as linear only in directions where σa² is not small beside λᵢ, and
/// as nonlinear elsewhere. After Engels et al. (2024), Figure 15 and Table 1.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSimulation {
    /// Lines, then the grid.
    pub cells: Vec<NoiseCell>,
    /// Correlations over the cells in which no feature is taken away and whose noises are of the grid:
    /// rows are σa and σr, columns the linear and the nonlinear part. NaN where one of them does not
    /// vary.
    pub correlations: [[f64; 2]; 2],
    /// What a unit of noise is in x.
    pub unit: f64,
    /// Rows that were simulated.
    pub rows: usize,
}

impl NoiseSimulation {
    /// With the activations and the autoencoder of `info`.
    ///
    /// # Errors
    /// - [`Error::Invalid`] for options that cannot be, or activations that do not vary.
    /// - As [`Moments::cross_fitted`], for too few rows.
    /// - [`Error::Interrupted`] when Stop is pressed.
    pub fn run(info: &SaeInfo, options: &SimulationOptions) -> Result<Self> {
        options.check()?;
        let source = Reconstructed::of(info, options.rows)?;
        let contexts = &info.context_of()[..source.x.dim(0)?];
        simulate(&source.x, contexts, options, |share| source.without(share))
    }

    /// With activations `x` `[rows, d]` that an autoencoder reconstructs as they are, of which the
    /// context of each row is given. No feature can be taken away.
    ///
    /// # Errors
    /// As [`NoiseSimulation::run`]; [`Error::Shape`] unless `x` is a matrix with a context a row.
    pub fn of_activations(
        x: &Tensor,
        contexts: &[u32],
        options: &SimulationOptions,
    ) -> Result<Self> {
        options.check()?;
        if x.rank() != 2 || x.dim(0)? != contexts.len() || contexts.is_empty() {
            let expected = format!("[{}, d], a row a context", contexts.len());
            return Err(Error::shape("the activations", expected, x.dims()));
        }
        check_finite("the activations", x)?;
        let rows = options.rows.min(contexts.len());
        let x = x.narrow(0, 0, rows)?.to_dtype(DType::F32)?;
        let options = SimulationOptions { ablated: vec![0.0], ..options.clone() };
        simulate(&x, &contexts[..rows], &options, |_| Ok(x.clone()))
    }

    /// The cell of some noises and a share of features taken away.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it was not simulated.
    pub fn get(&self, activation: f64, reconstruction: f64, ablated: f64) -> Result<&NoiseCell> {
        let wanted = [activation, reconstruction, ablated];
        let own = |cell: &&NoiseCell| setting(cell) == wanted;
        self.cells.iter().find(own).ok_or_else(|| Error::NotFound {
            what: format!(
                "the cell of noises {activation}, {reconstruction} and {ablated} ablated"
            ),
            hint: "It was not among the options.".to_owned(),
        })
    }

    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn shown(&self) -> ShownTable {
        let columns = ["σa", "σr", "ablated", "FVU", "linear", "nonlinear"].map(ShownColumn::right);
        let closed = ["closed FVU", "linear", "nonlinear"].map(ShownColumn::right);
        let columns = columns.into_iter().chain(closed);
        let mut shown = ShownTable::new(columns).caption(self.heading()).note(self.note());
        for cell in &self.cells {
            let shares = [
                cell.total,
                cell.linear,
                cell.nonlinear,
                cell.closed_total,
                cell.closed_linear,
                cell.closed_nonlinear,
            ];
            let [a, r, ablated] = setting(cell);
            let first = [a.to_string(), r.to_string(), format!("{:.0} %", 100.0 * ablated)];
            shown.push(first.into_iter().chain(shares.map(|share| format!("{share:.4}"))));
        }
        shown
    }

    fn heading(&self) -> String {
        format!("Noise in units of {:.4}, {} rows", self.unit, self.rows)
    }

    fn note(&self) -> String {
        let [[al, an], [rl, rn]] = self.correlations;
        format!(
            "Correlations over the grid: σa with linear {al:.3}, nonlinear {an:.3}; σr with linear \
             {rl:.3}, nonlinear {rn:.3}"
        )
    }
}

impl fmt::Display for NoiseSimulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}", self.heading(), self.shown().text(), self.note())
    }
}

fn setting(cell: &NoiseCell) -> [f64; 3] {
    [cell.activation_noise, cell.reconstruction_noise, cell.ablated]
}

/// All cells of the options; `without` reconstructs x with a share of the features taken away.
fn simulate(
    x: &Tensor,
    contexts: &[u32],
    options: &SimulationOptions,
    without: impl Fn(f64) -> Result<Tensor>,
) -> Result<NoiseSimulation> {
    let folds = fold_rows(contexts, options.folds);
    let width = x.dim(1)?;
    let mut inputs = Moments::of_inputs(width);
    inputs.add_inputs(x)?;
    let covariance = inputs.covariance()?;
    let whole = ClosedForm::new(&covariance, None)?;
    let deviation = (whole.variance() / width as f64).sqrt();
    if deviation == 0.0 {
        return Err(Error::invalid("the activations", "different for some rows", "constant"));
    }
    let unit = options.unit.unwrap_or(deviation / UNITS_PER_DEVIATION);
    let settings = options.settings();
    let mut progress = Progress::new("noise simulation", settings.len() as u64, "setting");
    let mut cells = vec![None; settings.len()];
    let mut shares: Vec<f64> = settings.iter().map(|[.., share]| *share).collect();
    shares.sort_by(f64::total_cmp);
    shares.dedup();
    for share in shares {
        let r = if share == 0.0 { x.clone() } else { without(share)? };
        let missing = (share > 0.0).then(|| missing_part(x, &r)).transpose()?;
        let form =
            missing.as_ref().map(|(map, power)| ClosedForm::new(&covariance, Some((map, *power))));
        let form = form.transpose()?;
        let form = form.as_ref().unwrap_or(&whole);
        for (i, [activation, reconstruction, own]) in settings.iter().copied().enumerate() {
            if own != share {
                continue;
            }
            let noise = [activation * unit, reconstruction * unit];
            let mut rng = Rng::stream(options.seed, i as u64);
            let [total, nonlinear] = measured([x, &r], &folds, noise, &mut rng)?;
            let [closed_total, closed_linear, closed_nonlinear] =
                form.unexplained(noise[0], noise[1]);
            cells[i] = Some(NoiseCell {
                activation_noise: activation,
                reconstruction_noise: reconstruction,
                ablated: share,
                total,
                linear: total - nonlinear,
                nonlinear,
                closed_total,
                closed_linear,
                closed_nonlinear,
            });
            if progress.advance(1) {
                return Err(Error::Interrupted { what: "the noise simulation".to_owned() });
            }
        }
    }
    let cells: Vec<NoiseCell> = cells.into_iter().flatten().collect();
    Ok(NoiseSimulation {
        correlations: correlations(&cells, options),
        cells,
        unit,
        rows: x.dim(0)?,
    })
}

/// Pearson's correlations of each noise with each part, over the grid.
fn correlations(cells: &[NoiseCell], options: &SimulationOptions) -> [[f64; 2]; 2] {
    let in_grid = |noise: f64| options.grid.contains(&noise);
    let cells: Vec<&NoiseCell> = cells
        .iter()
        .filter(|cell| cell.ablated == 0.0)
        .filter(|cell| in_grid(cell.activation_noise) && in_grid(cell.reconstruction_noise))
        .collect();
    let noises: [fn(&NoiseCell) -> f64; 2] =
        [|cell| cell.activation_noise, |cell| cell.reconstruction_noise];
    let parts: [fn(&NoiseCell) -> f64; 2] = [|cell| cell.linear, |cell| cell.nonlinear];
    let values = |of: fn(&NoiseCell) -> f64| -> Vec<f64> { cells.iter().map(|c| of(c)).collect() };
    noises.map(|noise| parts.map(|part| correlation(&values(noise), &values(part))))
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let centred = |values: &[f64]| -> Vec<f64> {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|value| value - mean).collect()
    };
    let (a, b) = (centred(a), centred(b));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}
