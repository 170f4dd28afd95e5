//! The residual stream at one place of every problem, before each layer and after the last.

use std::fmt;

use candle_core::{DType, Device, Tensor};

use super::pass::stream_point;
use super::problems::{Problems, Role};
use crate::display::show_as_text;
use crate::geometry::{FourierPower, Probe, ProbeOptions, Targets};
use crate::linalg::{Pca, pca};
use crate::model::Decoder;
use crate::progress::Progress;
use crate::{Error, Result};

/// Problems of one pass.
const BATCH: usize = 32;

/// Residual streams of problems at one role's position.
///
/// Layer `l` is the stream before layer l; that after the last layer has their number. So layer 0 is
/// what the first layer reads, positions included where they are learned.
#[derive(Debug, Clone)]
pub struct Streams {
    role: Role,
    period: usize,
    class_names: Vec<String>,
    class_of: Vec<usize>,
    layers: Vec<Tensor>,
}

impl Problems {
    /// Residual streams at the position of `role`, before each layer and after the last one.
    ///
    /// # Errors
    /// As [`Decoder::run`]; [`Error::Invalid`] for the step of a task that shows none;
    /// [`Error::Interrupted`] when Stop is pressed.
    pub fn activations(&self, model: &Decoder, role: Role) -> Result<Streams> {
        let layers = model.config().layers;
        let points: Vec<_> = (0..=layers).map(|layer| stream_point(model, layer)).collect();
        let mut rows: Vec<Vec<Option<Tensor>>> = vec![vec![None; self.len()]; points.len()];
        let all: Vec<usize> = (0..self.len()).collect();
        let mut progress = Progress::new("activations", self.len() as u64, "problem");
        for batch in self.batches(&all, BATCH) {
            let cache = model.activations(&self.tokens(&batch, model)?, &points)?;
            for (rows, point) in rows.iter_mut().zip(&points) {
                let stream = cache.get(*point)?.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
                for (i, &problem) in batch.iter().enumerate() {
                    let position = self.get(problem)?.position(role)?;
                    rows[problem] = Some(stream.get(i)?.get(position)?);
                }
            }
            if progress.advance(batch.len() as u64) {
                return Err(Error::Interrupted { what: "the activations".to_owned() });
            }
        }
        let stacked = rows.into_iter().map(|rows| {
            // Every problem is in one batch.
            let rows: Vec<Tensor> = rows.into_iter().flatten().collect();
            Ok(Tensor::stack(&rows, 0)?)
        });
        let layers = stacked.collect::<Result<Vec<_>>>()?;
        let (period, class_of) = (self.task().period(), self.classes(role));
        let class_names = match role {
            Role::Start | Role::Last => self.task().words().to_vec(),
            Role::Step => (0..period).map(|step| step.to_string()).collect(),
        };
        Ok(Streams { role, period, class_names, class_of, layers })
    }
}

impl Streams {
    /// The role whose position they are at.
    pub fn role(&self) -> Role {
        self.role
    }

    /// How many there are: one more than the model has layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are none, which no model has.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The stream before layer `layer`, `[problems, d_model]`, f32 on the CPU.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer beyond the stream after the last one.
    pub fn layer(&self, layer: usize) -> Result<Tensor> {
        self.layers.get(layer).cloned().ok_or_else(|| {
            let expected = format!("at most {}, the stream after the last", self.len() - 1);
            Error::invalid("the layer", expected, layer)
        })
    }

    /// The class of each problem in the role.
    pub fn class_of(&self) -> &[usize] {
        &self.class_of
    }

    /// The names of the classes in their order around the circle: the words, or the steps mod p.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Circles of these frequencies for the classes of the problems.
    ///
    /// # Errors
    /// As [`Targets::circle`].
    pub fn circle(&self, frequencies: &[usize]) -> Result<Targets> {
        Targets::circle(self.class_of.clone(), self.period, frequencies)
    }

    /// A probe of circles of these frequencies.
    ///
    /// # Errors
    /// As [`Streams::layer`], [`Targets::circle`] and [`Probe::fit`].
    pub fn probe(
        &self,
        layer: usize,
        frequencies: &[usize],
        options: &ProbeOptions,
    ) -> Result<Probe> {
        Probe::fit(&self.layer(layer)?, &self.circle(frequencies)?, options)
    }

    /// The first `k` principal components of a layer.
    ///
    /// # Errors
    /// As [`Streams::layer`] and [`pca`].
    pub fn pca(&self, layer: usize, k: usize) -> Result<Pca> {
        pca(&self.layer(layer)?, k)
    }

    /// The power of frequencies around the circle in the means of a layer's classes.
    ///
    /// # Errors
    /// As [`Streams::layer`] and [`FourierPower::of`].
    pub fn fourier(&self, layer: usize) -> Result<FourierPower> {
        FourierPower::of(&self.layer(layer)?, &self.class_of, self.period)
    }
}

show_as_text!(Streams);

impl fmt::Display for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.layers.first().map_or(0, |layer| layer.dims()[1]);
        let (layers, problems, role) = (self.len(), self.class_of.len(), self.role);
        write!(f, "Residual streams of {problems} problems at the {role}, {layers} × {width}")
    }
}
