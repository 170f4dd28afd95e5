//! What a few contexts give, as it is found and as it is kept in a file.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};

use super::sample::TextSample;
use crate::harvest::sum_of_tensors;
use crate::model::{Decoder, HookPoint};
use crate::sae::{Codes, Normalization, Sae};
use crate::store::{Tensors, save_exactly};
use crate::{Error, Result};

/// The name of the sum over all other tensors of a file.
const SUM: &str = "sha256";

/// An autoencoder and the place that it reads and writes.
#[derive(Debug, Clone)]
pub(super) struct PlacedSae {
    pub(super) sae: Sae,
    pub(super) point: HookPoint,
    /// The number of that point among those of the pass.
    pub(super) at: usize,
}

/// What the contexts of a unit give.
#[derive(Debug)]
pub(super) struct InfoUnit {
    /// The model's loss at each token.
    pub(super) losses: Vec<f32>,
    /// For each hook point.
    pub(super) points: Vec<PointUnit>,
    /// For each autoencoder.
    pub(super) saes: Vec<SaeUnit>,
}

/// The activations at a hook point.
#[derive(Debug)]
pub(super) struct PointUnit {
    /// `‖x‖²` of each token.
    pub(super) squares: Vec<f64>,
    /// Σx of each context, `[contexts, d]`.
    pub(super) sums: Vec<f64>,
    /// `[tokens, d]` on the CPU, if they are kept.
    pub(super) rows: Option<Tensor>,
}

/// What an autoencoder makes of the tokens.
#[derive(Debug)]
pub(super) struct SaeUnit {
    /// `‖x − x̂‖²` of each token.
    pub(super) squared_errors: Vec<f64>,
    pub(super) codes: Codes,
}

impl InfoUnit {
    /// Runs the model over the contexts of a unit. Activations are in the result if `keep`.
    ///
    /// # Errors
    /// As [`Decoder::activations_with_loss`] and [`Sae::encode`].
    pub(super) fn of(
        model: &Decoder,
        (points, saes): (&[HookPoint], &[PlacedSae]),
        sample: &TextSample,
        unit: usize,
        keep: bool,
    ) -> Result<Self> {
        let contexts = sample.unit(unit);
        let tokens = sample.contexts.batch(contexts.start, contexts.len(), model.device())?;
        let (cache, losses) = model.activations_with_loss(&tokens, points)?;
        let losses: Vec<f32> = losses.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?;
        let (kept, length) = (sample.kept(contexts.clone()), sample.contexts.length());
        // There is no loss at the last position of each context.
        let loss = |place: &u32| losses[*place as usize - *place as usize / length];
        let mut found =
            Self { losses: kept.iter().map(loss).collect(), points: Vec::new(), saes: Vec::new() };
        let context_of: Vec<usize> = kept.iter().map(|place| *place as usize / length).collect();
        let mut all = Vec::with_capacity(points.len());
        for &point in points {
            let rows = TextSample::rows(&cache, point, &kept)?;
            let own = PointUnit::of(&rows, contexts.len(), &context_of, keep)?;
            found.points.push(own);
            all.push(rows);
        }
        for PlacedSae { sae, at, .. } in saes {
            found.saes.push(SaeUnit::of(sae, &all[*at])?);
        }
        Ok(found)
    }

    /// Writes the unit to a file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let mut tensors: HashMap<String, Tensor> = HashMap::new();
        let host = &Device::Cpu;
        tensors.insert("losses".to_owned(), Tensor::new(&*self.losses, host)?);
        for (at, own) in self.points.iter().enumerate() {
            tensors.insert(format!("point.{at}.squares"), Tensor::new(&*own.squares, host)?);
            tensors.insert(format!("point.{at}.sums"), Tensor::new(&*own.sums, host)?);
            let rows = own.rows.iter().map(|rows| (format!("point.{at}.rows"), rows.clone()));
            tensors.extend(rows);
        }
        for (at, own) in self.saes.iter().enumerate() {
            tensors.insert(format!("sae.{at}.errors"), Tensor::new(&*own.squared_errors, host)?);
            tensors.extend(code_tensors(&format!("sae.{at}."), &own.codes)?);
        }
        let sum = sum_of(&tensors)?;
        tensors.insert(SUM.to_owned(), Tensor::new(sum.as_bytes(), host)?);
        save_exactly(path, &tensors)
    }

    /// Reads a unit of `rows` tokens from a file.
    ///
    /// # Errors
    /// [`Error::Format`] for a file that is damaged or of another unit.
    pub(super) fn load(path: &Path, rows: usize, saes: &[PlacedSae], keep: bool) -> Result<Self> {
        let mut file = Tensors::open(path, &Device::Cpu)?;
        let damaged = || {
            let expected = "a whole unit of this pass (remove it to make it again)";
            Error::format(path, expected, "one that is damaged")
        };
        let names: Vec<String> = file.names().map(str::to_owned).collect();
        let all = names.into_iter().map(|name| Some((name.clone(), file.any(&name)?)));
        let mut all: HashMap<String, Tensor> = all.collect::<Option<_>>().ok_or_else(damaged)?;
        let sum = all.remove(SUM).ok_or_else(damaged)?.to_vec1::<u8>()?;
        if sum != sum_of(&all)?.as_bytes() {
            return Err(damaged());
        }
        let mut take = |name: String| all.remove(&name).ok_or_else(damaged);
        let mut points = Vec::new();
        for at in 0..saes.iter().map(|sae| sae.at + 1).max().unwrap_or(0) {
            points.push(PointUnit {
                squares: take(format!("point.{at}.squares"))?.to_vec1()?,
                sums: take(format!("point.{at}.sums"))?.to_vec1()?,
                rows: keep.then(|| take(format!("point.{at}.rows"))).transpose()?,
            });
        }
        let losses: Vec<f32> = take("losses".to_owned())?.to_vec1()?;
        let mut found = Vec::new();
        for (at, PlacedSae { sae, .. }) in saes.iter().enumerate() {
            found.push(SaeUnit {
                squared_errors: take(format!("sae.{at}.errors"))?.to_vec1()?,
                codes: codes_of(sae.features(), &format!("sae.{at}."), &mut take)?
                    .ok_or_else(damaged)?,
            });
        }
        if losses.len() != rows || found.iter().any(|own| own.codes.rows() != rows) {
            return Err(damaged());
        }
        Ok(Self { losses, points, saes: found })
    }
}

fn sum_of(tensors: &HashMap<String, Tensor>) -> Result<String> {
    let mut sorted: Vec<(&String, &Tensor)> = tensors.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    sum_of_tensors(sorted)
}

/// Codes as tensors whose names begin with `prefix`: entries of each row, features, values.
pub(super) fn code_tensors(prefix: &str, codes: &Codes) -> Result<Vec<(String, Tensor)>> {
    let host = &Device::Cpu;
    let counts: Vec<u32> = (0..codes.rows()).map(|row| codes.row(row).len() as u32).collect();
    let entries = (0..codes.rows()).flat_map(|row| codes.row(row));
    let (features, values): (Vec<u32>, Vec<f32>) = entries.unzip();
    Ok(vec![
        (format!("{prefix}counts"), Tensor::new(counts, host)?),
        (format!("{prefix}features"), Tensor::new(features, host)?),
        (format!("{prefix}values"), Tensor::new(values, host)?),
    ])
}

/// The codes that [`code_tensors`] made tensors of; nothing if these do not belong together.
pub(super) fn codes_of(
    width: usize,
    prefix: &str,
    take: &mut impl FnMut(String) -> Result<Tensor>,
) -> Result<Option<Codes>> {
    let counts: Vec<u32> = take(format!("{prefix}counts"))?.to_vec1()?;
    let features: Vec<u32> = take(format!("{prefix}features"))?.to_vec1()?;
    let values: Vec<f32> = take(format!("{prefix}values"))?.to_vec1()?;
    let entries: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    if features.len() as u64 != entries || values.len() as u64 != entries {
        return Ok(None);
    }
    let mut entries = features.into_iter().zip(values);
    let rows = counts.iter().map(|count| entries.by_ref().take(*count as usize).collect());
    Ok(Codes::new(width, rows).ok())
}

impl PointUnit {
    fn of(rows: &Tensor, contexts: usize, context_of: &[usize], keep: bool) -> Result<Self> {
        let rows = rows.to_device(&Device::Cpu)?;
        let width = rows.dim(1)?;
        let values: Vec<f32> = rows.flatten_all()?.to_vec1()?;
        let mut sums = vec![0.0; contexts * width];
        let mut squares = Vec::with_capacity(context_of.len());
        for (row, context) in values.chunks(width).zip(context_of) {
            let sums = sums[context * width..][..width].iter_mut();
            sums.zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            squares.push(row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>());
        }
        Ok(Self { squares, sums, rows: keep.then_some(rows) })
    }
}

impl SaeUnit {
    fn of(sae: &Sae, rows: &Tensor) -> Result<Self> {
        if rows.dim(0)? == 0 {
            let codes = Codes::new(sae.features(), [])?;
            return Ok(Self { squared_errors: Vec::new(), codes });
        }
        let x = rows.to_device(sae.w_dec().device())?;
        let codes = sae.encode(&x)?;
        let made = reconstructed(sae, &x, &codes)?;
        let width = x.dim(1)?;
        let flat = |tensor: &Tensor| -> Result<Vec<f32>> {
            Ok(tensor.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?)
        };
        let (x, made) = (flat(&x)?, flat(&made)?);
        let square = |(x, made): (&[f32], &[f32])| {
            let pairs = x.iter().zip(made);
            pairs.map(|(x, made)| (f64::from(*x) - f64::from(*made)).powi(2)).sum::<f64>()
        };
        let squared_errors = x.chunks(width).zip(made.chunks(width)).map(square).collect();
        Ok(Self { squared_errors, codes })
    }
}

/// What an autoencoder makes of activations whose codes are known, `[rows, d]`.
///
/// # Errors
/// As [`Sae::decode`].
pub(super) fn reconstructed(sae: &Sae, x: &Tensor, codes: &Codes) -> Result<Tensor> {
    let own = sae.architecture().normalization;
    let is_plain = matches!(own, Normalization::None | Normalization::Scale(_));
    match is_plain && sae.weights().skip.is_none() {
        true => sae.decode(codes),
        // Codes that were kept do not know how to undo the normalisation of their rows.
        false => sae.reconstruct(x),
    }
}
