//! Looking into a forward pass, and changing it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{Config, HookPoint};
use crate::{Error, Result};

type Replacement = Arc<dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync>;

/// What a forward pass keeps, and what it exchanges.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::model::{Config, Decoder, HookPoint, Hooks};
/// # fn main() -> Result<()> {
/// let model = Decoder::random(Config { vocab: 11, ..Config::bilinear(2, 2, 8, 16) }, 0, &Device::Cpu)?;
/// let tokens = Tensor::new(&[[1u32, 2, 3]], &Device::Cpu)?;
/// let hooks = Hooks::new()
///     .capture(HookPoint::ResidPost(1))
///     .replace(HookPoint::MlpOut(0), |out| Ok(out.zeros_like()?));
/// let (logits, cache) = model.run(&tokens, &hooks)?;
/// assert_eq!(logits.dims(), [1, 3, 11]);
/// assert_eq!(cache.get(HookPoint::ResidPost(1))?.dims(), [1, 3, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Hooks {
    captures: Vec<HookPoint>,
    replacements: BTreeMap<HookPoint, Vec<Replacement>>,
    /// Whether what is kept goes to the host's memory.
    on_cpu: bool,
}

impl Hooks {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the activation at `point`, after any replacement there. By default none is kept.
    #[must_use]
    pub fn capture(mut self, point: HookPoint) -> Self {
        self.captures.push(point);
        self
    }

    /// Keeps the activations at all of `points`. By default none is kept.
    #[must_use]
    pub fn capture_all(mut self, points: impl IntoIterator<Item = HookPoint>) -> Self {
        self.captures.extend(points);
        self
    }

    /// Goes on with `change(activation)` at `point`; several changes act in the order given. The
    /// result must have the activation's shape and dtype. In an f16 or bf16 model, convert other
    /// tensors first: `x.broadcast_add(&direction.to_dtype(x.dtype())?)`. By default nothing changes.
    #[must_use]
    pub fn replace(
        mut self,
        point: HookPoint,
        change: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        self.replacements.entry(point).or_default().push(Arc::new(change));
        self
    }

    /// Keeps activations in the host's memory, wherever the model is: what a GPU holds is free for
    /// the rest of the pass. By default they stay where the model is.
    #[must_use]
    pub fn on_cpu(mut self) -> Self {
        self.on_cpu = true;
        self
    }

    /// Every point that something is kept or exchanged at.
    pub(super) fn points(&self) -> impl Iterator<Item = HookPoint> {
        self.captures.iter().chain(self.replacements.keys()).copied()
    }

    /// Fails for a point that no forward pass of such a model reaches.
    pub(super) fn check(&self, config: &Config) -> Result<()> {
        for point in self.points() {
            if let Some(reason) = point.never(config) {
                let what = format!("the hook at {point}, which never fires here,");
                return Err(Error::invalid(what, reason, point.long_name()));
            }
        }
        Ok(())
    }

    /// Whether nothing is kept or exchanged anywhere.
    pub(super) fn is_empty(&self) -> bool {
        self.captures.is_empty() && self.replacements.is_empty()
    }

    /// Whether nothing is kept or exchanged at any of `points`.
    pub(super) fn pass_by_all(&self, points: &[HookPoint]) -> bool {
        self.is_empty() || points.iter().all(|point| self.pass_by(*point))
    }

    /// Whether nothing is kept or exchanged at `point`.
    pub(super) fn pass_by(&self, point: HookPoint) -> bool {
        !self.captures.contains(&point) && !self.replacements.contains_key(&point)
    }

    /// Lets the hooks at `point` act on `activation`, and keeps what they leave in `cache`.
    pub(super) fn at(
        &self,
        point: HookPoint,
        activation: Tensor,
        cache: &mut Cache,
    ) -> Result<Tensor> {
        let mut activation = activation;
        for change in self.replacements.get(&point).into_iter().flatten() {
            let dtype = activation.dtype();
            let changed =
                change(&activation).map_err(|reason| of_two_dtypes(reason, point, dtype))?;
            if changed.dims() != activation.dims() {
                let what = format!("what replaces {point}");
                return Err(Error::shape(what, format!("{:?}", activation.dims()), changed.dims()));
            }
            if changed.dtype() != dtype {
                let expected = format!(
                    "{}, as the activation is: end the hook with `.to_dtype(x.dtype())?`",
                    dtype.as_str()
                );
                let what = format!("the dtype of what replaces {point}");
                return Err(Error::invalid(what, expected, changed.dtype().as_str()));
            }
            activation = changed;
        }
        if self.captures.contains(&point) {
            let kept = match self.on_cpu {
                true => activation.to_device(&Device::Cpu)?,
                false => activation.clone(),
            };
            cache.0.insert(point, kept);
        }
        Ok(activation)
    }
}

/// What a hook failed with, in words if it mixed the dtype of its activation with another.
fn of_two_dtypes(reason: Error, point: HookPoint, dtype: DType) -> Error {
    let mut inner = match &reason {
        Error::Tensor(inner) => inner,
        _ => return reason,
    };
    loop {
        inner = match inner {
            candle_core::Error::WithBacktrace { inner, .. }
            | candle_core::Error::Context { inner, .. }
            | candle_core::Error::WithPath { inner, .. } => inner,
            candle_core::Error::DTypeMismatchBinaryOp { lhs, rhs, op } => {
                let expected = format!(
                    "of one dtype, {} here: convert other tensors with `.to_dtype(x.dtype())?`, or \
                     the activation with `x.to_dtype(DType::F32)?` and the result back",
                    dtype.as_str()
                );
                let found = format!("{} and {} in `{op}`", lhs.as_str(), rhs.as_str());
                return Error::invalid(
                    format!("what the hook at {point} computes"),
                    expected,
                    found,
                );
            }
            _ => return reason,
        };
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |points: Vec<&HookPoint>| -> Vec<String> {
            points.iter().map(ToString::to_string).collect()
        };
        f.debug_struct("Hooks")
            .field("capture", &names(self.captures.iter().collect()))
            .field("replace", &names(self.replacements.keys().collect()))
            .finish()
    }
}

/// The activations that a forward pass kept.
#[derive(Debug, Clone, Default)]
pub struct Cache(BTreeMap<HookPoint, Tensor>);

impl Cache {
    /// The activation at `point`.
    ///
    /// # Errors
    /// A point that no hook captured.
    pub fn get(&self, point: HookPoint) -> Result<&Tensor> {
        self.0.get(&point).ok_or_else(|| Error::NotFound {
            what: format!("the activation {point}"),
            hint: format!("Capture it first: Hooks::new().capture({point:?})."),
        })
    }

    /// The activation at `point` as a handle to the same data, where [`get`](Self::get) borrows it: a
    /// notebook keeps a variable for later cells only if it borrows nothing.
    ///
    /// # Errors
    /// A point that no hook captured.
    pub fn tensor(&self, point: HookPoint) -> Result<Tensor> {
        self.get(point).cloned()
    }

    /// Keeps an activation.
    pub(super) fn insert(&mut self, point: HookPoint, activation: Tensor) {
        self.0.insert(point, activation);
    }

    /// All points and their activations, by kind.
    pub fn iter(&self) -> impl Iterator<Item = (HookPoint, &Tensor)> {
        self.0.iter().map(|(point, tensor)| (*point, tensor))
    }
}
