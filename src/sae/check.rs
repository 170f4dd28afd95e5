//! Whether an autoencoder fits the activations it is given.

use std::fmt;

use candle_core::{DType, Tensor};

use super::Sae;
use crate::Result;
use crate::notebook::MimeBundle;

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
    /// What is wrong, in words; empty where nothing is.
    pub warnings: Vec<String>,
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
        let sum = |tensor: Tensor| -> Result<f64> { Ok(tensor.sum_all()?.to_scalar()?) };
        let error = sum((&target - &found)?.sqr()?)?;
        let variance = sum(target.broadcast_sub(&target.mean_keepdim(0)?)?.sqr()?)?;
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
            dead: active.iter().filter(|active| !**active).count() as f64 / m as f64,
            warnings: Vec::new(),
        };
        check.warnings = check.judge(self.k(), m);
        check.warnings.extend(self.origin().notes.iter().map(ToString::to_string));
        Ok(check)
    }
}

impl Check {
    fn judge(&self, k: Option<usize>, m: usize) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |text: String| warnings.push(text);
        if self.rows < 2 || !self.fvu.is_finite() {
            warn("too few different activations for a fraction of variance".to_owned());
        } else if self.fvu > 1.0 {
            warn(format!(
                "it explains less than the mean activation does (FVU {:.2}): it was trained on \
                 another hook point, layer or model, or on activations of another scale",
                self.fvu
            ));
        } else if self.fvu > 0.5 {
            warn(format!(
                "more than half of the variance is unexplained (FVU {:.2}): look whether hook point \
                 and normalisation are those it was trained with",
                self.fvu
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

    /// Shows the figures as the value of a cell.
    pub fn evcxr_display(&self) {
        MimeBundle::text(self.to_string()).show_as_result();
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, l0, fvu, cosine, length_ratio, dead, warnings } = self;
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
    use crate::sae::{Architecture, SaeWeights};

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
}
