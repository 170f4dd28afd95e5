//! Eigenvectors of an image classifier.
//!
//! With one bilinear layer, `logit_c = eᵀ B_c e` on the embedding `e = Ex`. The symmetric `B_c` has
//! eigenvalues λ and orthonormal eigenvectors q, so that with `v = Eᵀq`, which is an image,
//!
//! ```text
//! logit_c = Σᵢ λ_ci (v_ci·x)²
//! ```
//!
//! A positive λ adds evidence for the class wherever x is like v or like −v, a negative one takes
//! it away.

use std::fmt;

use candle_core::{DType, Tensor};

use super::image::{ImageModel, LabelledImages};
use super::{Explanation, interactions, symmetrise};
use crate::display::show_as_text;
use crate::linalg::{Eigh, eigh, matmul, matmul_nt, matmul_tn};
use crate::progress::Progress;
use crate::train::accuracy;
use crate::{Error, Result};

/// Images whose contributions are computed at once, to bound memory.
const ROWS: usize = 512;

/// The eigenvectors of every class of an [`ImageModel`]. A cheap handle.
#[derive(Debug, Clone)]
pub struct Decomposition {
    /// Eigenvalues λ, ascending, `[classes, d]`.
    pub eigenvalues: Tensor,
    /// Orthonormal eigenvectors q in the embedding, `[classes, d, d]`: `[c, i, ..]` belongs to
    /// `eigenvalues[c, i]`.
    pub eigenvectors_embed: Tensor,
    /// The same in input space, `v = Eᵀq`, `[classes, d, pixels]`. Not of length 1.
    pub eigenvectors: Tensor,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
}

impl ImageModel {
    /// The symmetric interaction matrices of the classes on the embedding,
    /// `½(B + Bᵀ)` with `B[c, i, j] = Σ_h H_ch L_hi R_hj`, `[classes, d_hidden, d_hidden]`.
    ///
    /// # Errors
    /// As [`ImageModel::decompose`].
    pub fn interactions_symmetric(&self) -> Result<Tensor> {
        let (left, right) = self.quadratic()?;
        symmetrise(&interactions(&self.head(), &left, &right)?)
    }

    /// The eigenvectors of every class.
    ///
    /// # Errors
    /// A model with several layers, a residual or a bias: its logits are not quadratic forms, and
    /// no eigenvectors of one matrix tell what it computes. NaN in the weights;
    /// [`Error::Interrupted`] when Stop is pressed.
    pub fn decompose(&self) -> Result<Decomposition> {
        let Eigh { values, vectors } = eigh(&self.interactions_symmetric()?)?;
        let embed = self.embed();
        let classes = values.dim(0)?;
        let pixels = (0..classes)
            .map(|class| matmul_tn(&vectors.get(class)?, &embed))
            .collect::<Result<Vec<_>>>()?;
        let config = self.config();
        Ok(Decomposition {
            eigenvalues: values,
            eigenvectors_embed: vectors.transpose(1, 2)?.contiguous()?,
            eigenvectors: Tensor::stack(&pixels, 0)?,
            height: config.height,
            width: config.width,
        })
    }
}

impl Decomposition {
    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.eigenvalues.dims()[0]
    }

    /// Eigenvectors a class, d.
    pub fn rank(&self) -> usize {
        self.eigenvalues.dims()[1]
    }

    /// One class: eigenvalues ascending `[d]`, and eigenvectors as images `[d, height, width]`.
    ///
    /// # Errors
    /// A class that the model does not have.
    pub fn class(&self, class: usize) -> Result<(Tensor, Tensor)> {
        self.check_class(class)?;
        let images = self.eigenvectors.get(class)?;
        let images = images.reshape((self.rank(), self.height, self.width))?;
        Ok((self.eigenvalues.get(class)?, images))
    }

    /// The `count` eigenvectors of largest (`positive`) or smallest eigenvalue of a class, the
    /// strongest first: eigenvalues `[count]` and images `[count, height, width]`.
    ///
    /// # Errors
    /// A class that the model does not have, or a count of none or more than there are.
    pub fn top(&self, class: usize, count: usize, positive: bool) -> Result<(Tensor, Tensor)> {
        self.check_count(count)?;
        let (values, images) = self.class(class)?;
        let rank = self.rank() as u32;
        let order: Vec<u32> =
            (0..count as u32).map(|i| if positive { rank - 1 - i } else { i }).collect();
        let order = Tensor::new(order, values.device())?;
        Ok((values.index_select(&order, 0)?, images.index_select(&order, 0)?))
    }

    /// `λ (v·x)²` of every eigenvector, for images `[n, …]`: `[n, classes, d]`. Summed over d they
    /// are the logits.
    ///
    /// # Errors
    /// Another number of pixels.
    pub fn contributions(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.flatten(x)?;
        let (classes, rank) = (self.classes(), self.rank());
        let all = self.eigenvectors.flatten_to(1)?;
        let squares = matmul_nt(&x, &all)?.sqr()?.reshape((x.dim(0)?, classes, rank))?;
        Ok(squares.broadcast_mul(&self.eigenvalues)?)
    }

    /// Logits from the `rank` eigenvectors of largest |λ| of each class only, `[n, classes]`.
    ///
    /// # Errors
    /// Another number of pixels; a rank of none or more than there are.
    pub fn truncated_logits(&self, x: &Tensor, rank: usize) -> Result<Tensor> {
        self.check_count(rank)?;
        let x = self.flatten(x)?;
        let logits = (0..self.classes())
            .map(|class| {
                let order = self.by_strength(class)?.narrow(0, 0, rank)?;
                let vectors = self.eigenvectors.get(class)?.index_select(&order, 0)?;
                let values = self.eigenvalues.get(class)?.index_select(&order, 0)?;
                matmul(&matmul_nt(&x, &vectors)?.sqr()?, &values.unsqueeze(1)?)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&logits, 1)?)
    }

    /// Accuracy on `samples` with the `rank` strongest eigenvectors of each class, for each of
    /// `ranks`.
    ///
    /// # Errors
    /// As [`Decomposition::truncated_logits`], and labels that do not fit.
    /// [`Error::Interrupted`] when Stop is pressed.
    pub fn accuracy_by_rank(
        &self,
        samples: impl Into<LabelledImages>,
        ranks: &[usize],
    ) -> Result<Vec<f64>> {
        let samples = samples.into();
        for &rank in ranks {
            self.check_count(rank)?;
        }
        let most = ranks.iter().copied().max().unwrap_or(0);
        if most == 0 {
            return Ok(Vec::new());
        }
        let (classes, x) = (self.classes(), self.flatten(&samples.images)?);
        let (mut vectors, mut values) = (Vec::new(), Vec::new());
        for class in 0..classes {
            let order = self.by_strength(class)?.narrow(0, 0, most)?;
            vectors.push(self.eigenvectors.get(class)?.index_select(&order, 0)?);
            values.push(self.eigenvalues.get(class)?.index_select(&order, 0)?);
        }
        let vectors = Tensor::cat(&vectors, 0)?;
        let values = Tensor::stack(&values, 0)?;
        let count = x.dim(0)?;
        let mut logits: Vec<Vec<f64>> = vec![Vec::with_capacity(count * classes); ranks.len()];
        let mut progress = Progress::new("accuracy by rank", count as u64, "image");
        for start in (0..count).step_by(ROWS) {
            let rows = ROWS.min(count - start);
            let squares = matmul_nt(&x.narrow(0, start, rows)?, &vectors)?.sqr()?;
            let terms = squares.reshape((rows, classes, most))?.broadcast_mul(&values)?;
            let terms: Vec<f32> = terms.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            for of_class in terms.chunks(most) {
                let mut sums = Vec::with_capacity(most);
                let mut sum = 0f64;
                for &term in of_class {
                    sum += f64::from(term);
                    sums.push(sum);
                }
                for (logits, &rank) in logits.iter_mut().zip(ranks) {
                    logits.push(sums[rank - 1]);
                }
            }
            if progress.advance(rows as u64) && start + rows < count {
                return Err(Error::Interrupted { what: "the accuracy by rank".to_owned() });
            }
        }
        let labels = samples.labels.to_device(&candle_core::Device::Cpu)?;
        logits
            .into_iter()
            .map(|logits| {
                let logits = Tensor::from_vec(logits, (count, classes), &candle_core::Device::Cpu)?;
                accuracy(&logits, &labels)
            })
            .collect()
    }

    /// One image's logits taken apart. `labels` names the classes; without any, they are numbered.
    ///
    /// # Errors
    /// More or less than one image of the model's size, or another number of names than classes.
    pub fn explain(&self, sample: &Tensor, labels: &[&str]) -> Result<Explanation> {
        let (classes, rank) = (self.classes(), self.rank());
        let (height, width) = (self.height, self.width);
        if sample.elem_count() != height * width {
            let expected = format!("one image of {height}×{width} pixels");
            return Err(Error::shape("the sample", expected, sample.dims()));
        }
        if !labels.is_empty() && labels.len() != classes {
            let expected = format!("{classes} or none");
            return Err(Error::invalid("the number of class names", expected, labels.len()));
        }
        let names = match labels {
            [] => (0..classes).map(|class| class.to_string()).collect(),
            labels => labels.iter().map(|&label| label.to_owned()).collect(),
        };
        let contributions = self.contributions(&sample.reshape((1, height * width))?)?.get(0)?;
        let logits = contributions.sum(1)?.to_dtype(DType::F32)?.to_vec1()?;
        Ok(Explanation {
            input: sample.reshape((height, width))?,
            logits,
            labels: names,
            eigenvalues: self.eigenvalues.clone(),
            eigenvectors: self.eigenvectors.reshape((classes, rank, height, width))?,
            contributions,
        })
    }

    /// Indices of a class's eigenvectors by descending |λ|, u32 `[d]`.
    fn by_strength(&self, class: usize) -> Result<Tensor> {
        let values: Vec<f64> = self.eigenvalues.get(class)?.to_dtype(DType::F64)?.to_vec1()?;
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_by(|&a, &b| values[b as usize].abs().total_cmp(&values[a as usize].abs()));
        Ok(Tensor::new(order, self.eigenvalues.device())?)
    }

    fn flatten(&self, x: &Tensor) -> Result<Tensor> {
        let pixels = self.height * self.width;
        if x.rank() < 2 || x.dim(0)? == 0 || x.elem_count() != x.dim(0)? * pixels {
            let expected = format!("[n, 1, {}, {}] or [n, {pixels}]", self.height, self.width);
            return Err(Error::shape("images", expected, x.dims()));
        }
        Ok(x.flatten_from(1)?.to_dtype(self.eigenvectors.dtype())?)
    }

    pub(super) fn check_class(&self, class: usize) -> Result<()> {
        if class < self.classes() {
            return Ok(());
        }
        Err(Error::invalid("the class", format!("below {}", self.classes()), class))
    }

    pub(super) fn check_count(&self, count: usize) -> Result<()> {
        if (1..=self.rank()).contains(&count) {
            return Ok(());
        }
        let expected = format!("between 1 and {}", self.rank());
        Err(Error::invalid("the number of eigenvectors", expected, count))
    }
}

show_as_text!(Decomposition);

impl fmt::Display for Decomposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (classes, rank) = (self.classes(), self.rank());
        write!(
            f,
            "{classes} classes × {rank} eigenvectors of {}×{} pixels",
            self.height, self.width
        )
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::bilinear::image::ImageConfig;
    use crate::random::Rng;

    fn config() -> ImageConfig {
        ImageConfig { height: 3, width: 5, classes: 4, d_hidden: 6, ..ImageConfig::default() }
    }

    fn model() -> ImageModel {
        ImageModel::new(config(), 2, &Device::Cpu).unwrap()
    }

    fn images(n: usize) -> Tensor {
        Rng::seed(1).uniform(0.0, 1.0, (n, 1, 3, 5), &Device::Cpu).unwrap()
    }

    fn gap(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn contributions_and_the_naive_matrix_both_give_the_logits() {
        let (model, x) = (model(), images(7));
        let logits = model.logits(&x).unwrap();
        let parts = model.decompose().unwrap();
        assert!(gap(&parts.contributions(&x).unwrap().sum(2).unwrap(), &logits) < 1e-5);
        assert!(gap(&parts.truncated_logits(&x, 6).unwrap(), &logits) < 1e-5);
        let b = model.pixel_interactions(3).unwrap();
        let flat = x.flatten_from(1).unwrap();
        let form = (flat.matmul(&b).unwrap() * &flat).unwrap().sum(1).unwrap();
        assert!(gap(&form, &logits.narrow(1, 3, 1).unwrap().squeeze(1).unwrap()) < 1e-5);
    }

    #[test]
    fn accuracy_by_rank_is_that_of_truncated_logits() {
        let (model, x) = (model(), images(700));
        let labels = model.predict(&x).unwrap();
        let parts = model.decompose().unwrap();
        let ranks = [6, 1, 3];
        let found = parts.accuracy_by_rank((&x, &labels), &ranks).unwrap();
        assert!(found[0] > 0.995);
        for (found, rank) in found.iter().zip(ranks) {
            let logits = parts.truncated_logits(&x, rank).unwrap();
            assert!((accuracy(&logits, &labels).unwrap() - found).abs() < 5e-3);
        }
    }

    #[test]
    fn an_explanation_adds_up() {
        let (model, x) = (model(), images(1));
        let parts = model.decompose().unwrap();
        let explanation = parts.explain(&x, &["a", "b", "c", "d"]).unwrap();
        assert_eq!(explanation.eigenvectors.dims(), [4, 6, 3, 5]);
        let logits = model.logits(&x).unwrap().to_vec2::<f32>().unwrap();
        for (a, b) in explanation.logits.iter().zip(&logits[0]) {
            assert!((a - b).abs() < 1e-5);
        }
        let (values, images) = parts.top(1, 2, true).unwrap();
        let values: Vec<f32> = values.to_vec1().unwrap();
        assert!(values[0] >= values[1] && images.dims() == [2, 3, 5]);
    }

    #[test]
    fn what_cannot_be_decomposed_says_why() {
        for (change, reason) in [
            (ImageConfig { bias: true, ..config() }, "bias"),
            (ImageConfig { residual: true, ..config() }, "residual"),
            (ImageConfig { layers: 2, ..config() }, "degree 4"),
        ] {
            let model = ImageModel::new(change, 0, &Device::Cpu).unwrap();
            let message = model.decompose().unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
            assert!(model.pixel_interactions(0).is_err());
        }
        assert!(model().pixel_interactions(4).unwrap_err().to_string().contains("below 4"));
        let parts = model().decompose().unwrap();
        assert!(parts.class(4).is_err() && parts.top(0, 7, true).is_err());
        assert!(parts.truncated_logits(&images(1), 0).is_err());
        assert!(parts.explain(&images(2), &[]).is_err());
        assert!(parts.explain(&images(1), &["a"]).is_err());
    }
}
