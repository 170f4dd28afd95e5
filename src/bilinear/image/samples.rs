//! Images with their classes.

use candle_core::Tensor;

use crate::data::Images;

/// Images `[n, …]` and their labels `[n]`, which go together. `(&images, &labels)` becomes one.
#[derive(Debug, Clone)]
pub struct LabelledImages {
    /// Images, `[n, 1, height, width]` or `[n, pixels]`.
    pub images: Tensor,
    /// Classes, integers `[n]`.
    pub labels: Tensor,
}

impl From<(&Tensor, &Tensor)> for LabelledImages {
    fn from((images, labels): (&Tensor, &Tensor)) -> Self {
        Self { images: images.clone(), labels: labels.clone() }
    }
}

impl From<&Images> for LabelledImages {
    fn from(images: &Images) -> Self {
        (images.pixels(), images.labels()).into()
    }
}
