//! Masks made from eigenvectors that fool a classifier.

use std::fmt;

use candle_core::{DType, Tensor};

use super::Decomposition;
use super::image::{ImageModel, LabelledImages};
use crate::display::show_as_text;
use crate::linalg::{matmul, pinv};
use crate::{Error, Result};

/// An image that, added to any other, wakes one eigenvector of the target class and leaves those
/// that speak against the class asleep.
///
/// The rows of V are the target's strongest positive eigenvector, its strongest negative ones, and
/// the strongest positive ones of all other classes. The mask is the first column of the
/// pseudoinverse V⁺, so that `V · mask` is 1 at the first and as near 0 as can be at all others. It
/// is found from the weights alone: no image and no gradient of a loss takes part.
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
    /// The mask that pushes towards `target`, told apart from the `count` strongest eigenvectors
    /// of each class that speak against it. The more of them, the purer the mask and the weaker
    /// its effect on images: begin with 1.
    ///
    /// Of the two signs, which the eigenvector does not distinguish but an image does, it takes the
    /// one on whose side images lie: pixels are not negative, so that is the sign with which the
    /// eigenvector's pixels sum to a positive number.
    ///
    /// # Errors
    /// A class that the model does not have; a count of none or more than there are.
    pub fn adversarial_mask(&self, target: usize, count: usize) -> Result<AdversarialMask> {
        self.check_class(target)?;
        self.check_count(count)?;
        let pixels = self.height * self.width;
        let rows = |class: usize, count: usize, positive: bool| -> Result<Tensor> {
            Ok(self.top(class, count, positive)?.1.reshape((count, pixels))?)
        };
        let own = rows(target, 1, true)?;
        let mut all = vec![own.clone(), rows(target, count, false)?];
        for class in (0..self.classes()).filter(|&class| class != target) {
            all.push(rows(class, count, true)?);
        }
        let mask = pinv(&Tensor::cat(&all, 0)?)?.narrow(1, 0, 1)?;
        let side = own.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
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
        samples: impl Into<LabelledImages>,
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

show_as_text!(MaskEffect);

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
    use crate::bilinear::image::{FitOptions, ImageConfig};
    use crate::random::Rng;

    /// Images with one bright row, which is their class, and a model that has learnt them.
    fn learnt() -> (ImageModel, Tensor, Tensor) {
        let config =
            ImageConfig { height: 3, width: 4, classes: 3, d_hidden: 12, ..Default::default() };
        let model = ImageModel::new(config, 6, &Device::Cpu).unwrap();
        let labels: Vec<u32> = (0..90).map(|i| i % 3).collect();
        let labels = Tensor::new(labels, &Device::Cpu).unwrap();
        let bright = Tensor::eye(3, DType::F32, &Device::Cpu).unwrap();
        let bright = bright.index_select(&labels, 0).unwrap().reshape((90, 1, 3, 1)).unwrap();
        let noise = Rng::seed(8).uniform(0., 0.3, (90, 1, 3, 4), &Device::Cpu).unwrap();
        let images = noise.broadcast_add(&bright).unwrap();
        let options =
            FitOptions { epochs: 30, batch: 30, learning_rate: 0.02, ..Default::default() };
        model.fit((&images, &labels), (&images, &labels), options).unwrap();
        (model, images, labels)
    }

    #[test]
    fn it_wakes_one_eigenvector_only() {
        let (model, ..) = learnt();
        let parts = model.decompose().unwrap();
        // 4 eigenvectors are fewer than the 12 dimensions they live in: exact.
        let mask = parts.adversarial_mask(1, 1).unwrap();
        let awake = mask.activations(&parts).unwrap();
        let at = |class, i| awake.i((class, i)).unwrap().to_scalar::<f32>().unwrap().abs();
        assert!(at(1, 11) > 1e-2);
        for (class, i) in [(0, 11), (1, 0), (2, 11)] {
            assert!(at(class, i) < 1e-4 * at(1, 11), "{class} {i}");
        }
    }

    #[test]
    fn images_are_driven_to_the_target() {
        let (model, images, labels) = learnt();
        let mask = model.decompose().unwrap().adversarial_mask(2, 1).unwrap();
        let effect = mask.effect(&model, (&images, &labels), &[0.0, 3.0]).unwrap();
        assert_eq!((effect.accuracy[0], effect.flipped[0]), (1.0, 0.0));
        assert!(effect.flipped[1] > 0.9, "{effect}");
        assert!(effect.to_string().contains("100.00%"));
    }

    #[test]
    fn bad_requests_are_refused() {
        let parts = learnt().0.decompose().unwrap();
        assert!(parts.adversarial_mask(3, 1).is_err());
        assert!(parts.adversarial_mask(0, 0).is_err());
        assert!(parts.adversarial_mask(0, 13).is_err());
        let mask = parts.adversarial_mask(0, 1).unwrap();
        let small = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(mask.apply(&small, 1.0).unwrap_err().to_string().contains("12 pixels"));
    }
}
