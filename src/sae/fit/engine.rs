//! The two ways of training.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};

use super::host::Host;
use super::setup::{Moment, Outcome, Setup, Weight};
use super::source::Batch;
use super::tensors::Tensors;
use crate::Result;

/// Where the weights are while they change.
#[derive(Debug)]
pub(super) enum Engine {
    Host(Box<Host>),
    Tensors(Box<Tensors>),
}

impl Engine {
    /// Training on the CPU without a graph, elsewhere through tensors.
    pub(super) fn new(setup: &Setup, start: Vec<Weight>, device: &Device) -> Result<Self> {
        Ok(match device.is_cpu() {
            true => Self::Host(Box::new(Host::new(setup.clone(), start))),
            false => Self::Tensors(Box::new(Tensors::new(setup.clone(), &start, device)?)),
        })
    }

    /// Moves the weights.
    pub(super) fn step(&mut self, batch: Batch<'_>, moment: &Moment<'_>) -> Result<Outcome> {
        match self {
            Self::Host(host) => Ok(host.step(batch, moment)),
            Self::Tensors(tensors) => tensors.step(batch, moment),
        }
    }

    /// The weights as they are now.
    pub(super) fn weights(&self) -> Result<Vec<Weight>> {
        match self {
            Self::Host(host) => Ok(host.weights.clone()),
            Self::Tensors(tensors) => {
                let weight = |var: &Var| {
                    let values = var.as_detached_tensor().to_dtype(DType::F32)?.flatten_all()?;
                    Ok(Weight { shape: var.dims().to_vec(), values: values.to_vec1()? })
                };
                tensors.weights.iter().map(weight).collect()
            }
        }
    }

    /// Weights and moments, by name.
    pub(super) fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut all = HashMap::new();
        match self {
            Self::Host(host) => {
                let moments = host.means.iter().zip(&host.squares);
                for (i, (weight, (mean, square))) in host.weights.iter().zip(moments).enumerate() {
                    let own = [("parameter", &weight.values), ("mean", mean), ("square", square)];
                    for (name, values) in own {
                        let tensor = Tensor::from_slice(values, &*weight.shape, &Device::Cpu)?;
                        all.insert(format!("{name}.{i}"), tensor);
                    }
                }
            }
            Self::Tensors(tensors) => {
                all.extend(tensors.adam.state()?.1);
                for (i, weight) in tensors.weights.iter().enumerate() {
                    all.insert(format!("parameter.{i}"), weight.as_detached_tensor());
                }
            }
        }
        Ok(all)
    }

    /// Takes over what [`Engine::state`] gave after `step` steps.
    pub(super) fn restore(
        &mut self,
        step: usize,
        take: &mut dyn FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<()> {
        match self {
            Self::Host(host) => {
                host.steps = step;
                let moments = host.means.iter_mut().zip(&mut host.squares);
                for (i, (weight, (mean, square))) in
                    host.weights.iter_mut().zip(moments).enumerate()
                {
                    let own =
                        [("parameter", &mut weight.values), ("mean", mean), ("square", square)];
                    for (name, values) in own {
                        let tensor = take(&format!("{name}.{i}"), &weight.shape)?;
                        *values = tensor.flatten_all()?.to_vec1()?;
                    }
                }
                Ok(())
            }
            Self::Tensors(tensors) => {
                for (i, weight) in tensors.weights.iter().enumerate() {
                    weight.set(&take(&format!("parameter.{i}"), weight.dims())?)?;
                }
                tensors.adam.restore(step, take)
            }
        }
    }
}
