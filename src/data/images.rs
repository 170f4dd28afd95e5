//! Labelled grey-scale images on a device.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::idx::{self, IdxImages};
use crate::check::check_all_finite;
use crate::provenance::Source;
use crate::text::thousands;
use crate::{Error, Result};

/// Labelled grey-scale images: `pixels [n, 1, rows, columns]` in `[0, 1]` and `labels [n]`.
///
/// Clones share their tensors.
///
/// ```
/// use eigenlens::candle::{Device, Tensor};
/// use eigenlens::data::Images;
///
/// # fn main() -> eigenlens::Result<()> {
/// let pixels = Tensor::new(&[0f32, 1.0, 0.5, 0.0, 1.0, 1.0], &Device::Cpu)?.reshape((3, 1, 1, 2))?;
/// let labels = Tensor::new(&[1u32, 0, 1], &Device::Cpu)?;
/// let images = Images::new(pixels, labels, ["dark", "bright"])?;
/// assert_eq!(images.of_class(1)?.len(), 2);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Images {
    pixels: Tensor,
    labels: Tensor,
    classes: Arc<[String]>,
    source: Source,
}

impl Images {
    /// Images from tensors: `pixels` f32 `[n, 1, rows, columns]` (ink 1, background 0), `labels`
    /// u32 `[n]`, each below the number of `classes`.
    ///
    /// Fails where shapes or types differ from that, where a label has no class, and where a pixel
    /// is not finite.
    pub fn new<C: Into<String>>(
        pixels: Tensor,
        labels: Tensor,
        classes: impl IntoIterator<Item = C>,
    ) -> Result<Self> {
        let classes: Arc<[String]> = classes.into_iter().map(Into::into).collect();
        let count = match pixels.dims() {
            &[count, 1, rows, columns] if count * rows * columns > 0 => count,
            dims => return Err(Error::shape("pixels", "[n, 1, rows, columns]", dims)),
        };
        if pixels.dtype() != DType::F32 {
            return Err(Error::invalid("pixels", "of type f32", pixels.dtype().as_str()));
        }
        if labels.dtype() != DType::U32 {
            return Err(Error::invalid("labels", "of type u32", labels.dtype().as_str()));
        }
        if labels.dims() != [count] {
            let expected = format!("[{count}], one label for each image");
            return Err(Error::shape("labels", expected, labels.dims()));
        }
        let values = labels.to_vec1::<u32>()?;
        if let Some(index) = values.iter().position(|label| *label as usize >= classes.len()) {
            let expected = format!("below {}, the number of classes", classes.len());
            return Err(Error::invalid(format!("label {index}"), expected, values[index]));
        }
        let values = pixels.flatten_all()?.to_vec1::<f32>()?;
        check_all_finite("pixels", &values)?;
        Ok(Self { pixels, labels, classes, source: Source::Memory })
    }

    /// Images from a pair of idx files (plain or gzip), one of images and one of labels.
    ///
    /// Fails where a file is missing, truncated, damaged or of another kind, where the two hold
    /// different numbers of images and labels, and where a label has no class.
    pub fn from_idx<C: Into<String>>(
        images: impl AsRef<Path>,
        labels: impl AsRef<Path>,
        classes: impl IntoIterator<Item = C>,
        device: &Device,
    ) -> Result<Self> {
        let (images, labels) = (images.as_ref(), labels.as_ref());
        let folder = images.parent().unwrap_or(images).to_owned();
        Self::from_bytes(
            (images, idx::images(images)?),
            (labels, idx::labels(labels)?),
            classes.into_iter().map(Into::into).collect(),
            Source::Folder(folder),
            device,
        )
    }

    /// What idx files at the two paths held.
    pub(super) fn from_bytes(
        (images_path, images): (&Path, IdxImages),
        (labels_path, labels): (&Path, Vec<u8>),
        classes: Arc<[String]>,
        source: Source,
        device: &Device,
    ) -> Result<Self> {
        let IdxImages { count, rows, columns, pixels } = images;
        if labels.len() != count {
            let expected =
                format!("{count} labels, one for each image of {}", images_path.display());
            return Err(Error::format(labels_path, expected, format!("{} labels", labels.len())));
        }
        if let Some(index) = labels.iter().position(|label| usize::from(*label) >= classes.len()) {
            let expected = format!("labels below {}, the number of classes", classes.len());
            let found = format!("label {} at index {index}", labels[index]);
            return Err(Error::format(labels_path, expected, found));
        }
        let pixels: Vec<f32> = pixels.iter().map(|byte| f32::from(*byte) / 255.0).collect();
        let labels: Vec<u32> = labels.iter().map(|label| u32::from(*label)).collect();
        Ok(Self {
            pixels: Tensor::from_vec(pixels, (count, 1, rows, columns), device)?,
            labels: Tensor::from_vec(labels, count, device)?,
            classes,
            source,
        })
    }

    /// The pixels, f32 `[n, 1, rows, columns]`: background 0, ink up to 1 (byte / 255 in files).
    pub fn pixels(&self) -> &Tensor {
        &self.pixels
    }

    /// The pixels of an image in one row, f32 `[n, rows·columns]`: what a bilinear layer takes.
    pub fn flat(&self) -> Result<Tensor> {
        Ok(self.pixels.flatten_from(1)?)
    }

    /// The labels, u32 `[n]`: positions in [`classes`](Self::classes).
    pub fn labels(&self) -> &Tensor {
        &self.labels
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Where the images came from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The number of images, `n`.
    pub fn len(&self) -> usize {
        self.labels.elem_count()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows and columns of an image.
    pub fn size(&self) -> (usize, usize) {
        let dims = self.pixels.dims();
        (dims[2], dims[3])
    }

    /// The device the tensors are on.
    pub fn device(&self) -> &Device {
        self.pixels.device()
    }

    /// Image `index`, f32 `[1, rows, columns]`, and its label.
    pub fn sample(&self, index: usize) -> Result<(Tensor, u32)> {
        self.check(index)?;
        Ok((self.pixels.get(index)?, self.labels.get(index)?.to_scalar()?))
    }

    /// The images of positions `range`, in a view that copies nothing.
    pub fn range(&self, range: Range<usize>) -> Result<Self> {
        let Range { start, end } = range;
        if start >= end || end > self.len() {
            let expected = format!("a non-empty range within 0..{}", self.len());
            return Err(Error::invalid("the range of images", expected, format!("{start}..{end}")));
        }
        let length = end - start;
        Ok(Self {
            pixels: self.pixels.narrow(0, start, length)?,
            labels: self.labels.narrow(0, start, length)?,
            ..self.clone()
        })
    }

    /// The images at `indices`, in that order; an index may occur more than once.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        if indices.is_empty() {
            return Err(Error::invalid("the selection of images", "not empty", "no index"));
        }
        indices.iter().try_for_each(|index| self.check(*index))?;
        let indices: Vec<u32> = indices.iter().map(|index| *index as u32).collect();
        let chosen = Tensor::from_slice(&indices, indices.len(), self.device())?;
        Ok(Self {
            pixels: self.pixels.index_select(&chosen, 0)?,
            labels: self.labels.index_select(&chosen, 0)?,
            ..self.clone()
        })
    }

    /// The images of class `class`, in their order.
    pub fn of_class(&self, class: usize) -> Result<Self> {
        if class >= self.classes.len() {
            let expected = format!("below {}, the number of classes", self.classes.len());
            return Err(Error::invalid("the class", expected, class));
        }
        let labels = self.labels.to_vec1::<u32>()?;
        let of_class = |index: &usize| labels[*index] as usize == class;
        let indices: Vec<usize> = (0..labels.len()).filter(of_class).collect();
        if indices.is_empty() {
            return Err(Error::NotFound {
                what: format!("an image of class {:?}", self.classes[class]),
                hint: "These images have none; choose another class, or more images.".into(),
            });
        }
        self.select(&indices)
    }

    /// How many images each class has.
    pub fn class_counts(&self) -> Result<Vec<usize>> {
        let mut counts = vec![0; self.classes.len()];
        for label in self.labels.to_vec1::<u32>()? {
            counts[label as usize] += 1;
        }
        Ok(counts)
    }

    fn check(&self, index: usize) -> Result<()> {
        if index < self.len() {
            return Ok(());
        }
        let expected = format!("below {}, the number of images", self.len());
        Err(Error::invalid("the image's index", expected, index))
    }
}

impl fmt::Display for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, columns) = self.size();
        let (count, classes) = (thousands(self.len()), self.classes.len());
        write!(f, "{count} images of {rows}×{columns} in {classes} classes, ")?;
        write!(f, "from {}", self.source)
    }
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Images")
            .field("pixels", self.pixels.shape())
            .field("classes", &self.classes)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: &Device = &Device::Cpu;

    /// Four images of 1×2 pixels: image i is [i, i / 10].
    fn four() -> Images {
        let pixels: Vec<f32> = (0..4).flat_map(|i| [i as f32, i as f32 / 10.0]).collect();
        let pixels = Tensor::from_vec(pixels, (4, 1, 1, 2), CPU).unwrap();
        let labels = Tensor::new(&[1u32, 0, 1, 2], CPU).unwrap();
        Images::new(pixels, labels, ["a", "b", "c & d"]).unwrap()
    }

    fn first_pixels(images: &Images) -> Vec<f32> {
        images.flat().unwrap().narrow(1, 0, 1).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn message<T>(result: Result<T>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn parts_keep_pixels_and_labels_together() {
        let images = four();
        assert_eq!((images.len(), images.size()), (4, (1, 2)));
        assert_eq!(images.class_counts().unwrap(), [1, 2, 1]);

        let range = images.range(1..3).unwrap();
        assert_eq!(first_pixels(&range), [1.0, 2.0]);
        assert_eq!(range.labels().to_vec1::<u32>().unwrap(), [0, 1]);

        let chosen = images.select(&[3, 0, 3]).unwrap();
        assert_eq!(first_pixels(&chosen), [3.0, 0.0, 3.0]);
        assert_eq!(chosen.labels().to_vec1::<u32>().unwrap(), [2, 1, 2]);

        assert_eq!(first_pixels(&images.of_class(1).unwrap()), [0.0, 2.0]);
        // A view of a view.
        assert_eq!(first_pixels(&range.of_class(1).unwrap()), [2.0]);

        let (sample, label) = images.sample(2).unwrap();
        assert_eq!((sample.dims(), label), ([1, 1, 2].as_slice(), 1));
    }

    #[test]
    fn positions_outside_the_data_are_errors() {
        let images = four();
        assert!(message(images.sample(4)).contains("below 4"));
        assert!(message(images.select(&[0, 9])).contains("below 4, the number of images, found 9"));
        assert!(message(images.select(&[])).contains("not empty"));
        assert!(message(images.range(2..5)).contains("within 0..4, found 2..5"));
        assert!(message(images.range(2..2)).contains("non-empty"));
        assert!(message(images.of_class(3)).contains("below 3"));
        assert!(message(images.range(0..1).unwrap().of_class(0)).contains("class \"a\""));
    }

    #[test]
    fn tensors_that_make_no_images_are_errors() {
        let pixels = |shape: &[usize]| Tensor::zeros(shape, DType::F32, CPU).unwrap();
        let labels = |values: &[u32]| Tensor::new(values, CPU).unwrap();
        let new = |pixels, labels| message(Images::new(pixels, labels, ["a", "b"]));

        let error = new(pixels(&[2, 4]), labels(&[0, 1]));
        assert!(error.contains("[n, 1, rows, columns], found [2, 4]"), "{error}");
        let error = new(pixels(&[0, 1, 2, 2]), labels(&[]));
        assert!(error.contains("found [0, 1, 2, 2]"), "{error}");
        let error = new(pixels(&[2, 1, 2, 2]), labels(&[0, 1, 1]));
        assert!(error.contains("expected [2], one label for each image, found [3]"), "{error}");
        let error = new(pixels(&[2, 1, 2, 2]), labels(&[0, 2]));
        assert!(error.contains("label 1 must be below 2"), "{error}");
        let wrong = pixels(&[2, 1, 2, 2]).to_dtype(DType::F64).unwrap();
        assert!(new(wrong, labels(&[0, 1])).contains("type f32, found f64"));
        let wrong = labels(&[0, 1]).to_dtype(DType::I64).unwrap();
        assert!(new(pixels(&[2, 1, 2, 2]), wrong).contains("type u32, found i64"));
        let nan = Tensor::new(&[0f32, f32::NAN], CPU).unwrap().reshape((1, 1, 1, 2)).unwrap();
        assert!(new(nan, labels(&[0])).contains("pixels holds NaN"));
    }

    #[test]
    fn the_table_is_self_contained_and_escaped() {
        let html = crate::data::thumbnails::table("x", &[("images", &four())]).unwrap();
        assert!(html.contains("c &amp; d") && html.contains("src=\"data:image/png;base64,iVBOR"));
        assert!(!html.contains("http"), "{html}");
        assert_eq!(html.matches("<img").count(), 3);
        let text = four().to_string();
        assert_eq!(text, "4 images of 1×2 in 3 classes, from tensors in memory");
    }
}
