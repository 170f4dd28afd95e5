//! The weights of a kind in training, by name.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::sae::kind::extras::ExtraWeights;
use crate::sae::kind::training::{ExtrasOf, SaeKind};

/// The weights of a kind K, each a T: numbers, a variable, a tensor.
pub(super) struct KindWeights<K: SaeKind, T: Send + Sync> {
    /// The encoder `[m, d]`; none if it is the decoder's transpose throughout.
    pub(super) encoder: Option<T>,
    /// The decoder's transpose `[m, d_out]`; its rows have length one.
    pub(super) decoder: T,
    pub(super) small: SmallWeights<K, T>,
}

/// The weights that are vectors.
pub(super) struct SmallWeights<K: SaeKind, T: Send + Sync> {
    /// b `[d_out]`, if there is one.
    pub(super) bias: Option<T>,
    /// e `[m]`, if there is one.
    pub(super) encoder_bias: Option<T>,
    /// What the kind has beyond these, `[m]` each.
    pub(super) extras: ExtrasOf<K, T>,
}

impl<K: SaeKind, T: Send + Sync> KindWeights<K, T> {
    /// What the encoder multiplies with.
    pub(super) fn reading(&self) -> &T {
        self.encoder.as_ref().unwrap_or(&self.decoder)
    }

    /// A reference to each, in the order in which a checkpoint numbers them.
    pub(super) fn refs(&self) -> Vec<&T> {
        let matrices = self.encoder.iter().chain([&self.decoder]);
        matrices.chain(self.small.refs()).collect()
    }

    /// The same, mutable.
    pub(super) fn refs_mut(&mut self) -> Vec<&mut T> {
        let matrices = self.encoder.iter_mut().chain([&mut self.decoder]);
        matrices.chain(self.small.refs_mut()).collect()
    }

    /// What `change` makes of each.
    pub(super) fn try_map<U: Send + Sync>(
        &self,
        change: impl Fn(&T) -> Result<U>,
    ) -> Result<KindWeights<K, U>> {
        let SmallWeights { bias, encoder_bias, extras } = &self.small;
        Ok(KindWeights {
            encoder: self.encoder.as_ref().map(&change).transpose()?,
            decoder: change(&self.decoder)?,
            small: SmallWeights {
                bias: bias.as_ref().map(&change).transpose()?,
                encoder_bias: encoder_bias.as_ref().map(&change).transpose()?,
                extras: K::Extras::try_map(K::Extras::refs(extras), &change)?,
            },
        })
    }
}

impl<K: SaeKind, T: Send + Sync> SmallWeights<K, T> {
    /// A reference to each.
    pub(super) fn refs(&self) -> Vec<&T> {
        let biases = self.bias.iter().chain(&self.encoder_bias);
        biases.chain(K::Extras::list(K::Extras::refs(&self.extras))).collect()
    }

    /// The same, mutable.
    pub(super) fn refs_mut(&mut self) -> Vec<&mut T> {
        let biases = self.bias.iter_mut().chain(&mut self.encoder_bias);
        biases.chain(K::Extras::list(K::Extras::refs_mut(&mut self.extras))).collect()
    }
}

/// The numbers of a weight, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WeightArray {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

impl WeightArray {
    /// A vector.
    pub(super) fn vector(values: Vec<f32>) -> Self {
        Self { shape: vec![values.len()], values }
    }

    /// A matrix with rows of `width`.
    pub(super) fn matrix(values: Vec<f32>, width: usize) -> Self {
        Self { shape: vec![values.len() / width, width], values }
    }

    pub(super) fn to_tensor(&self, device: &Device) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.values, &*self.shape, device)?)
    }
}

/// A weight on the host, with Adam's moments.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
    /// The running mean of its gradients, and of their squares.
    pub(super) mean: Vec<f32>,
    pub(super) square: Vec<f32>,
}

impl Parameter {
    pub(super) fn new(array: &WeightArray) -> Self {
        let WeightArray { shape, values } = array.clone();
        let zeros = vec![0.0; values.len()];
        Self { shape, values, mean: zeros.clone(), square: zeros }
    }

    pub(super) fn to_tensor(&self, device: &Device) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.values, &*self.shape, device)?)
    }

    /// The names by which a checkpoint has weight `i`.
    pub(super) fn names(i: usize) -> [String; 3] {
        ["parameter", "mean", "square"].map(|name| format!("{name}.{i}"))
    }
}
