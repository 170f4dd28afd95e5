//! The cosine similarity of two tensors given by their factors, and its gradient.
//!
//! Write `sym(abᵀ) = ½(abᵀ + baᵀ)`. Then `⟨sym(abᵀ), sym(cdᵀ)⟩ = ½ ((a·c)(b·d) + (a·d)(b·c))`,
//! and with the model's rank-one terms h and ours r,
//!
//! ```text
//! ⟨P, T⟩ = ½ Σ_hr D ∘ (U ∘ V + W ∘ Z)      D = Hᵀ down
//!     U = Lᵀl, V = Rᵀr, W = Lᵀr, Z = Rᵀl   (products of pixel vectors)
//! ‖T‖²   = ½ Σ (downᵀdown) ∘ (lᵀl ∘ rᵀr + lᵀr ∘ rᵀl)
//! ```
//!
//! which costs hidden × pixels × rank instead of classes × pixels².

use candle_core::{DType, Tensor};

use super::CpdModel;
use crate::bilinear::image::ImageModel;
use crate::bilinear::symmetrise;
use crate::check::check_finite;
use crate::linalg::{matmul, matmul_nt, matmul_tn};
use crate::{Error, Result};

/// `1 − similarity`, differentiated.
#[derive(Debug, Clone)]
pub struct SimilarityGradients {
    /// The cosine similarity itself, in `[−1, 1]`.
    pub similarity: f64,
    /// `∂(1 − similarity)/∂left`, `[pixels, rank]`.
    pub left: Tensor,
    /// `∂(1 − similarity)/∂right`, `[pixels, rank]`.
    pub right: Tensor,
    /// `∂(1 − similarity)/∂down`, `[classes, rank]`.
    pub down: Tensor,
}

/// A tensor of interaction matrices in pixel space, `P_c = Σ_h H_ch ½(L_h R_hᵀ + R_h L_hᵀ)`, held
/// by its factors: what a [`CpdModel`] is fitted to.
#[derive(Debug, Clone)]
pub struct InteractionTensor {
    /// The left maps L above the right ones R, `[2·hidden, pixels]`.
    maps: Tensor,
    /// H, `[classes, hidden]`.
    head: Tensor,
    norm: f64,
}

/// `⟨P, T⟩`, `‖T‖²` and what the gradients share.
struct TensorProducts {
    weights: Tensor,
    maps: Tensor,
    pairs: Tensor,
    dot: f64,
    gram_left: Tensor,
    gram_right: Tensor,
    gram_cross: Tensor,
    gram_down: Tensor,
    gram_pairs: Tensor,
    square: f64,
}

impl CpdModel {
    /// The cosine similarity of these factors' tensor and the model's, in `[−1, 1]`.
    ///
    /// # Errors
    /// A model of another size, or one whose logits are no quadratic form (see
    /// [`ImageModel::decompose`]); weights or factors that are zero or not finite.
    pub fn similarity(&self, model: &ImageModel) -> Result<f64> {
        InteractionTensor::of(model)?.similarity(self)
    }
}

impl InteractionTensor {
    /// The tensor of `model`.
    ///
    /// # Errors
    /// A model whose logits are no quadratic form (see [`ImageModel::decompose`]); weights that are
    /// zero or not finite.
    pub fn of(model: &ImageModel) -> Result<Self> {
        let (left, right) = model.pixel_maps()?;
        Self::from_factors(left, right, model.head())
    }

    /// The tensor `½ Eᵀ(B_c + B_cᵀ)E` of given interaction matrices `b` `[classes, d, d]` on an
    /// embedding `embed` `[d, pixels]`.
    ///
    /// # Errors
    /// Shapes that do not match; entries that are all zero or not finite.
    pub fn from_matrices(b: &Tensor, embed: &Tensor) -> Result<Self> {
        let d = match *embed.dims() {
            [d, _] if d > 0 => d,
            _ => return Err(Error::shape("the embedding", "[d, pixels]", embed.dims())),
        };
        let classes = match *b.dims() {
            [classes, rows, columns] if classes > 0 && rows == d && columns == d => classes,
            _ => {
                let expected = format!("[classes, {d}, {d}]");
                return Err(Error::shape("the interaction matrices", expected, b.dims()));
            }
        };
        // B = Σ_i e_i B[i, ·]: one hidden neuron for each row of each matrix.
        let right = matmul(&symmetrise(b)?.reshape((classes * d, d))?, embed)?;
        let left = Tensor::cat(&vec![embed; classes], 0)?;
        let head = Tensor::eye(classes, embed.dtype(), embed.device())?.unsqueeze(2)?;
        let head = head.broadcast_as((classes, classes, d))?.reshape((classes, classes * d))?;
        Self::from_factors(left, right, head)
    }

    fn from_factors(left: Tensor, right: Tensor, head: Tensor) -> Result<Self> {
        for (what, weights) in [("left", &left), ("right", &right), ("head", &head)] {
            check_finite(&format!("the model's {what} weights"), weights)?;
        }
        let (gram_left, gram_right) = (matmul_nt(&left, &left)?, matmul_nt(&right, &right)?);
        let gram_cross = matmul_nt(&left, &right)?;
        let pairs = ((gram_left * gram_right)? + (&gram_cross * gram_cross.t()?)?)?;
        let square = 0.5 * sum(&(matmul_tn(&head, &head)? * pairs)?)?;
        let norm = length("the model's tensor", square)?;
        Ok(Self { maps: Tensor::cat(&[left, right], 0)?, head, norm })
    }

    /// Its cosine similarity to the tensor of `cpd`, in `[−1, 1]`.
    ///
    /// # Errors
    /// Factors of another size, or that are zero or not finite.
    pub fn similarity(&self, cpd: &CpdModel) -> Result<f64> {
        self.cosine(&self.products(cpd)?)
    }

    fn check(&self, cpd: &CpdModel) -> Result<()> {
        let (pixels, classes) = (self.maps.dim(1)?, self.head.dim(0)?);
        if cpd.left.dims()[0] == pixels && cpd.classes() == classes {
            return Ok(());
        }
        let expected = format!("{pixels} pixels and {classes} classes, as the model has");
        Err(Error::shape("the factors (left, down)", expected, (cpd.left.dims(), cpd.down.dims())))
    }

    fn products(&self, cpd: &CpdModel) -> Result<TensorProducts> {
        self.check(cpd)?;
        let (left, right, down) = (cpd.left(), cpd.right(), cpd.down());
        let (hidden, rank) = (self.head.dim(1)?, cpd.rank());
        let weights = matmul_tn(&self.head, &down)?;
        let maps = matmul(&self.maps, &Tensor::cat(&[&left, &right], 1)?)?;
        let block = |row: usize, column: usize| -> Result<Tensor> {
            Ok(maps.narrow(0, row * hidden, hidden)?.narrow(1, column * rank, rank)?)
        };
        let pairs = ((block(0, 0)? * block(1, 1)?)? + (block(0, 1)? * block(1, 0)?)?)?;
        let dot = 0.5 * sum(&(&weights * &pairs)?)?;
        let (gram_left, gram_right) = (matmul_tn(&left, &left)?, matmul_tn(&right, &right)?);
        let gram_cross = matmul_tn(&left, &right)?;
        let gram_down = matmul_tn(&down, &down)?;
        let gram_pairs = ((&gram_left * &gram_right)? + (&gram_cross * gram_cross.t()?)?)?;
        let square = 0.5 * sum(&(&gram_down * &gram_pairs)?)?;
        Ok(TensorProducts {
            weights,
            maps,
            pairs,
            dot,
            gram_left,
            gram_right,
            gram_cross,
            gram_down,
            gram_pairs,
            square,
        })
    }

    fn cosine(&self, products: &TensorProducts) -> Result<f64> {
        Ok(products.dot / (length("the factors' tensor", products.square)? * self.norm))
    }

    /// The similarity to `cpd`, and the gradients of `1 − similarity` with respect to its factors.
    ///
    /// # Errors
    /// As [`InteractionTensor::similarity`].
    pub fn gradients(&self, cpd: &CpdModel) -> Result<SimilarityGradients> {
        let products = self.products(cpd)?;
        let similarity = self.cosine(&products)?;
        let TensorProducts { weights, maps, pairs, dot, square, gram_down, gram_cross, .. } =
            &products;
        let (left, right, down) = (cpd.left(), cpd.right(), cpd.down());
        let (hidden, rank) = (self.head.dim(1)?, cpd.rank());
        // ∂⟨P, T⟩: each block of the maps, weighted, meets the map of its partner.
        let block = |row: usize, column: usize| -> Result<Tensor> {
            let block = maps.narrow(0, row * hidden, hidden)?.narrow(1, column * rank, rank)?;
            Ok((weights * block)?)
        };
        let above = Tensor::cat(&[block(1, 1)?, block(1, 0)?], 1)?;
        let below = Tensor::cat(&[block(0, 1)?, block(0, 0)?], 1)?;
        let dot_sides = matmul_tn(&self.maps, &Tensor::cat(&[above, below], 0)?)?;
        let dot_down = matmul(&self.head, pairs)?;
        // ∂‖T‖², of which the chain rule takes half, as the dot product above does of its own.
        let square_left = (matmul(&left, &(gram_down * &products.gram_right)?)?
            + matmul(&right, &(gram_down * gram_cross)?)?)?;
        let square_right = (matmul(&right, &(gram_down * &products.gram_left)?)?
            + matmul(&left, &(gram_down * gram_cross.t()?)?)?)?;
        let square_down = matmul(&down, &products.gram_pairs)?;
        let scale = -0.5 / (square.sqrt() * self.norm);
        let share = dot / square;
        let combine = |of_dot: Tensor, of_square: Tensor| -> Result<Tensor> {
            Ok(((of_dot - (of_square * share)?)? * scale)?)
        };
        Ok(SimilarityGradients {
            similarity,
            left: combine(dot_sides.narrow(1, 0, rank)?, square_left)?,
            right: combine(dot_sides.narrow(1, rank, rank)?, square_right)?,
            down: combine(dot_down, square_down)?,
        })
    }
}

fn sum(values: &Tensor) -> Result<f64> {
    Ok(values.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?)
}

fn length(what: &str, square: f64) -> Result<f64> {
    if square.is_finite() && square > 0.0 {
        return Ok(square.sqrt());
    }
    Err(Error::invalid(format!("the length of {what}"), "finite and not zero", square))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::bilinear::image::ImageConfig;
    use crate::train::tests::assert_equal_differences;

    fn pair() -> (ImageModel, CpdModel) {
        let config =
            ImageConfig { height: 2, width: 4, classes: 3, d_hidden: 5, ..Default::default() };
        let model = ImageModel::new(config, 0, &Device::Cpu).unwrap().widened();
        let cpd = CpdModel::new(&model, 4, 7).unwrap();
        (model, cpd)
    }

    #[test]
    fn it_equals_the_cosine_of_the_tensors_themselves() {
        let (model, cpd) = pair();
        let classes = (0..3).map(|class| model.pixel_interactions(class).unwrap());
        let p = Tensor::stack(&classes.collect::<Vec<_>>(), 0).unwrap();
        let t = cpd.tensor().unwrap();
        let dot = |a: &Tensor, b: &Tensor| sum(&(a * b).unwrap()).unwrap();
        let expected = dot(&p, &t) / (dot(&p, &p) * dot(&t, &t)).sqrt();
        assert!((cpd.similarity(&model).unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn matrices_and_factors_give_the_same_tensor() {
        let (model, cpd) = pair();
        let b = model.interactions_symmetric().unwrap();
        let tensor = InteractionTensor::from_matrices(&b, &model.embed()).unwrap();
        let gap = tensor.similarity(&cpd).unwrap() - cpd.similarity(&model).unwrap();
        assert!(gap.abs() < 1e-12);
        assert!(InteractionTensor::from_matrices(&b, &model.head()).is_err());
        assert!(InteractionTensor::from_matrices(&b.get(0).unwrap(), &model.embed()).is_err());
    }

    #[test]
    fn a_model_is_similar_to_itself() {
        let (model, _) = pair();
        let (left, right) = model.pixel_maps().unwrap();
        let (left, right) = (left.t().unwrap(), right.t().unwrap());
        let own = CpdModel::from_factors(2, 4, &left, &right, &model.head()).unwrap();
        assert!((own.similarity(&model).unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let (model, cpd) = pair();
        assert_eq!(cpd.left.dtype(), DType::F64);
        let found = InteractionTensor::of(&model).unwrap().gradients(&cpd).unwrap();
        assert_equal_differences(
            &[cpd.left.clone(), cpd.right.clone(), cpd.down.clone()],
            &[found.left, found.right, found.down],
            || 1.0 - cpd.similarity(&model).unwrap(),
        );
    }

    #[test]
    fn models_that_do_not_match_are_refused() {
        let (model, cpd) = pair();
        let config = ImageConfig { height: 3, ..model.config() };
        let other = ImageModel::new(config, 0, &Device::Cpu).unwrap();
        let message = cpd.similarity(&other).unwrap_err().to_string();
        assert!(message.contains("12 pixels"), "{message}");
        cpd.down.set(&cpd.down.zeros_like().unwrap()).unwrap();
        let message = cpd.similarity(&model).unwrap_err().to_string();
        assert!(message.contains("not zero"), "{message}");
    }
}
