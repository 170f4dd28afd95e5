//! Probes that explain activations by functions of the inputs, and read one of them backwards.

use std::fmt;

use candle_core::{DType, Device, Tensor};

use super::explanatory::Explanatory;
use super::probe::Probe;
use super::probe_parts::{checked, components};
use super::subspace::squares;
use super::targets::Targets;
use crate::display::show_as_text;
use crate::linalg::{Pca, RankCut, matmul, matmul_tn, pinv_with};
use crate::{Error, Result};

/// How an [`InverseProbe`] is fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InverseProbeOptions {
    /// Principal components that are explained; 20. `None` explains all that vary.
    pub components: Option<usize>,
    /// Singular values of `XᵀX` and of the coefficients that count as zero; up to 1e-10 of the
    /// largest.
    pub cut: RankCut,
}

impl Default for InverseProbeOptions {
    fn default() -> Self {
        Self { components: Some(20), cut: RankCut::Relative(1e-10) }
    }
}

impl InverseProbeOptions {
    /// The cut of Engels et al. (2024): singular values up to 0.01, whatever the size of the
    /// activations, so that small activations lose directions. Their figures depend on it, and on
    /// [`Explanatory::one_hot_of_first`] with eight classes.
    pub fn original() -> Self {
        Self { cut: RankCut::Absolute(1e-2), ..Self::default() }
    }
}

/// A circle found by explaining activations: where one-hot inputs and other functions explain much
/// of them, a plain probe of an answer would read the inputs instead.
///
/// With scores Z `[n, k]` of principal components, and columns X `[n, f + q]` of f other functions
/// and q targets:
///
/// ```text
/// B = (XᵀX)⁺ Xᵀ Z      P = the last q columns of B⁺      prediction = Z P
/// ```
///
/// The prediction is the targets' part in activations that are `X B`, whatever the other functions
/// are. P takes the place of W in [`Probe`]. After Engels et al. (2024), section 4.
#[derive(Debug, Clone)]
pub struct InverseProbe {
    probe: Probe,
    coefficients: Tensor,
    before: f64,
    after: f64,
}

impl Probe {
    /// Explains activations `x`, `[n, d]`, by `functions` and then `targets`, and reads the targets
    /// backwards.
    ///
    /// # Errors
    /// As [`Probe::fit`]; [`Error::Shape`] for functions of another number of rows,
    /// [`Error::Invalid`] for none.
    pub fn inverse(
        x: &Tensor,
        functions: &[Explanatory],
        targets: &Targets,
        options: &InverseProbeOptions,
    ) -> Result<InverseProbe> {
        let x = checked(x, targets.class_of().len())?;
        let Pca { scores, components, mean, .. } = components(&x, options.components)?;
        let others = Explanatory::join("functions", functions)?;
        others.check_inputs(targets.class_of().len())?;
        let t = targets.columns()?;
        let (_, before) = explain(others.columns(), &scores, options.cut)?;
        let all = Tensor::cat(&[others.columns(), &t], 1)?;
        let (coefficients, after) = explain(&all, &scores, options.cut)?;
        let backwards = pinv_with(&coefficients, options.cut)?;
        let (first, columns) = (others.columns().dims()[1], t.dims()[1]);
        let solution = backwards.narrow(1, first, columns)?.contiguous()?;
        let offset = Tensor::zeros(columns, DType::F64, &Device::Cpu)?;
        let probe = Self::of_solution(targets, mean, components, solution, offset, &x)?;
        Ok(InverseProbe { probe, coefficients, before, after })
    }
}

/// Coefficients `[columns, k]` and the `R²` about the mean of `scores ≈ columns · coefficients`.
fn explain(columns: &Tensor, scores: &Tensor, cut: RankCut) -> Result<(Tensor, f64)> {
    let inverse = pinv_with(&matmul_tn(columns, columns)?, cut)?;
    let coefficients = matmul(&inverse, &matmul_tn(columns, scores)?)?;
    let left = squares(&(scores - matmul(columns, &coefficients)?)?)?;
    let all = squares(&scores.broadcast_sub(&scores.mean_keepdim(0)?)?)?;
    if all == 0.0 {
        return Err(Error::invalid("the activations", "different in some rows", "equal rows"));
    }
    Ok((coefficients, 1.0 - left / all))
}

impl InverseProbe {
    /// The probe: its subspace, its places, its predictions.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Coefficients B of the functions and the targets, `[f + q, k]`, f64.
    pub fn coefficients(&self) -> &Tensor {
        &self.coefficients
    }

    /// `R²` of the components about their means, explained by the functions without the targets.
    pub fn r_squared_before(&self) -> f64 {
        self.before
    }

    /// The same with the targets.
    pub fn r_squared_after(&self) -> f64 {
        self.after
    }
}

show_as_text!(InverseProbe);

impl fmt::Display for InverseProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Activations explained to R² {:.3} by the functions, {:.3} with {}. {}",
            self.before,
            self.after,
            self.probe.targets().names().join(", "),
            self.probe
        )
    }
}
