//! The factors, as a classifier and taken apart.

use std::fmt;

use candle_core::{D, DType, Tensor, Var};

use crate::bilinear::image::{ImageModel, LabelledImages};
use crate::bilinear::{interactions, symmetrise};
use crate::check::check_all_finite;
use crate::display::show_as_text;
use crate::linalg::{matmul, matmul_nt};
use crate::random::Rng;
use crate::train::accuracy;
use crate::{Error, Result};

/// Factors shared by all classes. A cheap handle: clones share factors, and [`CpdModel::fit`]
/// changes them in place.
#[derive(Debug, Clone)]
pub struct CpdModel {
    height: usize,
    width: usize,
    pub(super) left: Var,
    pub(super) right: Var,
    pub(super) down: Var,
}

/// The neurons of a [`CpdModel`], the strongest first.
#[derive(Debug, Clone)]
pub struct CpdDecomposition {
    /// `(l + r)/‖l + r‖`: the pattern that adds, columns of `[pixels, rank]`.
    pub plus: Tensor,
    /// `(l − r)/‖l − r‖`: the pattern that takes away, columns of `[pixels, rank]`.
    pub minus: Tensor,
    /// `d/‖d‖`: what the neuron does for each class, columns of `[classes, rank]`.
    pub down: Tensor,
    /// `‖l‖ ‖r‖ ‖d‖`, descending, `[rank]`.
    pub sigma: Tensor,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
}

impl CpdModel {
    /// Random factors of rank `rank` for `model`: columns of length about 1.
    ///
    /// # Errors
    /// A rank of zero.
    pub fn new(model: &ImageModel, rank: usize, seed: u64) -> Result<Self> {
        if rank == 0 {
            return Err(Error::invalid("the rank", "at least 1", 0));
        }
        let (config, embed) = (model.config(), model.embed());
        let mut rng = Rng::seed(seed);
        let mut columns = |rows: usize| -> Result<Tensor> {
            let values = rng.normal((rows, rank), embed.device())?;
            Ok((values / (rows as f64).sqrt())?.to_dtype(embed.dtype())?)
        };
        let (left, right) = (columns(config.pixels())?, columns(config.pixels())?);
        let down = columns(config.classes)?;
        Self::from_factors(config.height, config.width, &left, &right, &down)
    }

    /// Given factors: `left` and `right` `[height·width, rank]`, `down` `[classes, rank]`.
    ///
    /// # Errors
    /// Shapes that do not match.
    pub fn from_factors(
        height: usize,
        width: usize,
        left: &Tensor,
        right: &Tensor,
        down: &Tensor,
    ) -> Result<Self> {
        let pixels = height * width;
        let rank = match *left.dims() {
            [own, rank] if own == pixels && rank > 0 => rank,
            _ => return Err(Error::shape("left", format!("[{pixels}, rank]"), left.dims())),
        };
        if right.dims() != [pixels, rank] {
            return Err(Error::shape("right", format!("[{pixels}, {rank}]"), right.dims()));
        }
        if down.rank() != 2 || down.dims()[1] != rank || down.dims()[0] == 0 {
            return Err(Error::shape("down", format!("[classes, {rank}]"), down.dims()));
        }
        let var = |factor: &Tensor| Var::from_tensor(&factor.contiguous()?);
        Ok(Self { height, width, left: var(left)?, right: var(right)?, down: var(down)? })
    }

    /// Left factors, columns of `[pixels, rank]`.
    pub fn left(&self) -> Tensor {
        self.left.as_detached_tensor()
    }

    /// Right factors, columns of `[pixels, rank]`.
    pub fn right(&self) -> Tensor {
        self.right.as_detached_tensor()
    }

    /// Class weights, columns of `[classes, rank]`.
    pub fn down(&self) -> Tensor {
        self.down.as_detached_tensor()
    }

    /// Number of neurons.
    pub fn rank(&self) -> usize {
        self.left.dims()[1]
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.down.dims()[0]
    }

    /// Logits `Σ_r d_cr (l_r·x)(r_r·x)` of images `[n, …]`, `[n, classes]`.
    ///
    /// The similarity does not see the length of the tensor, so after a fit logits are right up to
    /// one positive factor; the order of classes is not affected.
    ///
    /// # Errors
    /// Another number of pixels.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let pixels = self.height * self.width;
        if x.rank() < 2 || x.dim(0)? == 0 || x.elem_count() != x.dim(0)? * pixels {
            let expected = format!("[n, 1, {}, {}] or [n, {pixels}]", self.height, self.width);
            return Err(Error::shape("images", expected, x.dims()));
        }
        let x = x.flatten_from(1)?.to_dtype(self.left.dtype())?;
        let hidden = (matmul(&x, &self.left())? * matmul(&x, &self.right())?)?;
        matmul_nt(&hidden, &self.down())
    }

    /// The class of the largest logit of each image, u32 `[n]`.
    ///
    /// # Errors
    /// Another number of pixels.
    pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.logits(x)?.argmax(D::Minus1)?)
    }

    /// The accuracy of the factors used as a classifier, in `[0, 1]` (the "sparse accuracy").
    ///
    /// # Errors
    /// Images or labels that do not fit.
    pub fn accuracy(&self, samples: impl Into<LabelledImages>) -> Result<f64> {
        let samples = samples.into();
        accuracy(&self.logits(&samples.images)?, &samples.labels)
    }

    /// The whole tensor `T_c = Σ_r d_cr ½(l_r r_rᵀ + r_r l_rᵀ)`, `[classes, pixels, pixels]`. For
    /// looking at small models: nothing else here needs it.
    ///
    /// # Errors
    /// None that the user can cause.
    pub fn tensor(&self) -> Result<Tensor> {
        let rows = |factor: Tensor| factor.t()?.contiguous();
        symmetrise(&interactions(&self.down(), &rows(self.left())?, &rows(self.right())?)?)
    }

    /// The neurons by descending strength.
    ///
    /// # Errors
    /// Factors that are not finite.
    pub fn decompose(&self) -> Result<CpdDecomposition> {
        let (left, right, down) = (self.left(), self.right(), self.down());
        let strength = ((norms(&left)? * norms(&right)?)? * norms(&down)?)?;
        let sizes: Vec<f64> = strength.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?;
        check_all_finite("the factors", &sizes)?;
        let mut order: Vec<u32> = (0..sizes.len() as u32).collect();
        order.sort_by(|&a, &b| sizes[b as usize].total_cmp(&sizes[a as usize]));
        let order = Tensor::new(order, left.device())?;
        let sorted = |columns: Tensor| -> Result<Tensor> {
            // A neuron with l = r takes nothing away: its column of zeros stays one.
            let length = norms(&columns)?.maximum(f64::from(f32::MIN_POSITIVE))?;
            Ok(columns.broadcast_div(&length)?.index_select(&order, 1)?)
        };
        Ok(CpdDecomposition {
            plus: sorted((&left + &right)?)?,
            minus: sorted((left - right)?)?,
            down: sorted(down)?,
            sigma: strength.squeeze(0)?.index_select(&order, 0)?,
            height: self.height,
            width: self.width,
        })
    }
}

show_as_text!(CpdModel);

impl fmt::Display for CpdModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rank, classes) = (self.rank(), self.classes());
        write!(
            f,
            "CPD: {rank} neurons of {}×{} pixels, shared by {classes} classes",
            self.height, self.width
        )
    }
}

impl CpdDecomposition {
    /// The patterns that add, as images `[rank, height, width]`.
    ///
    /// # Errors
    /// Fields that were changed to other shapes.
    pub fn plus_images(&self) -> Result<Tensor> {
        self.images(&self.plus)
    }

    /// The patterns that take away, as images `[rank, height, width]`.
    ///
    /// # Errors
    /// Fields that were changed to other shapes.
    pub fn minus_images(&self) -> Result<Tensor> {
        self.images(&self.minus)
    }

    fn images(&self, columns: &Tensor) -> Result<Tensor> {
        Ok(columns.t()?.contiguous()?.reshape((columns.dim(1)?, self.height, self.width))?)
    }
}

show_as_text!(CpdDecomposition);

impl fmt::Display for CpdDecomposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sigma: Vec<f32> = self
            .sigma
            .to_dtype(DType::F32)
            .and_then(|sigma| sigma.to_vec1())
            .map_err(|_| fmt::Error)?;
        let strongest: Vec<_> = sigma.iter().take(8).map(|size| format!("{size:.3}")).collect();
        let more = if sigma.len() > 8 { ", …" } else { "" };
        write!(f, "{} neurons, sigma {}{more}", sigma.len(), strongest.join(", "))
    }
}

/// Lengths of the columns, `[1, rank]`.
fn norms(columns: &Tensor) -> Result<Tensor> {
    Ok(columns.sqr()?.sum_keepdim(0)?.sqrt()?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, IndexOp};

    use super::*;
    use crate::bilinear::image::ImageConfig;

    pub(in crate::bilinear::cpd) fn small() -> ImageModel {
        let config =
            ImageConfig { height: 3, width: 4, classes: 3, d_hidden: 5, ..Default::default() };
        ImageModel::new(config, 0, &Device::Cpu).unwrap()
    }

    #[test]
    fn the_tensor_is_the_classifier() {
        let cpd = CpdModel::new(&small(), 4, 1).unwrap();
        let x = Rng::seed(3).uniform(0.0, 1.0, (1, 12), &Device::Cpu).unwrap();
        let logits = cpd.logits(&x).unwrap().to_vec2::<f32>().unwrap();
        let tensor = cpd.tensor().unwrap();
        for (class, expected) in logits[0].iter().enumerate() {
            let form = x.matmul(&tensor.i(class).unwrap()).unwrap();
            let form = form.matmul(&x.t().unwrap()).unwrap().to_vec2::<f32>().unwrap();
            assert!((form[0][0] - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn neurons_come_strongest_first_and_of_length_one() {
        let cpd = CpdModel::new(&small(), 4, 1).unwrap();
        let parts = cpd.decompose().unwrap();
        let sigma: Vec<f32> = parts.sigma.to_vec1().unwrap();
        assert!(sigma.windows(2).all(|pair| pair[0] >= pair[1]));
        for columns in [&parts.plus, &parts.minus, &parts.down] {
            for length in norms(columns).unwrap().i(0).unwrap().to_vec1::<f32>().unwrap() {
                assert!((length - 1.0).abs() < 1e-5);
            }
        }
        assert_eq!(parts.plus_images().unwrap().dims(), [4, 3, 4]);
        let same = CpdModel::from_factors(3, 4, &cpd.left(), &cpd.left(), &cpd.down()).unwrap();
        let minus = same.decompose().unwrap().minus_images().unwrap();
        assert_eq!(minus.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.0);
    }

    #[test]
    fn bad_shapes_are_refused() {
        let cpd = CpdModel::new(&small(), 4, 1).unwrap();
        assert!(CpdModel::new(&small(), 0, 1).unwrap_err().to_string().contains("rank"));
        let (left, down) = (cpd.left(), cpd.down());
        let message = CpdModel::from_factors(3, 5, &left, &left, &down).unwrap_err().to_string();
        assert!(message.contains("[15, rank]"), "{message}");
        assert!(CpdModel::from_factors(3, 4, &left, &down, &down).is_err());
        assert!(CpdModel::from_factors(3, 4, &left, &left, &left.t().unwrap()).is_err());
        assert!(cpd.logits(&left).is_err());
    }
}
