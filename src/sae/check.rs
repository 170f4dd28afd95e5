//! Whether an autoencoder fits the activations it is given.

use std::fmt;

use candle_core::{DType, Tensor};

use super::Sae;
use super::record::CENTRED;
use crate::Result;
use crate::display::show_as_text;

/// How many times further than usual is far.
const FAR: f64 = 5.0;

/// What an autoencoder makes of some activations, and what is suspicious about it.
///
/// An autoencoder at the wrong layer, or with inputs of another scale, loads and runs without a
/// word; these figures tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Activations.
    pub rows: usize,
    /// Mean number of active features.
    pub l0: f64,
    /// Fraction of variance unexplained, `Σ‖x − x̂‖² / Σ‖x − x̄‖²`.
    pub fvu: f64,
    /// Mean cosine of x and x̂.
    pub cosine: f64,
    /// Mean of ‖x̂‖/‖x‖.
    pub length_ratio: f64,
    /// Share of the features that were active on no row.
    pub dead: f64,
    /// The few rows that hold most of the variance, if there are such rows.
    pub outliers: Option<OutlierRows>,
    /// What is wrong, in words; empty where nothing is.
    pub warnings: Vec<String>,
}

/// A few rows, such as those of a first token, that hold most of the variance of some activations.
///
/// The fraction of variance unexplained of all rows says little beyond these: it is near 0 as soon
/// as they are reconstructed, whatever becomes of the others.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierRows {
    /// How many they are.
    pub count: usize,
    /// The share of the variance that is there because of them: 1 less the others' `Σ‖x − x̄‖²`
    /// about their own mean, over that of all rows.
    pub share: f64,
    /// Fraction of variance unexplained of the other rows, about their own mean.
    pub fvu_of_others: f64,
    /// Whether all of them are at the first position of a context.
    pub first_positions: bool,
}

impl Sae {
    /// Encodes and decodes activations `x` `[…, d]` and reports how well that went. For a
    /// transcoder, [`Sae::check_against`] what it predicts.
    ///
    /// # Errors
    /// As [`Sae::encode`].
    pub fn check(&self, x: &Tensor) -> Result<Check> {
        self.check_against(x, x)
    }

    /// [`Sae::check`] of a transcoder: what it makes of `x` is compared with `target` `[…, d_out]`.
    ///
    /// # Errors
    /// As [`Sae::encode`]; a target of another shape than what it predicts.
    pub fn check_against(&self, x: &Tensor, target: &Tensor) -> Result<Check> {
        let codes = self.encode(x)?;
        let (rows, m) = (codes.rows(), self.features());
        let flat = |tensor: &Tensor| tensor.reshape((rows, ()))?.to_dtype(DType::F64);
        let found = flat(&self.reconstruct_wide(x)?)?;
        let target = flat(target)?;
        if found.dims() != target.dims() {
            let expected = format!("{:?}", found.dims());
            return Err(crate::Error::shape("what it is compared with", expected, target.dims()));
        }
        let errors = (&target - &found)?.sqr()?.sum(1)?.to_vec1::<f64>()?;
        let distances = squares_about_mean(&target)?;
        let (error, variance) = (errors.iter().sum::<f64>(), distances.iter().sum::<f64>());
        let positions = match x.dims() {
            [.., positions, d] if x.dims().len() > 2 && *d == self.d_model() => Some(*positions),
            [positions, d] if *d == self.d_model() => Some(*positions),
            _ => None,
        };
        let outliers = outlier_rows(&target, &errors, &distances, positions)?;
        let length = |tensor: &Tensor| tensor.sqr()?.sum(1)?.sqrt();
        let (long, short) = (length(&target)?.to_vec1::<f64>()?, length(&found)?.to_vec1::<f64>()?);
        let products = (&target * &found)?.sum(1)?.to_vec1::<f64>()?;
        let positive = |x: f64| x.max(f64::MIN_POSITIVE);
        let mut active = vec![false; m];
        for row in 0..rows {
            codes.row(row).for_each(|(feature, _)| active[feature as usize] = true);
        }
        let lengths = || long.iter().zip(&short);
        let cosines = products.iter().zip(lengths()).map(|(p, (a, b))| p / positive(a * b));
        let mut check = Check {
            rows,
            l0: codes.entries() as f64 / rows as f64,
            fvu: error / variance,
            cosine: cosines.sum::<f64>() / rows as f64,
            length_ratio: lengths().map(|(a, b)| b / positive(*a)).sum::<f64>() / rows as f64,
            outliers,
            dead: active.iter().filter(|active| !**active).count() as f64 / m as f64,
            warnings: Vec::new(),
        };
        check.warnings = check.judge(self.k(), m);
        let first = check.outliers.as_ref().is_some_and(|rows| rows.first_positions)
            || (x.dims().len() > 2
                && positions.is_some_and(|positions| first_stands_out(&errors, positions)));
        if first {
            check.warnings.extend(match self.origin().training.prepend_bos {
                Some(true) => Some(
                    "the first position stands out: its training contexts began with a BOS token; \
                     see that these do",
                ),
                Some(false) => Some(
                    "the first position stands out: its training contexts began with no BOS token; \
                     leave a BOS token's position out",
                ),
                None => None,
            }
            .map(ToOwned::to_owned));
        }
        check.warnings.extend(self.not_centred(x)?);
        // The activations tell more of their mean than a note does.
        let notes = self.origin().notes.iter().filter(|note| note.is_warning());
        let notes = notes.filter(|note| !note.to_string().contains(CENTRED));
        check.warnings.extend(notes.map(ToString::to_string));
        Ok(check)
    }
}

/// `‖x − x̄‖²` of each row.
fn squares_about_mean(rows: &Tensor) -> Result<Vec<f64>> {
    Ok(rows.broadcast_sub(&rows.mean_keepdim(0)?)?.sqr()?.sum(1)?.to_vec1()?)
}

/// The rows that are [`FAR`] times as far from the mean as the median row, if they are few and hold
/// most of the variance.
fn outlier_rows(
    target: &Tensor,
    errors: &[f64],
    distances: &[f64],
    positions: Option<usize>,
) -> Result<Option<OutlierRows>> {
    let rows = distances.len();
    let mut sorted = distances.to_vec();
    sorted.sort_by(f64::total_cmp);
    let bound = FAR * FAR * sorted[rows / 2];
    let is_far = |row: usize| distances[row] > bound;
    let far: Vec<usize> = (0..rows).filter(|row| is_far(*row)).collect();
    if far.is_empty() || far.len() > rows / 4 {
        return Ok(None);
    }
    let others: Vec<u32> = (0..rows).filter(|row| !is_far(*row)).map(|row| row as u32).collect();
    let error: f64 = others.iter().map(|row| errors[*row as usize]).sum();
    let others = Tensor::new(others, target.device())?;
    let variance: f64 = squares_about_mean(&target.index_select(&others, 0)?)?.iter().sum();
    let share = 1.0 - variance / distances.iter().sum::<f64>();
    if share < 0.5 {
        return Ok(None);
    }
    let first_positions =
        positions.is_some_and(|positions| far.iter().all(|row| row % positions == 0));
    let (count, fvu_of_others) = (far.len(), error / variance);
    Ok(Some(OutlierRows { count, share, fvu_of_others, first_positions }))
}

/// Whether the error at the first of `positions` is [`FAR`] times that of the others.
fn first_stands_out(errors: &[f64], positions: usize) -> bool {
    if positions < 2 {
        return false;
    }
    let (mut first, mut others) = (0.0, 0.0);
    for (row, error) in errors.iter().enumerate() {
        *(if row % positions == 0 { &mut first } else { &mut others }) += error;
    }
    first > FAR * others / (positions - 1) as f64
}

impl Check {
    fn judge(&self, k: Option<usize>, m: usize) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |text: String| warnings.push(text);
        let fvu = match &self.outliers {
            Some(OutlierRows { count, share, fvu_of_others, first_positions }) => {
                let place = match first_positions {
                    true => " (at the first position of their contexts)",
                    false => "",
                };
                warn(format!(
                    "{count} of {} rows{place} hold {:.1} % of the variance: FVU is {:.4} with them \
                     and {fvu_of_others:.4} without them",
                    self.rows,
                    100.0 * share,
                    self.fvu
                ));
                self.fvu.max(*fvu_of_others)
            }
            None => self.fvu,
        };
        if self.rows < 2 || !self.fvu.is_finite() {
            warn("too few different activations for a fraction of variance".to_owned());
        } else if fvu > 1.0 {
            warn(format!(
                "it explains less than the mean activation does (FVU {fvu:.2}): it was trained on \
                 another hook point, layer or model, or on activations of another scale"
            ));
        } else if fvu > 0.5 {
            warn(format!(
                "more than half of the variance is unexplained (FVU {fvu:.2}): look whether hook point \
                 and normalisation are those it was trained with"
            ));
        }
        if self.cosine > 0.7 && !(0.5..2.0).contains(&self.length_ratio) {
            warn(format!(
                "reconstructions point the right way but are {:.2} times as long: a scale on the \
                 way in is missing, or one too many",
                self.length_ratio
            ));
        }
        if self.l0 == 0.0 {
            warn("no feature is active on any row".to_owned());
        } else if k.is_none() && self.l0 > 0.25 * m as f64 {
            warn(format!(
                "{:.0} of {m} features are active on a row: thresholds or scale do not fit",
                self.l0
            ));
        }
        if self.rows >= m && self.dead > 0.9 {
            warn(format!("{:.0} % of the features were active on no row", 100.0 * self.dead));
        }
        warnings
    }
}

show_as_text!(Check);

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, l0, fvu, cosine, length_ratio, dead, warnings, .. } = self;
        write!(
            f,
            "{rows} activations: L0 {l0:.1}, FVU {fvu:.4}, cosine {cosine:.4}, length ratio \
             {length_ratio:.3}, {:.1} % of the features never active",
            100.0 * dead
        )?;
        warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;
    use crate::sae::{Architecture, SaeWeights, TrainingRecord};

    /// Features along both directions of every axis: any input comes back.
    fn perfect() -> Sae {
        let eye = Tensor::eye(6, DType::F32, &Device::Cpu).unwrap();
        let rows = Tensor::cat(&[&eye, &eye.neg().unwrap()], 0).unwrap();
        let bias = Tensor::zeros(6, DType::F32, &Device::Cpu).unwrap();
        let weights = SaeWeights::new(rows.clone(), rows.t().unwrap().contiguous().unwrap(), bias);
        Sae::new(Architecture::standard(), weights).unwrap()
    }

    fn x() -> Tensor {
        (Rng::seed(1).normal((40, 6), &Device::Cpu).unwrap() + 1.0).unwrap()
    }

    #[test]
    fn a_perfect_autoencoder_has_nothing_to_warn_of() {
        let check = perfect().check(&x()).unwrap();
        assert!(check.fvu < 1e-10 && (check.cosine - 1.0).abs() < 1e-6, "{check}");
        assert!((check.l0 - 6.0).abs() < 1e-9 && (check.length_ratio - 1.0).abs() < 1e-6);
        assert_eq!(
            check.warnings,
            ["6 of 12 features are active on a row: thresholds or scale do not fit"]
        );
    }

    #[test]
    fn wrong_scales_and_places_are_warned_of() {
        let sae = perfect();
        let weights = SaeWeights { decoder: (sae.w_dec() * 3.0).unwrap(), ..sae.weights().clone() };
        let long = Sae::new(Architecture::standard(), weights).unwrap().check(&x()).unwrap();
        assert!(long.to_string().contains("3.00 times as long"), "{long}");
        let other = Rng::seed(9).normal((40, 6), &Device::Cpu).unwrap();
        let elsewhere = sae.check_against(&x(), &other).unwrap();
        assert!(elsewhere.to_string().contains("less than the mean"), "{elsewhere}");
        let wrong = sae.check_against(&x(), &other.narrow(1, 0, 5).unwrap()).unwrap_err();
        assert!(wrong.to_string().contains("[40, 6]"), "{wrong}");
    }

    /// Four contexts of ten positions; the first of each lies far out in one dimension.
    fn with_massive_first_positions() -> Tensor {
        let mut rows = x().to_vec2::<f32>().unwrap();
        for row in rows.iter_mut().step_by(10) {
            row[2] = 3_000.0;
        }
        let rows: Vec<f32> = rows.concat();
        Tensor::from_vec(rows, (4, 10, 6), &Device::Cpu).unwrap()
    }

    /// Reconstructs dimension 2 alone.
    fn one_dimension() -> Sae {
        let mut unit = vec![0f32; 6];
        unit[2] = 1.0;
        let row = Tensor::from_vec(unit, (1, 6), &Device::Cpu).unwrap();
        let bias = Tensor::zeros(6, DType::F32, &Device::Cpu).unwrap();
        let weights = SaeWeights::new(row.clone(), row.t().unwrap().contiguous().unwrap(), bias);
        Sae::new(Architecture::standard(), weights).unwrap()
    }

    #[test]
    fn a_few_rows_with_most_of_the_variance_are_told_apart() {
        let x = with_massive_first_positions();
        let check = one_dimension().check(&x).unwrap();
        assert!(check.fvu < 1e-4, "{check}");
        let outliers = check.outliers.clone().unwrap();
        assert_eq!((outliers.count, outliers.first_positions), (4, true));
        assert!(outliers.share > 0.99, "{check}");
        // By hand: the other rows about their own mean, with dimension 2 kept where it is positive.
        let rows = x.reshape((40, 6)).unwrap().to_vec2::<f32>().unwrap();
        let others: Vec<&Vec<f32>> =
            rows.iter().enumerate().filter(|(row, _)| row % 10 > 0).map(|(_, row)| row).collect();
        let (mut error, mut variance) = (0.0, 0.0);
        for i in 0..6 {
            let column = || others.iter().map(|row| f64::from(row[i]));
            let mean = column().sum::<f64>() / others.len() as f64;
            variance += column().map(|x| (x - mean).powi(2)).sum::<f64>();
            let kept = |x: f64| if i == 2 { x.max(0.0) } else { 0.0 };
            error += column().map(|x| (x - kept(x)).powi(2)).sum::<f64>();
        }
        assert!((outliers.fvu_of_others - error / variance).abs() < 1e-6, "{check}");
        let text = check.to_string();
        assert!(text.contains("4 of 40 rows (at the first position"), "{text}");
        assert!(text.contains("FVU is 0.0000 with them and 1."), "{text}");
        assert!(text.contains("less than the mean"), "{text}");
    }

    #[test]
    fn usual_rows_have_no_outliers() {
        assert_eq!(perfect().check(&x()).unwrap().outliers, None);
        let one = x().narrow(0, 0, 1).unwrap();
        assert_eq!(perfect().check(&one).unwrap().outliers, None);
    }

    #[test]
    fn a_first_position_that_stands_out_is_held_against_the_record() {
        let x = with_massive_first_positions();
        let with = |prepend_bos| {
            let record = TrainingRecord { prepend_bos, ..TrainingRecord::default() };
            one_dimension().with_training_record(record).check(&x).unwrap().to_string()
        };
        assert!(with(Some(true)).contains("began with a BOS token"));
        assert!(with(Some(false)).contains("no BOS token"));
        assert!(!with(None).contains("BOS"));
        // Far off in the error alone: no row holds most of the variance.
        let mut rows = self::x().to_vec2::<f32>().unwrap();
        rows.iter_mut().step_by(10).for_each(|row| row.iter_mut().for_each(|x| *x = -*x * 3.0));
        let rows = Tensor::from_vec(rows.concat(), (4, 10, 6), &Device::Cpu).unwrap();
        let record = TrainingRecord { prepend_bos: Some(true), ..TrainingRecord::default() };
        let weights = SaeWeights::new(
            Tensor::eye(6, DType::F32, &Device::Cpu).unwrap(),
            Tensor::eye(6, DType::F32, &Device::Cpu).unwrap(),
            Tensor::zeros(6, DType::F32, &Device::Cpu).unwrap(),
        );
        let sae = Sae::new(Architecture::standard(), weights).unwrap();
        let text = sae.with_training_record(record).check(&rows).unwrap().to_string();
        assert!(text.contains("the first position stands out"), "{text}");
    }
}
