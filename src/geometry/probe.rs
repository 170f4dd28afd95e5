//! Linear probes of principal components, and the plane that they read.

use std::fmt;

use candle_core::Tensor;

use super::probe_parts::{ProbeQuality, checked, components, plane, span};
use super::subspace::{Subspace, host};
use super::targets::Targets;
use crate::display::show_as_text;
use crate::linalg::{Pca, lstsq, matmul, matmul_nt, matmul_tn, pinv};
use crate::{Error, Result};

/// How a [`Probe`] is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Principal components that the probe reads; 5. `None` reads all that vary.
    pub components: Option<usize>,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self { components: Some(5) }
    }
}

/// A linear map from activations to targets, such as the place of a weekday on a circle.
///
/// With activations X `[n, d]`, their mean m, the first k principal components V `[d, k]` and
/// targets T `[n, q]` with mean t̄:
///
/// ```text
/// Z = (X − m) V      W = Z⁺ (T − t̄)      prediction = t̄ + Z W      V W = S R
/// ```
///
/// S `[d, q]` spans the directions that the probe reads, with the triangle R `[q, q]`. A vector whose
/// prediction is t, and which is the mean in all other directions, is `m + (t − t̄) R⁻¹ Sᵀ`
/// ([`Probe::place`]). After Engels et al. (2024), section 4.
///
/// **What `R²` is worth.** p classes span p − 1 dimensions. With k components, the mean `R²` over all
/// orders of the classes is k/(p − 1) if the components are of class means, and at most that
/// otherwise: five components of a week give 0.83 for a random order. [`Probe::orders`] computes the
/// distribution.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::geometry::{Probe, ProbeOptions, Targets};
/// # fn main() -> Result<()> {
/// let week = Targets::circle(0..7, 7, &[1])?;
/// let x = week.columns()?.matmul(&Rng::seed(0).normal((2, 16), &Device::Cpu)?.to_dtype(DType::F64)?)?;
/// let probe = Probe::fit(&x, &week, &ProbeOptions { components: Some(2) })?;
/// assert!(probe.r_squared()[0] > 1.0 - 1e-9);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Probe {
    targets: Targets,
    mean: Tensor,
    /// Unit rows, `[k, d]`.
    components: Tensor,
    /// Orthonormal columns that span the scores, `[n, ≤ k]`; none of a probe that was not fitted by
    /// least squares.
    pub(super) span: Option<Tensor>,
    solution: Tensor,
    offset: Tensor,
    plane: Option<(Subspace, Tensor)>,
    predictions: Tensor,
    r_squared: Vec<f64>,
    pooled_r_squared: f64,
    mean_absolute_error: f64,
}

impl Probe {
    /// Fits a probe of `targets` to activations `x`, `[n, d]`.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `x` has a row for each of the targets; [`Error::NonFinite`] for NaN;
    /// [`Error::Invalid`] for more components than rows or columns, for activations that do not
    /// vary, and for a target that is the same in all rows.
    pub fn fit(x: &Tensor, targets: &Targets, options: &ProbeOptions) -> Result<Self> {
        let x = checked(x, targets.class_of().len())?;
        let Pca { components, mean, .. } = components(&x, options.components)?;
        Self::by_least_squares(&x, targets, mean, components)
    }

    /// Fits a probe that reads the activations in `subspace` alone, in place of principal
    /// components: a plane that something else has found, such as the features of an autoencoder.
    ///
    /// # Errors
    /// As [`Probe::fit`]; [`Error::Shape`] for a subspace of another width.
    pub fn fit_in(x: &Tensor, targets: &Targets, subspace: &Subspace) -> Result<Self> {
        let x = checked(x, targets.class_of().len())?;
        let (width, found) = (x.dims()[1], subspace.width());
        if width != found {
            return Err(Error::shape("the subspace", format!("one of width {width}"), found));
        }
        let basis = subspace.basis().t()?.contiguous()?;
        Self::by_least_squares(&x, targets, x.mean(0)?, basis)
    }

    /// A probe of other targets on the same components of the same activations.
    pub(crate) fn refitted(&self, x: &Tensor, targets: &Targets) -> Result<Self> {
        let x = checked(x, targets.class_of().len())?;
        Self::by_least_squares(&x, targets, self.mean.clone(), self.components.clone())
    }

    fn by_least_squares(
        x: &Tensor,
        targets: &Targets,
        mean: Tensor,
        components: Tensor,
    ) -> Result<Self> {
        let scores = matmul_nt(&x.broadcast_sub(&mean)?, &components)?;
        let t = targets.columns()?;
        let offset = t.mean(0)?;
        let solution = lstsq(&scores, &t.broadcast_sub(&offset)?)?;
        let probe = Self::of_solution(targets, mean, components, solution, offset, x)?;
        Ok(Self { span: Some(span(&scores)?), ..probe })
    }

    /// The probe with this solution `[k, q]` on components `[k, d]`, measured on `x`.
    pub(super) fn of_solution(
        targets: &Targets,
        mean: Tensor,
        components: Tensor,
        solution: Tensor,
        offset: Tensor,
        x: &Tensor,
    ) -> Result<Self> {
        let plane = plane(&components, &solution)?;
        let mut probe = Self {
            targets: targets.clone(),
            mean,
            components,
            span: None,
            solution,
            offset,
            plane,
            predictions: x.clone(),
            r_squared: Vec::new(),
            pooled_r_squared: 0.0,
            mean_absolute_error: 0.0,
        };
        probe.predictions = probe.predict(x)?;
        let quality = ProbeQuality::of(&probe.predictions, targets)?;
        probe.r_squared = quality.r_squared;
        probe.pooled_r_squared = quality.pooled;
        probe.mean_absolute_error = quality.mean_absolute_error;
        Ok(probe)
    }

    /// The targets that it was fitted to.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// `R² = 1 − Σ(t − prediction)² / Σ(t − t̄)²` of each target, on the rows it was fitted to.
    pub fn r_squared(&self) -> &[f64] {
        &self.r_squared
    }

    /// `R²` with the sums over all targets.
    pub fn pooled_r_squared(&self) -> f64 {
        self.pooled_r_squared
    }

    /// The mean of `|prediction − t|` over rows and targets.
    pub fn mean_absolute_error(&self) -> f64 {
        self.mean_absolute_error
    }

    /// Predictions of the rows it was fitted to, `[n, q]`, f64.
    pub fn predictions(&self) -> &Tensor {
        &self.predictions
    }

    /// The mean m of the activations, `[d]`, f64.
    pub fn mean(&self) -> &Tensor {
        &self.mean
    }

    /// The principal components that it reads, unit rows `[k, d]`, f64.
    pub fn components(&self) -> &Tensor {
        &self.components
    }

    /// Coefficients W of the components, `[k, q]`, f64.
    pub fn solution(&self) -> &Tensor {
        &self.solution
    }

    /// The directions in the activations, `V W`, `[d, q]`, f64: they do not depend on the signs of
    /// components.
    ///
    /// # Errors
    /// [`Error::Tensor`] if memory runs out.
    pub fn directions(&self) -> Result<Tensor> {
        matmul_tn(&self.components, &self.solution)
    }

    /// The subspace S of the activations that it reads.
    ///
    /// # Errors
    /// [`Error::Invalid`] if its directions depend on each other, as of more targets than components.
    pub fn subspace(&self) -> Result<Subspace> {
        Ok(self.plane()?.0.clone())
    }

    /// The triangle R of `V W = S R`, `[q, q]`, f64.
    ///
    /// # Errors
    /// As [`Probe::subspace`].
    pub fn triangle(&self) -> Result<Tensor> {
        Ok(self.plane()?.1.clone())
    }

    fn plane(&self) -> Result<&(Subspace, Tensor)> {
        self.plane.as_ref().ok_or_else(|| {
            let found = format!(
                "{} directions of {} components that depend on each other",
                self.solution.dims()[1],
                self.solution.dims()[0]
            );
            let expected = "independent: ask for fewer targets or more components";
            Error::invalid("the directions of the probe", expected, found)
        })
    }

    /// Where each class lies, `[classes, d]`, f64: its own numbers in the subspace, and the mean of
    /// the activations in all other directions, `m + (t − t̄) R⁻¹ Sᵀ`.
    ///
    /// # Errors
    /// As [`Probe::subspace`].
    pub fn places(&self) -> Result<Tensor> {
        self.places_of(self.targets.of_class())
    }

    /// Where one class lies, `[d]`, f64: a row of [`Probe::places`].
    ///
    /// # Errors
    /// As [`Probe::subspace`]; [`Error::Invalid`] for a class that there is not.
    pub fn place(&self, class: usize) -> Result<Tensor> {
        let classes = self.targets.classes();
        if class >= classes {
            return Err(Error::invalid("the class", format!("below {classes}"), class));
        }
        Ok(self.places()?.get(class)?)
    }

    /// Where points with numbers `t`, `[points, q]`, lie, `[points, d]`, f64: those of no class too.
    ///
    /// # Errors
    /// As [`Probe::subspace`]; [`Error::Shape`] for another number of columns.
    pub fn places_of(&self, t: &Tensor) -> Result<Tensor> {
        Ok(self.shifts_of(t)?.broadcast_add(&self.mean)?)
    }

    /// `(t − t̄) R⁻¹ Sᵀ`.
    fn shifts_of(&self, t: &Tensor) -> Result<Tensor> {
        let (subspace, triangle) = self.plane()?;
        let columns = triangle.dims()[1];
        if !matches!(t.dims(), [_, width] if *width == columns) {
            return Err(Error::shape("the coordinates", format!("[points, {columns}]"), t.dims()));
        }
        let t = host(t)?.broadcast_sub(&self.offset)?;
        matmul_nt(&matmul(&t, &pinv(triangle)?)?, subspace.basis())
    }

    /// Predictions for other activations `x`, `[m, d]`: `[m, q]`, f64.
    ///
    /// # Errors
    /// [`Error::Shape`] for rows of another width.
    pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
        let d = self.mean.dims()[0];
        if !matches!(x.dims(), [_, width] if *width == d) {
            return Err(Error::shape("the activations", format!("[n, {d}]"), x.dims()));
        }
        let scores = matmul_nt(&host(x)?.broadcast_sub(&self.mean)?, &self.components)?;
        Ok(matmul(&scores, &self.solution)?.broadcast_add(&self.offset)?)
    }
}

show_as_text!(Probe);

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (k, d) = (self.components.dims()[0], self.components.dims()[1]);
        write!(f, "Probe of {k} components in {d} dimensions:")?;
        for (name, r_squared) in self.targets.names().iter().zip(&self.r_squared) {
            write!(f, " {name} R² {r_squared:.3},")?;
        }
        write!(f, " mean absolute error {:.3}", self.mean_absolute_error)
    }
}
