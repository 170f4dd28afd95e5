//! What a harvest will do, found out before anything is written.

use candle_core::{DType, Tensor};

use super::code_rows;
use super::native;
use super::options::{HarvestOptions, first_repeated};
use super::run::{
    Run, RunDataset, RunModel, RunPoint, RunSae, RunSources, loadable, sum_of_model, sum_of_sae,
    sum_of_tokens,
};
use super::tally::Tally;
use crate::data::text::Contexts;
use crate::model::{Decoder, HookPoint};
use crate::sae::{Sae, model_name};
use crate::{Error, Result};

/// Tokens per unit, unless the memory or the user says otherwise.
const UNIT_TOKENS: usize = 131_072;
/// Bytes of a shard, unless the user says otherwise.
const SHARD_BYTES: usize = 256 << 20;

/// An autoencoder, where it reads, and what it predicts.
#[derive(Debug)]
pub(super) struct HarvestedSae {
    pub(super) sae: Sae,
    pub(super) point: HookPoint,
    /// None if the model has no such place.
    pub(super) target: Option<HookPoint>,
}

impl HarvestedSae {
    pub(super) fn new(sae: &Sae) -> Result<Self> {
        let point = sae.point()?;
        let target = match &sae.origin().hook_out {
            Some(name) => name.parse().ok(),
            None => Some(point),
        };
        Ok(Self { sae: sae.clone(), point, target })
    }

    /// What the store's record says of it.
    fn record(&self, key: String) -> Result<RunSae> {
        let Self { sae, point, .. } = self;
        Ok(RunSae {
            key,
            architecture: sae.architecture().to_string(),
            point: point.to_string(),
            layer: point.layer().map_or(-1, |layer| layer as i32),
            features: sae.features(),
            sha256: sum_of_sae(sae)?,
        })
    }

    fn source(&self) -> Option<String> {
        loadable(self.sae.origin().source.as_ref()?, None)
    }
}

/// The record of a harvest, but for what [`Run::put`] adds. `there` is that of the store it goes on
/// with, if there is one.
///
/// # Errors
/// If something does not fit the model, or if memory is too small.
pub(super) fn plan(
    model: &Decoder,
    saes: &[HarvestedSae],
    contexts: &Contexts,
    options: &HarvestOptions,
    there: Option<&Run>,
) -> Result<Run> {
    if options.points.is_empty() && saes.is_empty() {
        let expected = "at least one hook point or one autoencoder";
        return Err(Error::invalid("what is harvested", expected, "neither"));
    }
    let keys = keys(&options.keys, saes)?;
    let probed = probe(model, saes, &options.points, contexts)?;
    let dtype = options.dtype.unwrap_or(probed.dtype);
    let row_bytes: Vec<usize> =
        probed.widths.iter().map(|width| width * dtype.size_in_bytes()).collect();
    let size = UnitSize { row_bytes: &row_bytes, saes, length: contexts.length() };
    // A harvest that goes on has the units it began with, whatever its memory.
    let unit_contexts = match (options.unit, there) {
        (Some(unit), _) => unit,
        (None, Some(run)) => run.unit_contexts,
        (None, None) => size.contexts(options)?,
    };
    size.check(unit_contexts, options)?;
    let rows = contexts.as_slice().len() as f64 * options.activations.share();
    let bytes = rows * row_bytes.iter().copied().max().unwrap_or(0) as f64;
    let points = options.points.iter().zip(&probed.widths);
    let points = points.map(|(point, width)| RunPoint { name: point.to_string(), width: *width });
    let records = saes.iter().zip(keys).map(|(sae, key)| sae.record(key));
    let repository = model.repository().map(|repository| repository.name().to_owned());
    Ok(Run {
        format: 0,
        identity: String::new(),
        model: RunModel {
            name: model_name(model),
            config: format!("{:?}", model.config()),
            sha256: sum_of_model(model)?,
        },
        dataset: RunDataset {
            name: contexts.source().to_string(),
            sha256: sum_of_tokens(contexts),
            contexts: contexts.len(),
            length: contexts.length(),
        },
        points: points.collect(),
        saes: records.collect::<Result<_>>()?,
        dtype: native::safetensors_name(dtype)?.to_owned(),
        seed: options.seed,
        unit_contexts,
        units: contexts.len().div_ceil(unit_contexts),
        piles: ((bytes / options.pile as f64).ceil() as usize).max(1),
        activations: options.activations,
        codes: options.codes,
        skip_tokens: options.skip_tokens.clone(),
        examples: options.examples,
        loss: options.loss,
        sources: RunSources {
            model: loadable(model.source(), repository.as_deref()),
            dataset: loadable(contexts.source(), contexts.repository_name()),
            saes: saes.iter().map(HarvestedSae::source).collect(),
        },
        eigenlens: String::new(),
    })
}

/// Every hook point that is needed, once.
pub(super) fn captured(saes: &[HarvestedSae], points: &[HookPoint]) -> Vec<HookPoint> {
    let mut all = points.to_vec();
    for point in saes.iter().flat_map(|sae| [Some(sae.point), sae.target]).flatten() {
        if !all.contains(&point) {
            all.push(point);
        }
    }
    all
}

/// The names of autoencoders in a store: those given, or their hook points.
fn keys(given: &[String], saes: &[HarvestedSae]) -> Result<Vec<String>> {
    let keys: Vec<String> = match given.is_empty() {
        false => given.to_vec(),
        true => {
            let point = |at: usize| saes[at].point;
            let key = |at: usize| {
                let before = (0..at).filter(|other| point(*other) == point(at)).count();
                match before {
                    0 => point(at).to_string(),
                    _ => format!("{}-{}", point(at), before + 1),
                }
            };
            (0..saes.len()).map(key).collect()
        }
    };
    if keys.len() != saes.len() {
        let expected = format!("as many as there are autoencoders, {}", saes.len());
        return Err(Error::invalid("`keys`", expected, keys.len()));
    }
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || "._-".contains(sign);
    if let Some(odd) =
        keys.iter().find(|key| key.is_empty() || key.starts_with('.') || !key.chars().all(is_plain))
    {
        let expected = "names of letters, digits, `.`, `_` and `-`, because they are folders too";
        return Err(Error::invalid("`keys`", expected, format!("`{odd}`")));
    }
    if let Some(twice) = first_repeated(&keys) {
        return Err(Error::invalid("`keys`", "different ones", format!("`{twice}` twice")));
    }
    Ok(keys)
}

/// What a look at the first token tells.
struct Probed {
    widths: Vec<usize>,
    dtype: DType,
}

/// Makes sure that everything fits, before anything is written.
fn probe(
    model: &Decoder,
    saes: &[HarvestedSae],
    points: &[HookPoint],
    contexts: &Contexts,
) -> Result<Probed> {
    let config = model.config();
    if contexts.length() > config.context {
        let what = "the length of the contexts";
        let expected = format!("at most {}, the model's context", config.context);
        return Err(Error::invalid(what, expected, contexts.length()));
    }
    let largest = contexts.as_slice().iter().max().copied().unwrap_or(0);
    if largest as usize >= config.vocab {
        let expected = format!("below {}, the model's vocabulary", config.vocab);
        return Err(Error::invalid("the contexts' tokens", expected, largest));
    }
    let first = Tensor::new(&contexts.as_slice()[..1], model.device())?;
    let captured = captured(saes, points);
    let cache = model.activations(&first, &captured)?;
    let width = |point: HookPoint| -> Result<usize> {
        if let HookPoint::Scores(_) | HookPoint::Pattern(_) = point {
            let expected = "one with a vector per token: attention has one per pair of tokens";
            return Err(Error::invalid("the hook point", expected, point));
        }
        Ok(cache.get(point)?.flatten(0, 1)?.flatten_from(1)?.dim(1)?)
    };
    for HarvestedSae { sae, point, .. } in saes {
        if width(*point)? != sae.d_model() {
            let what = format!("the width of the autoencoder at {point}");
            let expected = format!("{}, the width of that hook point", width(*point)?);
            return Err(Error::invalid(what, expected, sae.d_model()));
        }
    }
    Ok(Probed {
        widths: points.iter().map(|point| width(*point)).collect::<Result<_>>()?,
        dtype: cache.get(captured[0])?.dtype(),
    })
}

/// How much memory units take.
struct UnitSize<'a> {
    /// Bytes of a row at each hook point.
    row_bytes: &'a [usize],
    saes: &'a [HarvestedSae],
    length: usize,
}

impl UnitSize<'_> {
    /// Bytes whatever the number of contexts.
    fn fixed(&self, options: &HarvestOptions) -> usize {
        let buffer = if options.codes.share() > 0.0 { code_rows::BUFFER } else { 0 };
        let tally = |sae: &HarvestedSae| Tally::bytes(sae.sae.features(), options.examples);
        self.saes.iter().map(|sae| tally(sae) + buffer).sum()
    }

    /// Bytes per context: rows, where they go, and what the table of tokens has of them.
    fn per_context(&self) -> usize {
        let columns = 32 + 4 * self.row_bytes.len() + 12 * self.saes.len();
        self.length * (self.row_bytes.iter().sum::<usize>() + columns)
    }

    /// As many contexts as memory has room for.
    fn contexts(&self, options: &HarvestOptions) -> Result<usize> {
        let room = options.memory.saturating_sub(self.fixed(options)) / self.per_context();
        let row = self.row_bytes.iter().copied().max().unwrap_or(0).max(1);
        let in_shard = SHARD_BYTES / (row * self.length);
        let contexts = room.min(in_shard.max(1)).min((UNIT_TOKENS / self.length).max(1));
        self.check(contexts.max(1), options)?;
        Ok(contexts)
    }

    fn check(&self, contexts: usize, options: &HarvestOptions) -> Result<()> {
        let needed = self.fixed(options) + contexts * self.per_context();
        if needed > options.memory {
            let expected = format!("at least {needed} bytes for units of {contexts} contexts");
            return Err(Error::invalid("`memory`", expected, options.memory));
        }
        if contexts * self.length > u32::MAX as usize {
            let expected = format!("at most {} contexts", u32::MAX as usize / self.length);
            return Err(Error::invalid("`unit`", expected, contexts));
        }
        Ok(())
    }
}
