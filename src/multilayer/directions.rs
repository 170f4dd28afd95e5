//! Directions of a decoder: their nearest neighbours, and the tokens they point at. All pairs are
//! looked at tile by tile; the square matrix is never there.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor};

use crate::check::check_sizes;
use crate::features::{Neighbours, PairVisitor, UnitVectors};
use crate::linalg::matmul_nt;
use crate::{Error, Result};

/// For each column of `decoder` `[d, n]` the largest cosine with any other column: their mean is the
/// MMCS of a dictionary with itself.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::multilayer::max_cosines;
/// # fn main() -> Result<()> {
/// let decoder = Tensor::new(&[[1f32, 0.0, 3.0], [0.0, 2.0, 4.0]], &Device::Cpu)?;
/// let found = max_cosines(&decoder)?;
/// assert!((found[0] - 0.6).abs() < 1e-6 && (found[2] - 0.8).abs() < 1e-6);
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`Neighbours::of`] of the columns: fewer than two, NaN, another shape;
/// [`Error::Interrupted`] when Stop is pressed.
pub fn max_cosines(decoder: &Tensor) -> Result<Vec<f32>> {
    Ok(Neighbours::of(&columns(decoder)?, 1)?.nearest())
}

/// The original's maximum of cosines, which misses some.
///
/// With no `chunk`, column j is compared with the columns *before* it and with 0, so that the first has
/// 0 and the values depend on the order. With chunks of `chunk` columns, column j of the one that
/// starts at s is compared with the columns below j − s, and with those from s + `chunk` on. Both agree
/// only for a single chunk.
///
/// # Errors
/// [`Error::Invalid`] for a chunk of 0; as [`max_cosines`] otherwise.
pub fn max_cosines_original(decoder: &Tensor, chunk: Option<usize>) -> Result<Vec<f32>> {
    let unit = UnitVectors::of(&columns(decoder)?)?;
    let [n, _] = unit.dims();
    let chunk = chunk.unwrap_or(n);
    check_sizes(&[("`chunk`", chunk)])?;
    let search = OriginalMaxima { chunk, found: Mutex::new(vec![0.0; n]) };
    unit.visit("the largest cosines", &search)?;
    Ok(search.found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The maxima of [`max_cosines_original`].
struct OriginalMaxima {
    chunk: usize,
    found: Mutex<Vec<f32>>,
}

/// TaskMaxima of some rows and some columns.
struct TaskMaxima {
    rows: (usize, Vec<f32>),
    columns: (usize, Vec<f32>),
}

impl PairVisitor for OriginalMaxima {
    type Part = TaskMaxima;

    fn begin(&self, rows: &Range<usize>, columns: &Range<usize>) -> TaskMaxima {
        let zeros = |range: &Range<usize>| (range.start, vec![0.0; range.len()]);
        TaskMaxima { rows: zeros(rows), columns: zeros(columns) }
    }

    fn look(&self, part: &mut TaskMaxima, i: usize, first: usize, cosines: &[f32]) {
        let start_of = |own: usize| own / self.chunk * self.chunk;
        let own = &mut part.rows.1[i - part.rows.0];
        for (j, &cosine) in (first..).zip(cosines) {
            if j >= start_of(i) + self.chunk {
                *own = own.max(cosine);
            }
            if i < j - start_of(j) {
                let other = &mut part.columns.1[j - part.columns.0];
                *other = other.max(cosine);
            }
        }
    }

    fn end(&self, part: TaskMaxima) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        for (start, values) in [part.rows, part.columns] {
            let own = found[start..].iter_mut().zip(values);
            own.for_each(|(found, value)| *found = found.max(value));
        }
    }
}

/// The `count` rows of `embeddings` `[vocabulary, d]` with the largest cosine with each of the columns
/// `latents` of `decoder` `[d, n]`: the token and the cosine, the nearest first. `model.w_e()` has the
/// embeddings, `model.w_u()` the unembedding.
///
/// # Errors
/// [`Error::Invalid`] for a latent that there is not, none, or a count of 0; [`Error::Shape`] for
/// embeddings of another width.
pub fn nearest_embeddings(
    decoder: &Tensor,
    embeddings: &Tensor,
    latents: &[usize],
    count: usize,
) -> Result<Vec<Vec<(u32, f32)>>> {
    check_sizes(&[("the number of latents", latents.len()), ("the number of tokens", count)])?;
    let [d, n] = *decoder.dims() else {
        return Err(Error::shape("the decoder", "[d, n]", decoder.dims()));
    };
    match *embeddings.dims() {
        [vocabulary, width] if vocabulary > 0 && width == d => {}
        _ => {
            let expected = format!("[vocabulary, {d}]");
            return Err(Error::shape("the embeddings", expected, embeddings.dims()));
        }
    }
    if let Some(beyond) = latents.iter().find(|latent| **latent >= n) {
        return Err(Error::invalid("the latent", format!("below {n}"), beyond));
    }
    let ids: Vec<u32> = latents.iter().map(|latent| *latent as u32).collect();
    let own = columns(&decoder.index_select(&Tensor::new(ids, decoder.device())?, 1)?)?;
    let (own, embeddings) = (UnitVectors::of(&own)?, UnitVectors::of(embeddings)?);
    let own = own.rows().to_device(embeddings.rows().device())?;
    let mut found = Vec::with_capacity(latents.len());
    // A few latents at a time: a vocabulary is large.
    for start in (0..latents.len()).step_by(LATENTS_AT_A_TIME) {
        let part = own.narrow(0, start, LATENTS_AT_A_TIME.min(latents.len() - start))?;
        let cosines = matmul_nt(&part, embeddings.rows())?.to_device(&Device::Cpu)?;
        for cosines in cosines.to_vec2::<f32>()? {
            let mut tokens: Vec<(u32, f32)> = (0..).zip(cosines).collect();
            tokens.sort_by(|a, b| b.1.total_cmp(&a.1));
            tokens.truncate(count);
            found.push(tokens);
        }
    }
    Ok(found)
}

/// Latents whose cosines with a whole vocabulary are held at a time.
const LATENTS_AT_A_TIME: usize = 64;

/// The columns of a decoder `[d, n]` as rows.
pub(super) fn columns(decoder: &Tensor) -> Result<Tensor> {
    match decoder.rank() {
        2 => Ok(decoder.t()?.contiguous()?),
        _ => Err(Error::shape("the decoder", "[d, n]", decoder.dims())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    /// All cosines of the columns, in f64.
    pub(crate) fn all_cosines(decoder: &Tensor) -> Vec<Vec<f64>> {
        let rows: Vec<Vec<f32>> = columns(decoder).unwrap().to_vec2().unwrap();
        let product = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let cosine =
            |a: &Vec<f32>, b: &Vec<f32>| product(a, b) / (product(a, a) * product(b, b)).sqrt();
        rows.iter().map(|a| rows.iter().map(|b| cosine(a, b)).collect()).collect()
    }

    #[test]
    fn maxima_are_those_of_all_cosines() {
        let n = 700; // more than a block
        let decoder = Rng::seed(1).normal((6, n), &Device::Cpu).unwrap();
        let all = all_cosines(&decoder);
        let close = |found: &[f32], expected: &dyn Fn(usize) -> f64| {
            for (j, found) in found.iter().enumerate() {
                let expected = expected(j);
                assert!((f64::from(*found) - expected).abs() < 1e-6, "{j}: {found} {expected}");
            }
        };
        let most = |j: usize, from: f64, keep: &dyn Fn(usize) -> bool| {
            (0..n).filter(|i| *i != j && keep(*i)).map(|i| all[i][j]).fold(from, f64::max)
        };
        close(&max_cosines(&decoder).unwrap(), &|j| most(j, -1.0, &|_| true));
        close(&max_cosines_original(&decoder, None).unwrap(), &|j| most(j, 0.0, &|i| i < j));
        for chunk in [1, 64, 699, 700, 2_000] {
            let found = max_cosines_original(&decoder, Some(chunk)).unwrap();
            close(&found, &|j| {
                let start = j / chunk * chunk;
                most(j, 0.0, &|i| i < j - start || i >= start + chunk)
            });
        }
        assert!(max_cosines_original(&decoder, Some(0)).unwrap_err().to_string().contains("chunk"));
        let flat = Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(max_cosines(&flat).unwrap_err().to_string().contains("[d, n]"));
    }

    #[test]
    fn tokens_come_nearest_first() {
        let decoder = Tensor::new(&[[1f32, 0.0], [0.0, -2.0]], &Device::Cpu).unwrap();
        let embeddings = [[3f32, 3.0], [5.0, 0.0], [0.0, -1.0], [0.0, 0.0]];
        let embeddings = Tensor::new(&embeddings, &Device::Cpu).unwrap();
        let found = nearest_embeddings(&decoder, &embeddings, &[1, 0], 2).unwrap();
        let tokens = |at: usize| found[at].iter().map(|own| own.0).collect::<Vec<_>>();
        assert_eq!((tokens(0), tokens(1)), (vec![2, 1], vec![1, 0]));
        assert!((found[1][1].1 - 0.5f32.sqrt()).abs() < 1e-6);
        let message = |latents: &[usize], count| {
            nearest_embeddings(&decoder, &embeddings, latents, count).unwrap_err().to_string()
        };
        assert!(message(&[2], 1).contains("below 2"));
        assert!(
            message(&[], 1).contains("number of latents") && message(&[0], 0).contains("tokens")
        );
        let wide = embeddings.t().unwrap().contiguous().unwrap();
        assert!(nearest_embeddings(&decoder, &wide, &[0], 1).is_err());
    }
}
