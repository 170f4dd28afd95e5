//! The model: weights and forward pass.

use std::fmt;

use candle_core::{D, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::LabelledImages;
use crate::bilinear::{interactions, symmetrise};
use crate::check::check_sizes;
use crate::display::show_as_text;
use crate::linalg::{matmul, matmul_nt};
use crate::random::Rng;
use crate::train::accuracy;
use crate::{Error, Result};

/// Rows a forward pass without gradients takes at once, to bound its memory.
const ROWS: usize = 4096;

/// Sizes and parts of an [`ImageModel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Rows of an image; 28.
    pub height: usize,
    /// Columns of an image; 28.
    pub width: usize,
    /// Classes; 10.
    pub classes: usize,
    /// Width of the embedding and of every bilinear layer; 256.
    pub d_hidden: usize,
    /// Bilinear layers; 1.
    pub layers: usize,
    /// Whether each layer adds to its input instead of replacing it; false.
    pub residual: bool,
    /// Whether the two maps of each layer have a bias: `(Le + b) ⊙ (Re + c)`; false. Embedding and
    /// head never have one.
    pub bias: bool,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            height: 28,
            width: 28,
            classes: 10,
            d_hidden: 256,
            layers: 1,
            residual: false,
            bias: false,
        }
    }
}

impl ImageConfig {
    /// Pixels of an image.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    pub(super) fn check(&self) -> Result<()> {
        check_sizes(&[
            ("the height", self.height),
            ("the width", self.width),
            ("the number of classes", self.classes),
            ("d_hidden", self.d_hidden),
            ("the number of layers", self.layers),
        ])
    }
}

/// A bilinear image classifier. A cheap handle: clones share weights, and [`ImageModel::fit`]
/// changes them in place.
#[derive(Debug, Clone)]
pub struct ImageModel {
    pub(super) config: ImageConfig,
    pub(super) embed: Var,
    pub(super) layers: Vec<Layer>,
    pub(super) head: Var,
}

#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) left: Var,
    pub(super) right: Var,
    pub(super) bias: Option<(Var, Var)>,
}

impl ImageModel {
    /// A model with random weights, uniform in ±1/√fan-in as PyTorch's linear layers.
    ///
    /// # Errors
    /// A size of zero.
    pub fn new(config: ImageConfig, seed: u64, device: &Device) -> Result<Self> {
        config.check()?;
        let mut rng = Rng::seed(seed);
        let d = config.d_hidden;
        let mut linear = |outputs, inputs| -> Result<Var> {
            Ok(Var::from_tensor(&rng.linear(outputs, inputs, device)?)?)
        };
        let embed = linear(d, config.pixels())?;
        let mut layers = Vec::new();
        for _ in 0..config.layers {
            let (left, right) = (linear(d, d)?, linear(d, d)?);
            let bias = match config.bias {
                true => Some((column(linear(d, 1)?, d)?, column(linear(d, 1)?, d)?)),
                false => None,
            };
            layers.push(Layer { left, right, bias });
        }
        let head = linear(config.classes, d)?;
        Ok(Self { config, embed, layers, head })
    }

    /// A model of one layer with given weights: `embed` `[d_hidden, height·width]`, `left` and
    /// `right` `[d_hidden, d_hidden]`, `head` `[classes, d_hidden]`.
    ///
    /// # Errors
    /// Shapes that do not match.
    pub fn from_weights(
        height: usize,
        width: usize,
        embed: &Tensor,
        left: &Tensor,
        right: &Tensor,
        head: &Tensor,
    ) -> Result<Self> {
        let d_hidden = embed.dims().first().copied().unwrap_or(0);
        let classes = head.dims().first().copied().unwrap_or(0);
        let config = ImageConfig { height, width, classes, d_hidden, ..ImageConfig::default() };
        config.check()?;
        let pixels = config.pixels();
        let var = |what: &str, weights: &Tensor, rows: usize, columns: usize| {
            if weights.dims() != [rows, columns] {
                return Err(Error::shape(what, format!("[{rows}, {columns}]"), weights.dims()));
            }
            Ok(Var::from_tensor(weights)?)
        };
        let embed = var("embed", embed, d_hidden, pixels)?;
        let left = var("left", left, d_hidden, d_hidden)?;
        let right = var("right", right, d_hidden, d_hidden)?;
        let head = var("head", head, classes, d_hidden)?;
        Ok(Self { config, embed, layers: vec![Layer { left, right, bias: None }], head })
    }

    /// Sizes and parts.
    pub fn config(&self) -> ImageConfig {
        self.config
    }

    /// Embedding E, `[d_hidden, pixels]`.
    pub fn embed(&self) -> Tensor {
        self.embed.as_detached_tensor()
    }

    /// Head H, `[classes, d_hidden]`.
    pub fn head(&self) -> Tensor {
        self.head.as_detached_tensor()
    }

    /// Left weights L of layer `layer`, `[d_hidden, d_hidden]`.
    ///
    /// # Errors
    /// A layer that the model does not have.
    pub fn left(&self, layer: usize) -> Result<Tensor> {
        Ok(self.layer(layer)?.left.as_detached_tensor())
    }

    /// Right weights R of layer `layer`, `[d_hidden, d_hidden]`.
    ///
    /// # Errors
    /// A layer that the model does not have.
    pub fn right(&self, layer: usize) -> Result<Tensor> {
        Ok(self.layer(layer)?.right.as_detached_tensor())
    }

    fn layer(&self, layer: usize) -> Result<&Layer> {
        self.layers.get(layer).ok_or_else(|| {
            Error::invalid("the layer", format!("below {}", self.layers.len()), layer)
        })
    }

    /// Logits of images `[n, …]` with `height·width` pixels each, `[n, classes]`. No gradient
    /// reaches the weights; one reaches `x` if it is tracked.
    ///
    /// # Errors
    /// Another number of pixels.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.flatten(x)?;
        let rows = x.dim(0)?;
        let chunks = (0..rows)
            .step_by(ROWS)
            .map(|start| self.run(&x.narrow(0, start, ROWS.min(rows - start))?, false))
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&chunks, 0)?)
    }

    /// The class of the largest logit of each image, u32 `[n]`.
    ///
    /// # Errors
    /// Another number of pixels.
    pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.logits(x)?.argmax(D::Minus1)?)
    }

    /// The share of images that are classified right, in `[0, 1]`.
    ///
    /// # Errors
    /// Images or labels that do not fit the model.
    pub fn accuracy(&self, samples: impl Into<LabelledImages>) -> Result<f64> {
        let samples = samples.into();
        accuracy(&self.logits(&samples.images)?, &samples.labels)
    }

    /// The naive interaction matrix of a class in pixel space, ½(B + Bᵀ) with
    /// `B = Σ_h H_ch (L_h E)ᵀ(R_h E)`, `[pixels, pixels]`: `logit_c = xᵀBx`.
    ///
    /// # Errors
    /// A class that the model does not have; a model whose logits are no quadratic form (see
    /// [`ImageModel::decompose`]).
    pub fn pixel_interactions(&self, class: usize) -> Result<Tensor> {
        if class >= self.config.classes {
            let expected = format!("below {}", self.config.classes);
            return Err(Error::invalid("the class", expected, class));
        }
        let (left, right) = self.pixel_maps()?;
        symmetrise(&interactions(&self.head().get(class)?, &left, &right)?)
    }

    /// `L E` and `R E`, `[d_hidden, pixels]`.
    pub(crate) fn pixel_maps(&self) -> Result<(Tensor, Tensor)> {
        let (left, right) = self.quadratic()?;
        let embed = self.embed();
        Ok((matmul(&left, &embed)?, matmul(&right, &embed)?))
    }

    /// The layer's `(L, R)`, where the logits are a quadratic form of the input.
    pub(crate) fn quadratic(&self) -> Result<(Tensor, Tensor)> {
        let ImageConfig { layers, residual, bias, .. } = self.config;
        let found = match (layers, bias, residual) {
            (1, false, false) => return Ok((self.left(0)?, self.right(0)?)),
            (1, true, _) => "a bias, which adds linear and constant terms".to_owned(),
            (1, false, true) => "a residual, which adds a linear term".to_owned(),
            _ => format!(
                "{layers} layers, which make a polynomial of degree {}",
                1u64 << layers.min(63)
            ),
        };
        let expected = "of one layer without bias or residual: only then is every logit a \
                        quadratic form";
        Err(Error::invalid("a model to decompose", expected, found))
    }

    /// Images as `[n, pixels]` of the weights' dtype.
    pub(crate) fn flatten(&self, x: &Tensor) -> Result<Tensor> {
        let pixels = self.config.pixels();
        if x.rank() < 2 || x.dim(0)? == 0 || x.elem_count() != x.dim(0)? * pixels {
            let ImageConfig { height, width, .. } = self.config;
            let expected = format!("[n, 1, {height}, {width}] or [n, {pixels}] with n ≥ 1");
            return Err(Error::shape("images", expected, x.dims()));
        }
        Ok(x.flatten_from(1)?.to_dtype(self.embed.dtype())?)
    }

    /// The forward pass on `[n, pixels]`, with a graph for the weights' gradients or without.
    pub(super) fn run(&self, x: &Tensor, graph: bool) -> Result<Tensor> {
        let weights = |var: &Var| match graph {
            true => var.as_tensor().clone(),
            false => var.as_detached_tensor(),
        };
        let mut e = matmul_nt(x, &weights(&self.embed))?;
        for layer in &self.layers {
            let mut left = matmul_nt(&e, &weights(&layer.left))?;
            let mut right = matmul_nt(&e, &weights(&layer.right))?;
            if let Some((left_bias, right_bias)) = &layer.bias {
                left = left.broadcast_add(&weights(left_bias))?;
                right = right.broadcast_add(&weights(right_bias))?;
            }
            let product = (left * right)?;
            e = if self.config.residual { (e + product)? } else { product };
        }
        matmul_nt(&e, &weights(&self.head))
    }

    /// All weights with their names in a saved model.
    pub(super) fn named(&self) -> Vec<(String, Var)> {
        let mut named = vec![("embed.weight".to_owned(), self.embed.clone())];
        for (i, layer) in self.layers.iter().enumerate() {
            named.push((format!("layers.{i}.left.weight"), layer.left.clone()));
            named.push((format!("layers.{i}.right.weight"), layer.right.clone()));
            if let Some((left, right)) = &layer.bias {
                named.push((format!("layers.{i}.left.bias"), left.clone()));
                named.push((format!("layers.{i}.right.bias"), right.clone()));
            }
        }
        named.push(("head.weight".to_owned(), self.head.clone()));
        named
    }
}

fn column(var: Var, length: usize) -> Result<Var> {
    Ok(Var::from_tensor(&var.as_detached_tensor().reshape(length)?)?)
}

show_as_text!(ImageModel);

impl fmt::Display for ImageModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ImageConfig { height, width, classes, d_hidden, layers, residual, bias } = self.config;
        let parameters: usize = self.named().iter().map(|(_, var)| var.elem_count()).sum();
        let plural = if layers == 1 { "" } else { "s" };
        write!(
            f,
            "bilinear image model: {height}×{width} pixels → {d_hidden} → {layers} bilinear \
             layer{plural}{}{} → {classes} classes, {parameters} parameters",
            if residual { ", residual" } else { "" },
            if bias { ", bias" } else { "" },
        )
    }
}

#[cfg(test)]
impl ImageModel {
    /// The same model in f64, for checks of gradients.
    pub(crate) fn widened(&self) -> Self {
        let wide =
            |var: &Var| Var::from_tensor(&var.to_dtype(candle_core::DType::F64).unwrap()).unwrap();
        let layers = self
            .layers
            .iter()
            .map(|layer| Layer {
                left: wide(&layer.left),
                right: wide(&layer.right),
                bias: layer.bias.as_ref().map(|(left, right)| (wide(left), wide(right))),
            })
            .collect();
        Self { config: self.config, embed: wide(&self.embed), layers, head: wide(&self.head) }
    }
}
