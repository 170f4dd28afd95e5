//! Masks made from eigenvectors that fool a classifier.

use std::fmt;

use candle_core::{DType, Tensor};

use super::Decomposition;
use super::image::{ImageModel, Samples};
use crate::linalg::{matmul, pinv};
use crate::notebook::MimeBundle;
use crate::{Error, Result};

/// An image that, added to any other, wakes one eigenvector of the target class and leaves the
/// other strong eigenvectors asleep.
///
/// With the strong eigenvectors of all classes as the rows of V, the mask is a column of the
/// pseudoinverse V⁺, so that `V · mask` is 1 at the target's strongest positive eigenvector and as
/// near 0 as can be elsewhere. It is found from the weights alone: no image and no gradient of a
/// loss takes part.
#[derive(Debug, Clone)]
pub struct AdversarialMask {
    /// The mask, `[height, width]`, scaled to a root mean square of 1.
    pub mask: Tensor,
    /// The class it pushes towards.
    pub target: usize,
}

/// What a mask does to a classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskEffect {
    /// How much of the mask was added: the root mean square of what was added to each pixel.
    pub strengths: Vec<f64>,
    /// Accuracy at each strength, in `[0, 1]`.
    pub accuracy: Vec<f64>,
    /// The share of images of other classes that are classified as the target.
    pub flipped: Vec<f64>,
    /// The target class.
    pub target: usize,
}

impl Decomposition {
    /// The mask that pushes towards `target`, told apart from the `count` strongest positive
    /// eigenvectors of every class.
    ///
    /// Of the two signs, which the eigenvector does not distinguish but an image does, it takes the
    /// one on whose side images lie: pixels are not negative, so that is the sign with which the
    /// eigenvector's pixels sum to a positive number.
    ///
    /// # Errors
    /// A class that the model does not have; a count of none or more than there are.
    pub fn adversarial_mask(&self, target: usize, count: usize) -> Result<AdversarialMask> {
        self.check_class(target)?;
        let (classes, pixels) = (self.classes(), self.height * self.width);
        let strongest = (0..classes)
            .map(|class| Ok(self.top(class, count, true)?.1.reshape((count, pixels))?))
            .collect::<Result<Vec<_>>>()?;
        let inverse = pinv(&Tensor::cat(&strongest, 0)?)?;
        let mask = inverse.narrow(1, target * count, 1)?;
        let side = strongest[target].get(0)?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let size = mask.sqr()?.mean_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?.sqrt();
        if size == 0.0 {
            let found = "zero, so that no mask can wake it";
            return Err(Error::invalid("the eigenvector of the target", "not zero", found));
        }
        let mask = (mask * (side.signum() / size))?.reshape((self.height, self.width))?;
        Ok(AdversarialMask { mask, target })
    }
}

impl AdversarialMask {
    /// `x + strength · mask` for images `[n, …]` of the mask's size. Pixels may leave `[0, 1]`.
    ///
    /// # Errors
    /// Images of another size.
    pub fn apply(&self, x: &Tensor, strength: f64) -> Result<Tensor> {
        let pixels = self.mask.elem_count();
        let dims = x.dims();
        if dims.len() < 2 || dims[1..].iter().product::<usize>() != pixels {
            return Err(Error::shape("images", format!("[n, …] of {pixels} pixels"), dims));
        }
        let mask = (self.mask.reshape(&dims[1..])? * strength)?;
        Ok(x.broadcast_add(&mask.to_dtype(x.dtype())?)?)
    }

    /// Accuracy and share of flipped images when the mask is added to `samples` at each of
    /// `strengths`.
    ///
    /// # Errors
    /// Images or labels that do not fit the model or the mask.
    pub fn effect(
        &self,
        model: &ImageModel,
        samples: impl Into<Samples>,
        strengths: &[f64],
    ) -> Result<MaskEffect> {
        let samples = samples.into();
        let labels = samples.labels.to_dtype(DType::U32)?;
        let target = self.target as u32;
        let (mut right, mut flipped) = (Vec::new(), Vec::new());
        for &strength in strengths {
            let images = self.apply(&samples.images, strength)?;
            right.push(model.accuracy((&images, &labels))?);
            let predicted = model.predict(&images)?.eq(target)?.to_dtype(DType::F64)?;
            let others = labels.ne(target)?.to_dtype(DType::F64)?;
            let count = others.sum_all()?.to_scalar::<f64>()?;
            let hits = (predicted * others)?.sum_all()?.to_scalar::<f64>()?;
            flipped.push(if count > 0.0 { hits / count } else { 0.0 });
        }
        let target = self.target;
        Ok(MaskEffect { strengths: strengths.to_vec(), accuracy: right, flipped, target })
    }

    /// How strongly the mask activates each eigenvector, `v · mask`, `[classes, d]`.
    ///
    /// # Errors
    /// Another size of images.
    pub fn activations(&self, parts: &Decomposition) -> Result<Tensor> {
        let mask = self.mask.reshape((self.mask.elem_count(), 1))?;
        let all = matmul(&parts.eigenvectors.flatten_to(1)?, &mask)?;
        Ok(all.reshape((parts.classes(), parts.rank()))?)
    }
}

impl MaskEffect {
    /// Shows the table.
    pub fn evcxr_display(&self) {
        MimeBundle::text(self.to_string()).show_as_result();
    }
}

impl fmt::Display for MaskEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "strength  accuracy  classified as {}", self.target)?;
        for ((strength, right), flipped) in
            self.strengths.iter().zip(&self.accuracy).zip(&self.flipped)
        {
            write!(f, "\n{strength:>8.3}  {:>7.2}%  {:>6.2}%", 100.0 * right, 100.0 * flipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, IndexOp};

    use super::*;
    use crate::bilinear::image::ImageConfig;
    use crate::random::Rng;

    fn model() -> ImageModel {
        let config =
            ImageConfig { height: 4, width: 5, classes: 3, d_hidden: 9, ..Default::default() };
        ImageModel::new(config, 6, &Device::Cpu).unwrap()
    }

    #[test]
    fn it_wakes_one_eigenvector_only() {
        let parts = model().decompose().unwrap();
        // 3 classes × 2 eigenvectors are fewer than the 9 dimensions they live in: exact.
        let mask = parts.adversarial_mask(1, 2).unwrap();
        let awake = mask.activations(&parts).unwrap();
        let at = |class, i| awake.i((class, i)).unwrap().to_scalar::<f32>().unwrap().abs();
        assert!(at(1, 8) > 1e-2);
        for (class, i) in [(0, 8), (0, 7), (1, 7), (2, 8), (2, 7)] {
            assert!(at(class, i) < 1e-5 * at(1, 8).max(1.0), "{class} {i}");
        }
    }

    #[test]
    fn images_are_driven_to_the_target() {
        let model = model();
        let parts = model.decompose().unwrap();
        let x = Rng::seed(0).uniform(0.0, 1.0, (200, 1, 4, 5), &Device::Cpu).unwrap();
        let labels = model.predict(&x).unwrap();
        let mask = parts.adversarial_mask(2, 2).unwrap();
        let effect = mask.effect(&model, (&x, &labels), &[0.0, 20.0]).unwrap();
        assert_eq!((effect.accuracy[0], effect.flipped[0]), (1.0, 0.0));
        assert!(effect.flipped[1] > 0.9, "{effect}");
        assert!(effect.to_string().contains("100.00%"));
    }

    #[test]
    fn bad_requests_are_refused() {
        let parts = model().decompose().unwrap();
        assert!(parts.adversarial_mask(3, 1).is_err());
        assert!(parts.adversarial_mask(0, 0).is_err());
        let mask = parts.adversarial_mask(0, 1).unwrap();
        let small = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(mask.apply(&small, 1.0).unwrap_err().to_string().contains("20 pixels"));
    }
}
