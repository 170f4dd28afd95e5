//! Random changes to a batch of images while training.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::check::check_not_negative;
use crate::display::show_as_text;
use crate::random::Rng;
use crate::{Error, Result};

type Change = dyn Fn(&Tensor, &mut Rng) -> Result<Tensor> + Send + Sync;

/// A random change to a batch of images, drawn anew for each batch: noise, a shift, a rotation, a
/// closure of your own, or several in a row.
///
/// Clones share the closure. A value out of range (a negative deviation) is an error of
/// [`apply`](Self::apply).
///
/// ```
/// use eigenlens::candle::{Device, Tensor};
/// use eigenlens::data::Augmentation;
/// use eigenlens::random::Rng;
///
/// # fn main() -> eigenlens::Result<()> {
/// let both = Augmentation::shift(2).then(Augmentation::noise(0.4));
/// assert_eq!(both.to_string(), "shift(2) → noise(0.4)");
///
/// let negative = Augmentation::new("negative", |batch, _rng| Ok(batch.affine(-1.0, 1.0)?));
/// let batch = Tensor::new(&[[[[0.25f32]]]], &Device::Cpu)?;
/// let out = negative.apply(&batch, &mut Rng::seed(0))?;
/// assert_eq!(out.flatten_all()?.to_vec1::<f32>()?, [0.75]);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Augmentation {
    name: String,
    change: Arc<Change>,
}

impl Augmentation {
    /// A change of your own: `change` gets the batch and the generator to draw from, and returns a
    /// batch of the same shape.
    pub fn new(
        name: impl Into<String>,
        change: impl Fn(&Tensor, &mut Rng) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), change: Arc::new(change) }
    }

    /// Gaussian noise on each pixel: `x + std·ε`, `ε ~ N(0, 1)`, of any shape and without clipping.
    ///
    /// With `std` 0.4 (in units of full ink) a bilinear classifier's eigenvectors look like digits
    /// (Pearce et al., "Bilinear MLPs enable weight-based mechanistic interpretability", 2024,
    /// section 4, <https://arxiv.org/abs/2410.08417>).
    pub fn noise(std: f64) -> Self {
        Self::new(format!("noise({std})"), move |batch, rng| {
            check_not_negative("the deviation of the noise", std)?;
            let mut values: Vec<f32> = batch.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            rng.add_normal(&mut values, std as f32);
            let noisy = Tensor::from_vec(values, batch.shape(), batch.device())?;
            Ok(noisy.to_dtype(batch.dtype())?)
        })
    }

    /// A shift of each image by whole pixels, uniform in `−most..=most` along rows and columns on
    /// their own; background (0) moves in.
    ///
    /// For f32 batches `[n, channels, rows, columns]` or `[n, rows, columns]`; computed on the
    /// host.
    pub fn shift(most: usize) -> Self {
        Self::new(format!("shift({most})"), move |batch, rng| {
            let mut whole = || (rng.unit() * (2 * most + 1) as f32) as i64 - most as i64;
            map_images(
                batch,
                || [whole(), whole()],
                |[down, right], plane| plane.shifted(*down, *right),
            )
        })
    }

    /// A rotation of each image about its centre, by an angle uniform in `±most` degrees, positive
    /// counterclockwise; bilinear interpolation, background (0) outside.
    ///
    /// For f32 batches `[n, channels, rows, columns]` or `[n, rows, columns]`; computed on the
    /// host.
    pub fn rotate(most: f64) -> Self {
        Self::new(format!("rotate({most})"), move |batch, rng| {
            check_not_negative("the largest angle", most)?;
            let angle = || (2.0 * f64::from(rng.unit()) - 1.0) * most.to_radians();
            map_images(batch, angle, |angle, plane| plane.rotated(*angle))
        })
    }

    /// This change, then `next`.
    #[must_use]
    pub fn then(self, next: Augmentation) -> Self {
        let name = format!("{self} → {next}");
        Self::new(name, move |batch, rng| next.apply(&self.apply(batch, rng)?, rng))
    }

    /// What the change is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The changed batch, of the shape of `batch`. The same state of `rng` gives the same change.
    pub fn apply(&self, batch: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let changed = (self.change)(batch, rng)?;
        if changed.dims() != batch.dims() {
            let what = format!("the batch after {}", self.name);
            return Err(Error::shape(what, format!("{:?}", batch.dims()), changed.dims()));
        }
        Ok(changed)
    }
}

show_as_text!(Augmentation);

impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Augmentation({})", self.name)
    }
}

/// One channel of one image.
#[derive(Clone, Copy)]
struct Plane<'a> {
    pixels: &'a [f32],
    rows: usize,
    columns: usize,
}

/// Applies `change`, with parameters that `draw` gives anew for each image, to every channel of
/// every image: the channels of an image change together.
fn map_images<P: Send + Sync>(
    batch: &Tensor,
    mut draw: impl FnMut() -> P,
    change: impl Fn(&P, &Plane<'_>) -> Vec<f32> + Send + Sync,
) -> Result<Tensor> {
    let (images, channels, rows, columns) = match *batch.dims() {
        [images, channels, rows, columns] => (images, channels, rows, columns),
        [images, rows, columns] => (images, 1, rows, columns),
        ref dims => {
            let expected = "[n, channels, rows, columns] or [n, rows, columns]: shifts and \
                            rotations need images that are not flattened";
            return Err(Error::shape("the batch", expected, dims));
        }
    };
    if batch.dtype() != DType::F32 {
        return Err(Error::invalid("the batch", "of type f32", batch.dtype().as_str()));
    }
    let size = rows * columns;
    if batch.elem_count() == 0 {
        return Ok(batch.clone());
    }
    // Drawn before the parallel loop: the order of the numbers is that of the images.
    let parameters: Vec<P> = (0..images).map(|_| draw()).collect();
    let pixels = batch.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
    let changed: Vec<f32> = pixels
        .par_chunks(channels * size)
        .zip(&parameters)
        .flat_map_iter(|(image, parameters)| {
            let planes = image.chunks(size).map(|pixels| Plane { pixels, rows, columns });
            planes.flat_map(|plane| change(parameters, &plane)).collect::<Vec<f32>>()
        })
        .collect();
    Ok(Tensor::from_vec(changed, batch.shape(), batch.device())?)
}

impl Plane<'_> {
    /// The pixel there; 0 outside.
    fn at(&self, row: i64, column: i64) -> f32 {
        let inside =
            (0..self.rows as i64).contains(&row) && (0..self.columns as i64).contains(&column);
        if inside { self.pixels[row as usize * self.columns + column as usize] } else { 0.0 }
    }

    fn shifted(&self, down: i64, right: i64) -> Vec<f32> {
        let (rows, columns) = (self.rows as i64, self.columns as i64);
        (0..rows)
            .flat_map(|row| (0..columns).map(move |column| self.at(row - down, column - right)))
            .collect()
    }

    fn rotated(&self, angle: f64) -> Vec<f32> {
        let (sin, cos) = (angle.sin() as f32, angle.cos() as f32);
        let (middle_row, middle_column) =
            ((self.rows as f32 - 1.0) / 2.0, (self.columns as f32 - 1.0) / 2.0);
        let mut out = Vec::with_capacity(self.pixels.len());
        for row in 0..self.rows {
            for column in 0..self.columns {
                // Where the pixel comes from: the inverse rotation. Rows count downwards.
                let (y, x) = (row as f32 - middle_row, column as f32 - middle_column);
                out.push(
                    self.between(middle_row + cos * y + sin * x, middle_column + cos * x - sin * y),
                );
            }
        }
        out
    }

    /// The value at a point between pixels, bilinear in its four neighbours.
    fn between(&self, row: f32, column: f32) -> f32 {
        let (top, left) = (row.floor(), column.floor());
        let (down, right) = (row - top, column - left);
        let (top, left) = (top as i64, left as i64);
        (1.0 - down) * ((1.0 - right) * self.at(top, left) + right * self.at(top, left + 1))
            + down * ((1.0 - right) * self.at(top + 1, left) + right * self.at(top + 1, left + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: &Device = &Device::Cpu;

    fn plane(pixels: &[f32], columns: usize) -> Plane<'_> {
        Plane { pixels, rows: pixels.len() / columns, columns }
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn shifts_move_pixels_and_fill_with_background() {
        let image = plane(&[1., 2., 3., 4., 5., 6.], 3);
        assert_eq!(image.shifted(0, 1), [0., 1., 2., 0., 4., 5.]);
        assert_eq!(image.shifted(-1, 0), [4., 5., 6., 0., 0., 0.]);
        assert_eq!(image.shifted(5, -9), [0.; 6]);
    }

    #[test]
    fn quarter_turns_are_exact() {
        let image = plane(&[1., 2., 3., 4., 5., 6., 7., 8., 9.], 3);
        let close = |found: Vec<f32>, expected: [f32; 9]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
        };
        close(image.rotated(0.0), [1., 2., 3., 4., 5., 6., 7., 8., 9.]);
        // Counterclockwise: the right column becomes the top row.
        close(image.rotated(90f64.to_radians()), [3., 6., 9., 2., 5., 8., 1., 4., 7.]);
        close(image.rotated(180f64.to_radians()), [9., 8., 7., 6., 5., 4., 3., 2., 1.]);
    }

    #[test]
    fn interpolation_is_exact_on_linear_ramps() {
        // x = 2 + row + 3·column, turned by φ about the centre, is again a ramp, away from edges.
        let pixels: Vec<f32> =
            (0..49).map(|i| 2.0 + (i / 7) as f32 + 3.0 * (i % 7) as f32).collect();
        let angle = 20f64.to_radians();
        let out = plane(&pixels, 7).rotated(angle);
        let (sin, cos) = (angle.sin() as f32, angle.cos() as f32);
        for (row, column) in [(3usize, 3usize), (2, 4), (4, 2), (2, 2), (3, 5)] {
            let (y, x) = (row as f32 - 3.0, column as f32 - 3.0);
            let expected = 2.0 + (3.0 + cos * y + sin * x) + 3.0 * (3.0 + cos * x - sin * y);
            assert!((out[row * 7 + column] - expected).abs() < 1e-4);
        }
    }

    #[test]
    fn noise_has_the_deviation_asked_for() {
        let batch = Tensor::full(0.5f32, (50, 1, 28, 28), CPU).unwrap();
        let out = Augmentation::noise(0.4).apply(&batch, &mut Rng::seed(1)).unwrap();
        let values = values(&out);
        let count = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
        // Standard errors: 0.002 of the mean, 0.0014 of the deviation.
        assert!((mean - 0.5).abs() < 0.01 && (variance.sqrt() - 0.4).abs() < 0.007);
    }

    #[test]
    fn a_seed_fixes_the_change_and_images_differ() {
        let one = Tensor::arange(0f32, 784.0, CPU).unwrap().reshape((1, 1, 28, 28)).unwrap();
        let batch = one.repeat((20, 1, 1, 1)).unwrap();
        let change = Augmentation::shift(3).then(Augmentation::rotate(15.0));
        let first = values(&change.apply(&batch, &mut Rng::seed(4)).unwrap());
        let again = values(&change.apply(&batch, &mut Rng::seed(4)).unwrap());
        assert_eq!(first, again);
        assert_ne!(first, values(&change.apply(&batch, &mut Rng::seed(5)).unwrap()));
        let images: Vec<&[f32]> = first.chunks(784).collect();
        assert!(images.windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn shifts_cover_their_range_evenly() {
        let mut image = vec![0f32; 81];
        image[40] = 1.0;
        let batch = Tensor::from_vec(image.repeat(2_500), (2_500, 9, 9), CPU).unwrap();
        let out = values(&Augmentation::shift(2).apply(&batch, &mut Rng::seed(2)).unwrap());
        let mut counts = [0; 81];
        for image in out.chunks(81) {
            counts[image.iter().position(|v| *v == 1.0).unwrap()] += 1;
        }
        // 25 places, 100 each on average, ±5 standard deviations.
        let hit: Vec<i32> = counts.into_iter().filter(|count| *count > 0).collect();
        assert_eq!(hit.len(), 25);
        assert!(hit.iter().all(|count| (50..150).contains(count)), "{hit:?}");
    }

    #[test]
    fn channels_of_an_image_move_together() {
        let image = Tensor::arange(0f32, 25.0, CPU).unwrap().reshape((1, 1, 5, 5)).unwrap();
        let batch = Tensor::cat(&[&image, &image], 1).unwrap();
        let out = Augmentation::shift(2).apply(&batch, &mut Rng::seed(3)).unwrap();
        let channels = values(&out);
        assert_eq!(channels[..25], channels[25..]);
    }

    #[test]
    fn composition_is_in_order() {
        let double = Augmentation::new("double", |x, _| Ok((x * 2.0)?));
        let add = Augmentation::new("add", |x, _| Ok((x + 1.0)?));
        let batch = Tensor::new(&[3f32], CPU).unwrap();
        let out = double.then(add).apply(&batch, &mut Rng::seed(0)).unwrap();
        assert_eq!(values(&out), [7.0]);
    }

    #[test]
    fn values_and_shapes_out_of_range_are_errors() {
        let batch = Tensor::zeros((2, 4), DType::F32, CPU).unwrap();
        let error = |change: Augmentation, batch: &Tensor| {
            change.apply(batch, &mut Rng::seed(0)).unwrap_err().to_string()
        };
        assert!(error(Augmentation::noise(-0.1), &batch).contains("deviation of the noise"));
        assert!(error(Augmentation::noise(f64::NAN), &batch).contains("found NaN"));
        assert!(error(Augmentation::rotate(f64::INFINITY), &batch).contains("largest angle"));
        assert!(error(Augmentation::shift(1), &batch).contains("not flattened, found [2, 4]"));
        let cut = Augmentation::new("cut", |x, _| Ok(x.narrow(0, 0, 1)?));
        assert!(error(cut, &batch).contains("the batch after cut has the wrong shape"));
        let wide = Tensor::zeros((1, 2, 2), DType::F64, CPU).unwrap();
        assert!(error(Augmentation::rotate(1.0), &wide).contains("type f32, found f64"));
    }
}
