//! What takes the place of an activation, as formulas of activations alone.

use std::fmt;

use candle_core::{DType, Tensor};

use super::change::Change;
use crate::display::show_as_text;
use crate::geometry::{Explanatory, InverseProbeOptions, Probe, ProbeOptions, Subspace, Targets};
use crate::linalg::{matmul, matmul_nt, pca};
use crate::random::Rng;
use crate::{Error, Result};

/// What takes the place of an activation x of a problem that is to have another class v.
///
/// With the mean m of all problems' activations, the source's activation x', the principal components
/// V, the plane S of the circle probe, and `c(v) = (t(v) − t̄) R⁻¹ Sᵀ` the place of v in it
/// ([`Probe`]):
#[derive(Debug, Clone)]
pub enum Patch {
    /// `x`: nothing is changed.
    None,
    /// `x'`: the whole activation of a problem with that class.
    Layer,
    /// `m + c(v)`: the place on the circle, and the mean in all other directions. This removes all
    /// else that the activation says, as much as it sets the circle.
    Circle,
    /// `x − (x − m) S Sᵀ + c(v)`: the place on the circle, and all else as it was.
    CircleKeepingRest,
    /// `x + (x' − x) V Vᵀ`: the source's principal components.
    Components,
    /// `m`: the mean of all problems.
    Average,
    /// `x − (x − m) S Sᵀ`: the mean on the circle's plane.
    WithoutCircle,
    /// `m + (x − m) S Sᵀ`: the mean everywhere but on the circle's plane.
    OnlyCircle,
    /// [`Patch::Circle`] of probes for so many random orders of the classes: any plane that
    /// separates the classes moves answers somewhat, and this is how much.
    PermutedCircle(usize),
    /// `x + (x' − x) P Pᵀ` for so many random planes P of as many dimensions as the circle's.
    RandomPlane(usize),
    /// `m + c(v) S Pᵀ` for so many random planes P: the same circle, as far from the mean as
    /// [`Patch::Circle`] puts it, where it says nothing.
    CircleElsewhere(usize),
    /// [`Patch::Circle`] of a probe that reads this subspace alone, such as the plane of some
    /// features of an autoencoder.
    Plane(Subspace),
    /// `x + (x' − x) P Pᵀ` for the plane P of this subspace, such as that of an
    /// [`Alignment`](super::Alignment).
    Exchange(Subspace),
}

/// Whose formula a patch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PatchVariant {
    /// The formulas of [`Patch`].
    #[default]
    Plain,
    /// Those of Engels et al. (2024), which lose the mean's part in a plane: [`Patch::Circle`] has
    /// `− m S Sᵀ` more, because coordinates that are not centred are set although the probe was
    /// fitted to centred ones, and [`Patch::Components`] has `− m V Vᵀ` more.
    Original,
}

/// How the plane of the circle is found.
#[derive(Debug, Clone)]
pub enum CircleReading {
    /// By a probe of principal components.
    Direct(ProbeOptions),
    /// By explaining the activations by functions first.
    Inverse(Vec<Explanatory>, InverseProbeOptions),
    /// By a probe that reads a given subspace alone.
    In {
        /// The subspace.
        subspace: Subspace,
        /// Principal components of [`Patch::Components`].
        components: usize,
    },
}

impl Default for CircleReading {
    /// A probe of five principal components.
    fn default() -> Self {
        Self::Direct(ProbeOptions::default())
    }
}

impl Patch {
    /// The changes of Engels et al. (2024), Figure 5: none, the whole activation, the circle, the
    /// principal components, the mean, without and with the circle alone.
    pub fn published() -> Vec<Self> {
        vec![
            Self::None,
            Self::Layer,
            Self::Circle,
            Self::Components,
            Self::Average,
            Self::WithoutCircle,
            Self::OnlyCircle,
        ]
    }

    /// How many vectors there are for a change.
    pub(super) fn draws(&self) -> usize {
        match self {
            Self::PermutedCircle(count)
            | Self::RandomPlane(count)
            | Self::CircleElsewhere(count) => *count,
            _ => 1,
        }
    }

    /// Whether its vectors do not depend on the class that is asked for.
    pub(super) fn is_of_problem(&self) -> bool {
        matches!(self, Self::None | Self::Average | Self::WithoutCircle | Self::OnlyCircle)
    }
}

impl fmt::Display for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::None => "none".to_owned(),
            Self::Layer => "layer".to_owned(),
            Self::Circle => "circle".to_owned(),
            Self::CircleKeepingRest => "circle, rest kept".to_owned(),
            Self::Components => "components".to_owned(),
            Self::Average => "average".to_owned(),
            Self::WithoutCircle => "without circle".to_owned(),
            Self::OnlyCircle => "only circle".to_owned(),
            Self::PermutedCircle(count) => format!("permuted circle × {count}"),
            Self::RandomPlane(count) => format!("random plane × {count}"),
            Self::CircleElsewhere(count) => format!("circle elsewhere × {count}"),
            Self::Plane(plane) => format!("given plane of {}", plane.dimensions()),
            Self::Exchange(plane) => format!("exchange in {}", plane.dimensions()),
        })
    }
}

/// The vectors of patches at one place of a model.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::cyclic::{CyclicTask, QuestionOrder, Patch, Patcher, CircleReading, Role, PatchVariant, changes};
/// use eigenlens::geometry::{ProbeOptions, Targets};
/// # fn main() -> Result<()> {
/// let questions = CyclicTask::weekdays().questions(QuestionOrder::Grid);
/// let x = Rng::seed(0).normal((49, 16), &Device::Cpu)?; // an activation a question
/// let targets = Targets::circle(questions.iter().map(|question| question.start), 7, &[1])?;
/// let reading = CircleReading::Direct(ProbeOptions::default());
/// let patcher = Patcher::new(&x, &targets, &reading, PatchVariant::Plain)?;
/// let all = changes(&questions, 7, Role::Start, None)?;
/// assert_eq!(patcher.vectors(&Patch::Circle, &all)?.dims(), [294, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Patcher {
    x: Tensor,
    mean: Tensor,
    components: Tensor,
    targets: Targets,
    reading: CircleReading,
    probe: Probe,
    plane: Subspace,
    variant: PatchVariant,
    seed: u64,
}

impl Patcher {
    /// Fits the probe of `targets` to activations `x`, `[problems, d]`.
    ///
    /// # Errors
    /// As [`Probe::fit`], [`Probe::inverse`] and [`Probe::subspace`].
    pub fn new(
        x: &Tensor,
        targets: &Targets,
        reading: &CircleReading,
        variant: PatchVariant,
    ) -> Result<Self> {
        let probe = read(x, targets, reading)?;
        let x = x.to_device(&candle_core::Device::Cpu)?.to_dtype(DType::F64)?;
        let components = match reading {
            CircleReading::In { components, .. } => pca(&x, *components)?.components,
            _ => probe.components().clone(),
        };
        Ok(Self {
            mean: probe.mean().clone(),
            plane: probe.subspace()?,
            components,
            targets: targets.clone(),
            reading: reading.clone(),
            probe,
            variant,
            x,
            seed: 0,
        })
    }

    /// The same with another seed of permuted orders and random planes; 0 by default.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The probe of the circle.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// A vector for each change, `[changes, d]`, f64: of the first draw, if the patch has several.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a problem or class that there is not; as [`Probe::fit`] for the probes
    /// of permuted orders and given planes.
    pub fn vectors(&self, patch: &Patch, changes: &[Change]) -> Result<Tensor> {
        self.vectors_of_draw(patch, 0, changes)
    }

    /// [`Patcher::vectors`] of one of several draws.
    pub(super) fn vectors_of_draw(
        &self,
        patch: &Patch,
        draw: usize,
        changes: &[Change],
    ) -> Result<Tensor> {
        self.check(changes)?;
        let x = self.rows(changes, |change| change.problem)?;
        let source = || self.rows(changes, |change| change.source);
        let centred = || -> Result<Tensor> { Ok(x.broadcast_sub(&self.mean)?) };
        match patch {
            Patch::None => Ok(x),
            Patch::Layer => source(),
            Patch::Average => Ok(self.mean.broadcast_as(x.shape())?.contiguous()?),
            Patch::WithoutCircle => Ok((&x - self.plane.project(&centred()?)?)?),
            Patch::OnlyCircle => Ok(self.plane.project(&centred()?)?.broadcast_add(&self.mean)?),
            Patch::Circle => self.circle(&self.probe, changes),
            Patch::CircleKeepingRest => {
                let places = picked(&self.probe.places()?, changes.iter().map(|one| one.class))?;
                let rest = (&x - self.plane.project(&centred()?)?)?;
                Ok((rest + places.broadcast_sub(&self.mean)?)?)
            }
            Patch::Components => {
                let inside = |x: &Tensor| -> Result<Tensor> {
                    matmul(&matmul_nt(x, &self.components)?, &self.components)
                };
                let moved = (&x + inside(&(source()? - &x)?)?)?;
                match self.variant {
                    PatchVariant::Plain => Ok(moved),
                    PatchVariant::Original => {
                        Ok(moved.broadcast_sub(&inside(&self.mean.unsqueeze(0)?)?)?)
                    }
                }
            }
            Patch::PermutedCircle(_) => {
                let mut rng = Rng::stream(self.seed, 2 * draw as u64);
                let order = rng.permutation(self.targets.classes());
                let order: Vec<usize> = order.into_iter().map(|place| place as usize).collect();
                let targets = self.targets.permuted(&order)?;
                let probe = match &self.reading {
                    CircleReading::Inverse(..) => read(&self.x, &targets, &self.reading)?,
                    _ => self.probe.refitted(&self.x, &targets)?,
                };
                self.circle(&probe, changes)
            }
            Patch::RandomPlane(_) => {
                Ok((&x + self.random_plane(draw)?.project(&(source()? - &x)?)?)?)
            }
            Patch::CircleElsewhere(_) => {
                let places = self.circle(&self.probe, changes)?.broadcast_sub(&self.mean)?;
                let places = self.plane.coordinates(&places)?;
                let moved = matmul_nt(&places, self.random_plane(draw)?.basis())?;
                Ok(moved.broadcast_add(&self.mean)?)
            }
            Patch::Exchange(plane) => Ok((&x + plane.project(&(source()? - &x)?)?)?),
            Patch::Plane(subspace) => {
                self.circle(&Probe::fit_in(&self.x, &self.targets, subspace)?, changes)
            }
        }
    }

    /// A random plane of as many dimensions as the circle's.
    fn random_plane(&self, draw: usize) -> Result<Subspace> {
        let mut rng = Rng::stream(self.seed, 2 * draw as u64 + 1);
        Subspace::random(self.plane.width(), self.plane.dimensions(), &mut rng)
    }

    /// Points of the circle's plane by their targets `t`, `[points, q]`, with the mean in all other
    /// directions: `[points, d]`, f64.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of columns.
    pub fn points(&self, t: &Tensor) -> Result<Tensor> {
        self.without_mean(&self.probe, self.probe.places_of(t)?)
    }

    /// The places of the classes that are asked for.
    fn circle(&self, probe: &Probe, changes: &[Change]) -> Result<Tensor> {
        let places = self.without_mean(probe, probe.places()?)?;
        picked(&places, changes.iter().map(|change| change.class))
    }

    /// Places less the mean's part in the plane, if the original is asked for.
    fn without_mean(&self, probe: &Probe, places: Tensor) -> Result<Tensor> {
        match self.variant {
            PatchVariant::Plain => Ok(places),
            PatchVariant::Original => {
                let inside = probe.subspace()?.project(&self.mean.unsqueeze(0)?)?;
                Ok(places.broadcast_sub(&inside)?)
            }
        }
    }

    fn rows(&self, changes: &[Change], of: impl Fn(&Change) -> usize) -> Result<Tensor> {
        picked(&self.x, changes.iter().map(of))
    }

    fn check(&self, changes: &[Change]) -> Result<()> {
        let (problems, classes) = (self.x.dims()[0], self.targets.classes());
        if changes.is_empty() {
            return Err(Error::invalid("the changes", "at least one", "none"));
        }
        let outside = |change: &&Change| {
            change.problem.max(change.source) >= problems || change.class >= classes
        };
        match changes.iter().find(outside) {
            None => Ok(()),
            Some(change) => {
                let expected = format!("of problems below {problems} and classes below {classes}");
                Err(Error::invalid("the changes", expected, format!("{change:?}")))
            }
        }
    }
}

/// The probe of a reading.
fn read(x: &Tensor, targets: &Targets, reading: &CircleReading) -> Result<Probe> {
    match reading {
        CircleReading::Direct(options) => Probe::fit(x, targets, options),
        CircleReading::Inverse(functions, options) => {
            Ok(Probe::inverse(x, functions, targets, options)?.probe().clone())
        }
        CircleReading::In { subspace, .. } => Probe::fit_in(x, targets, subspace),
    }
}

/// Some rows of a matrix.
fn picked(x: &Tensor, which: impl Iterator<Item = usize>) -> Result<Tensor> {
    let ids: Vec<u32> = which.map(|row| row as u32).collect();
    Ok(x.contiguous()?.index_select(&Tensor::new(ids, x.device())?, 0)?)
}

show_as_text!(Patcher);

impl fmt::Display for Patcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Patches of {} activations. {}", self.x.dims()[0], self.probe)
    }
}
