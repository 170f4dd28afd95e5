//! Pursuit: codes of a dictionary chosen one feature after another, each by what is left so far.
//!
//! An encoder computes all features from the activation at once, with one product. Pursuit searches:
//! it tells how much of an autoencoder's error is its encoder's and not its dictionary's.

mod code;
mod gradient;
mod gram;
mod orthogonal;
mod step;
mod support;
#[cfg(test)]
mod tests;
mod tiled;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use self::code::{Atoms, PursuitCode};
use self::gram::{FeaturePairs, GramPursuit};
use self::step::{PursuitEngine, PursuitRule};
use self::support::SupportProducts;
use self::tiled::TiledPursuit;
use crate::check::{check_finite, check_sizes};
use crate::linalg::{TileKernel, unit_rows, with_values};
use crate::progress::{Progress, SafePoint};
use crate::sae::{Codes, Rescale, Sae};
use crate::{Error, Result};

/// Most bytes of the products of all pairs of features.
const MOST_PRODUCT_BYTES: usize = 1 << 30;
/// Most bytes of the products of all supports of a task, unless one row has more.
const MOST_SUPPORT_BYTES: usize = 1 << 24;
/// Tasks a thread has between two looks at the progress bar.
const TASKS_PER_THREAD: usize = 4;

/// How codes are searched for. With a row's signal s = x − b, features dᵢ (rows of D) and the weights
/// w so far, each step is
///
/// ```text
/// r = s − w D        g = D r        S = {w ≠ 0} ∪ {argmax g}
/// Gradient:          c = g_S D      w ← max(0, w + g_S (c·r)/(c·c))
/// Orthogonal:        w_S = argmin ‖s − w_S D‖ with w_S ≥ 0
/// ```
///
/// Features whose weight becomes zero leave S, so a code may have fewer entries than there were
/// steps. A row ends before its steps are used if none is possible, as where r is zero; a row of zeros
/// has an empty code.
///
/// Both run on all threads without a matrix of all weights. g follows from the step before by the
/// products D Dᵀ, where these fit in 1 GiB and there are steps enough to be worth them; else it is
/// computed anew in tiles of features. It is computed from r every 16 steps. Weights, g and r are f32,
/// on the host whatever the device. The products among the k features of each row that is searched
/// are kept too: 16 MiB a thread, or `2 k²` bytes where one row has more.
///
/// Gradient pursuit is Blumensath and Davies (2008), as in Engels et al. (2024); orthogonal matching
/// pursuit is the plain better search.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::sae_error::{Pursuit, PursuitMethod};
/// # fn main() -> Result<()> {
/// let dictionary = Tensor::new(&[[1f32, 0.], [0., 1.]], &Device::Cpu)?;
/// let x = Tensor::new(&[[3f32, 1.]], &Device::Cpu)?;
/// let codes = Pursuit::new(PursuitMethod::Gradient, 1).encode_with(&dictionary, None, &x)?;
/// assert_eq!(codes.row(0).collect::<Vec<_>>(), [(0, 3.0)]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pursuit {
    /// How many steps each row has.
    pub steps: PursuitSteps,
    /// Whether weights may be negative: the feature with the largest |g| comes next and nothing is
    /// clipped. For dictionaries whose autoencoder has negative codes.
    pub signed: bool,
    /// What happens in a step.
    pub method: PursuitMethod,
    /// Whether `steps` counts the entries of a code instead. A row then ends when it has as many, or
    /// after four times as many steps.
    pub until_support: bool,
}

/// Numbers of steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PursuitSteps {
    /// One for each row, such as the L0 of its code by an encoder.
    Each(Vec<u32>),
    /// The same for all rows.
    Same(usize),
}

/// What a step of a pursuit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PursuitMethod {
    /// Goes along the gradient of the weights in the support, as far as is best before clipping.
    Gradient,
    /// Solves for all weights in the support, by the active sets of Lawson and Hanson (1974).
    Orthogonal,
}

impl PursuitSteps {
    fn of_rows(&self, rows: usize) -> Result<Vec<u32>> {
        match self {
            Self::Same(steps) => {
                let steps = u32::try_from(*steps)
                    .map_err(|_| Error::invalid("`steps`", "below 2³²", steps))?;
                Ok(vec![steps; rows])
            }
            Self::Each(steps) if steps.len() == rows => Ok(steps.clone()),
            Self::Each(steps) => {
                let expected = format!("{rows} numbers, one a row");
                Err(Error::shape("`steps`", expected, steps.len()))
            }
        }
    }
}

/// Where the gradient of the next step comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Products {
    /// From that of the last step, by the products of all pairs of features.
    Kept,
    /// From what is left of the row.
    Tiled,
}

impl Products {
    /// The faster one. All pairs cost as much as n steps of one row.
    fn best(features: usize, steps: &[u32]) -> Self {
        let bytes = features.saturating_mul(features).saturating_mul(size_of::<f32>());
        let total: u64 = steps.iter().map(|steps| u64::from(*steps)).sum();
        if bytes <= MOST_PRODUCT_BYTES && total >= features as u64 {
            Self::Kept
        } else {
            Self::Tiled
        }
    }
}

impl Pursuit {
    /// Pursuit of weights that are not negative, in `steps` steps.
    pub fn new(method: PursuitMethod, steps: usize) -> Self {
        Self { steps: PursuitSteps::Same(steps), signed: false, method, until_support: false }
    }

    /// Codes of activations `x` `[…, d]` in the dictionary of an autoencoder: its decoder's columns,
    /// after its decoder's bias is taken off, with its normalisation. [`Sae::decode`] makes
    /// activations of them.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a transcoder, whose decoder is not one of its input; as [`Sae::encode`]
    /// and [`Pursuit::encode_with`].
    pub fn encode(&self, sae: &Sae, x: &Tensor) -> Result<Codes> {
        let own = sae.architecture();
        if own.transcoder || sae.weights().skip.is_some() || sae.d_out() != sae.d_model() {
            let expected = "one that writes where it reads, for pursuit has no other encoder";
            return Err(Error::invalid("the autoencoder", expected, own));
        }
        let (x, restore) = sae.normalized(x)?;
        let dictionary = sae.w_dec().t()?.contiguous()?;
        // Decoding divides by the lengths of the columns.
        let dictionary = match own.rescale {
            Rescale::Kept => unit_rows(&dictionary)?,
            Rescale::None | Rescale::Undone => dictionary,
        };
        Ok(self.encode_with(&dictionary, Some(sae.b_dec()), &x)?.restoring(restore))
    }

    /// Codes of rows `x` `[rows, d]` in a dictionary `[features, d]`, whose rows may have any length;
    /// `bias` `[d]` is taken off `x` first.
    ///
    /// # Errors
    /// [`Error::Shape`] for shapes that do not match or another number of steps than of rows,
    /// [`Error::NonFinite`] for NaN, [`Error::Interrupted`] when Stop is pressed.
    pub fn encode_with(
        &self,
        dictionary: &Tensor,
        bias: Option<&Tensor>,
        x: &Tensor,
    ) -> Result<Codes> {
        Ok(self.encode_and_stalls(dictionary, bias, x)?.0)
    }

    /// The codes of rows, and of each row whether it ended because a step had no length: where the
    /// formula of the step is 0/0.
    pub(super) fn encode_and_stalls(
        &self,
        dictionary: &Tensor,
        bias: Option<&Tensor>,
        x: &Tensor,
    ) -> Result<(Codes, Vec<bool>)> {
        let codes = self.pursue(dictionary, bias, x, None)?;
        let stalls = codes.iter().map(|code| code.has_stalled).collect();
        let rows = codes.iter().map(|code| code.entries().collect());
        Ok((Codes::new(dictionary.dim(0)?, rows)?, stalls))
    }

    /// The codes of rows, with how each ended; by `products`, or the faster way.
    fn pursue(
        &self,
        dictionary: &Tensor,
        bias: Option<&Tensor>,
        x: &Tensor,
        products: Option<Products>,
    ) -> Result<Vec<PursuitCode>> {
        let [features, d] = *dictionary.dims() else {
            return Err(Error::shape("`dictionary`", "[features, d]", dictionary.dims()));
        };
        check_sizes(&[("the number of features", features), ("the features' width", d)])?;
        let rows = match *x.dims() {
            [rows, width] if width == d => rows,
            _ => return Err(Error::shape("`x`", format!("[rows, {d}]"), x.dims())),
        };
        if let Some(bias) = bias.filter(|bias| bias.dims() != [d]) {
            return Err(Error::shape("`bias`", format!("[{d}]"), bias.dims()));
        }
        let steps = self.steps.of_rows(rows)?;
        let host = |what: &str, tensor: &Tensor| -> Result<Tensor> {
            let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
            check_finite(what, &tensor)?;
            Ok(tensor)
        };
        let (dictionary, mut x) = (host("`dictionary`", dictionary)?, host("`x`", x)?);
        if let Some(bias) = bias {
            x = x.broadcast_sub(&host("`bias`", bias)?)?;
        }
        let safe = SafePoint::new("the pursuit");
        let rule = PursuitRule {
            signed: self.signed,
            method: self.method,
            until_support: self.until_support,
        };
        let products = products.unwrap_or_else(|| Products::best(features, &steps));
        with_values(&dictionary, |atoms| {
            let atoms = Atoms { values: atoms, width: d };
            with_values(&x, |signals| match products {
                Products::Kept => {
                    let pairs = FeaturePairs::new(atoms);
                    let engine = GramPursuit { atoms, pairs: &pairs, rule, safe: &safe };
                    pursue_all(&engine, d, signals, &steps, &safe)
                }
                Products::Tiled => {
                    let engine =
                        TiledPursuit { atoms, kernel: TileKernel::best(), rule, safe: &safe };
                    pursue_all(&engine, d, signals, &steps, &safe)
                }
            })?
        })?
    }
}

/// How many rows a task takes of `most`, where each has up to `features` features.
fn rows_per_task(most: usize, features: usize) -> usize {
    (MOST_SUPPORT_BYTES / SupportProducts::bytes_of(features).max(1)).clamp(1, most)
}

/// The codes of all rows, on all threads.
fn pursue_all<E: PursuitEngine>(
    engine: &E,
    d: usize,
    signals: &[f32],
    steps: &[u32],
    safe: &SafePoint,
) -> Result<Vec<PursuitCode>> {
    // The same tasks whatever the number of threads, for products of other shapes may round otherwise.
    let most = steps.iter().copied().max().unwrap_or(0) as usize;
    let rows = rows_per_task(E::ROWS_PER_TASK, most.min(engine.features()));
    let together = rows * rayon::current_num_threads() * TASKS_PER_THREAD;
    let mut progress = Progress::new("pursuit", steps.len() as u64, "row");
    let mut codes = Vec::with_capacity(steps.len());
    for (signals, steps) in signals.chunks(together * d).zip(steps.chunks(together)) {
        let tasks = signals.par_chunks(rows * d).zip(steps.par_chunks(rows));
        codes.par_extend(tasks.flat_map_iter(|(signals, steps)| engine.pursue(signals, steps)));
        // Stop is seen at the safe point.
        let _ = progress.advance(steps.len() as u64);
        safe.check()?;
    }
    Ok(codes)
}
