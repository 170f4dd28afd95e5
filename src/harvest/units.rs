//! Going over a text once: units of work that any number of processes share.

use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Tensor};

use super::code_rows;
use super::commit::Commit;
use super::native;
use super::options::{HarvestOptions, first_repeated};
use super::piles::{Draw, draw};
use super::place::{Place, PlaceLock};
use super::run::{
    Run, RunDataset, RunModel, RunPoint, RunSae, RunSources, loadable, sum_of_model, sum_of_sae,
    sum_of_tokens,
};
use super::store::Store;
use super::tally::Tally;
use super::unit::{BatchCodes, BatchOutput, Unit, squared_lengths};
use crate::data::text::Contexts;
use crate::model::{Decoder, HookPoint};
use crate::progress::{Progress, StopShield};
use crate::sae::{Sae, model_name};
use crate::{Error, Result};

/// Tokens per unit, unless the memory or the user says otherwise.
const UNIT_TOKENS: usize = 131_072;
/// Bytes of a shard, unless the user says otherwise.
const SHARD_BYTES: usize = 256 << 20;

/// A harvest of which each unit is a function of its number: what [`Store::harvest`] runs from the
/// first unit to the last, and a cluster in any order. It shares its folder with others.
///
/// ```
/// use eigenlens::harvest::{Harvest, HarvestOptions};
/// use eigenlens::prelude::*;
/// # fn main() -> Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("store");
/// let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
/// let contexts = Contexts::spread(&Tokens::from(vec![3; 4_096]), 8, 64)?;
/// let options = HarvestOptions {
///     points: vec![HookPoint::ResidPost(0)],
///     unit: Some(4),
///     ..HarvestOptions::default()
/// };
/// let harvest = Harvest::new(&path, &model, &[], &contexts, &options)?;
/// for unit in harvest.missing()? {
///     harvest.harvest_unit(unit)?;
/// }
/// assert_eq!(Store::open(&path)?.units().len(), 2);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Harvest {
    place: Place,
    lock: PlaceLock,
    run: Run,
    model: Decoder,
    saes: Vec<HarvestedSae>,
    points: Vec<HookPoint>,
    contexts: Contexts,
    batch: usize,
}

/// An autoencoder, where it reads, and what it predicts.
#[derive(Debug)]
struct HarvestedSae {
    sae: Sae,
    point: HookPoint,
    /// None if the model has no such place.
    target: Option<HookPoint>,
}

impl Harvest {
    /// A harvest into the folder `path`: a new one, or one to go on with.
    ///
    /// # Errors
    /// - If there are neither hook points nor autoencoders, or if one does not fit the model.
    /// - If contexts are longer than the model's, or of another vocabulary.
    /// - If the folder holds something else or the store of another harvest, or cannot be written.
    /// - If `memory` is too small for a unit.
    pub fn new(
        path: impl AsRef<Path>,
        model: &Decoder,
        saes: &[Sae],
        contexts: &Contexts,
        options: &HarvestOptions,
    ) -> Result<Self> {
        options.check()?;
        if options.points.is_empty() && saes.is_empty() {
            let expected = "at least one hook point or one autoencoder";
            return Err(Error::invalid("what is harvested", expected, "neither"));
        }
        let points = options.points.clone();
        let saes: Vec<HarvestedSae> = saes.iter().map(HarvestedSae::new).collect::<Result<_>>()?;
        let keys = keys(&options.keys, &saes)?;
        let probed = probe(model, &saes, &points, contexts)?;
        let dtype = options.dtype.unwrap_or(probed.dtype);
        let run_points = points.iter().zip(&probed.widths);
        let run_points: Vec<RunPoint> = run_points
            .map(|(point, width)| RunPoint { name: point.to_string(), width: *width })
            .collect();
        let run_saes = saes.iter().zip(keys).map(|(HarvestedSae { sae, point, .. }, key)| {
            Ok(RunSae {
                key,
                architecture: sae.architecture().to_string(),
                point: point.to_string(),
                layer: point.layer().map_or(-1, |layer| layer as i32),
                features: sae.features(),
                sha256: sum_of_sae(sae)?,
            })
        });
        let place = Place::new(path.as_ref());
        let there = Run::find(&place)?;
        let row_bytes: Vec<usize> =
            run_points.iter().map(|point| point.width * dtype.size_in_bytes()).collect();
        let size = UnitSize { row_bytes: &row_bytes, saes: &saes, length: contexts.length() };
        // A harvest that goes on has the units it began with, whatever its memory.
        let unit_contexts = match (options.unit, &there) {
            (Some(unit), _) => unit,
            (None, Some(run)) => run.unit_contexts,
            (None, None) => size.contexts(options)?,
        };
        size.check(unit_contexts, options)?;
        let rows = contexts.as_slice().len() as f64 * options.activations.share();
        let bytes = rows * row_bytes.iter().copied().max().unwrap_or(0) as f64;
        let name = |repository: Option<&crate::hub::Repository>| {
            repository.map(|repository| repository.name().to_owned())
        };
        let run = Run {
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
            points: run_points,
            saes: run_saes.collect::<Result<_>>()?,
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
                model: loadable(model.source(), name(model.repository()).as_deref()),
                dataset: loadable(contexts.source(), contexts.repository_name()),
                saes: saes.iter().map(HarvestedSae::source).collect(),
            },
            eigenlens: String::new(),
        };
        place.create()?;
        let lock = place.share()?;
        let run = run.put(&place)?;
        let (model, contexts) = (model.clone(), contexts.clone());
        Ok(Self { place, lock, run, model, saes, points, contexts, batch: options.batch })
    }

    /// What the harvest was asked to do.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Number of units.
    pub fn units(&self) -> usize {
        self.run.units
    }

    /// The units that are not done yet.
    ///
    /// # Errors
    /// If the record of a unit cannot be read.
    pub fn missing(&self) -> Result<Vec<usize>> {
        let mut missing = Vec::new();
        for unit in 0..self.run.units {
            if Commit::find(&self.place, unit)?.is_none() {
                missing.push(unit);
            }
        }
        Ok(missing)
    }

    /// Does a unit, unless it is done, and returns its record.
    ///
    /// # Errors
    /// If there is no such unit, if the store cannot be written, or [`Error::Stopped`] when Stop is
    /// pressed: nothing of the unit is kept then.
    pub fn harvest_unit(&self, unit: usize) -> Result<Commit> {
        if unit >= self.run.units {
            return Err(Error::invalid("the unit", format!("below {}", self.run.units), unit));
        }
        self.unit(unit, &mut Progress::silent())
    }

    /// Does all units that are missing.
    pub(super) fn all(&self) -> Result<()> {
        let mut missing = self.missing()?;
        if !self.lock.is_first {
            // Others are at work: an order of its own keeps this one out of their way.
            let own = draw(u64::from(std::process::id()), Draw::Order, missing.len() as u64);
            missing.sort_by_key(|unit| draw(own, Draw::Order, *unit as u64));
        }
        let contexts: usize = missing.iter().map(|unit| self.run.unit_range(*unit).len()).sum();
        let mut progress = Progress::new("harvesting", contexts as u64, "context");
        for unit in missing {
            self.unit(unit, &mut progress)?;
        }
        Ok(())
    }

    fn unit(&self, number: usize, progress: &mut Progress) -> Result<Commit> {
        if let Some(commit) = Commit::find(&self.place, number)? {
            return Ok(commit);
        }
        let start = Instant::now();
        let range = self.run.unit_range(number);
        let length = self.run.dataset.length;
        let tokens = &self.contexts.as_slice()[range.start * length..range.end * length];
        let mut unit = Unit::new(&self.place, &self.run, number, tokens)?;
        let _shield = StopShield::new();
        for first in range.clone().step_by(self.batch) {
            let count = self.batch.min(range.end - first);
            let tokens = self.contexts.batch(first, count, self.model.device())?;
            unit.add(&self.output(&tokens)?)?;
            if progress.advance(count as u64) && first + count < range.end {
                return Err(self.stopped());
            }
        }
        let tokens = unit.kept_tokens();
        let commit = Commit {
            unit: number,
            first_context: range.start as u64,
            contexts: range.len(),
            tokens,
            attempt: format!("process {}", std::process::id()),
            host: host(),
            seconds: 0.0,
            files: unit.finish()?,
        };
        let commit = Commit { seconds: start.elapsed().as_secs_f64(), ..commit }.put(&self.place)?;
        match progress.advance(0) && !self.missing()?.is_empty() {
            true => Err(self.stopped()),
            false => Ok(commit),
        }
    }

    fn stopped(&self) -> Error {
        let done = self.missing().map_or(0, |missing| self.run.units - missing.len());
        Error::Stopped {
            what: format!("the harvest (at unit {done} of {})", self.run.units),
            access: "Its whole units are kept: the same call goes on.".to_owned(),
        }
    }

    /// One forward pass, and what the autoencoders make of it.
    fn output(&self, tokens: &Tensor) -> Result<BatchOutput> {
        let captured = captured(&self.saes, &self.points);
        let (cache, losses) = match self.run.loss {
            true => {
                let (cache, losses) = self.model.activations_with_loss(tokens, &captured)?;
                (cache, Some(losses))
            }
            false => (self.model.activations(tokens, &captured)?, None),
        };
        let rows = |point: HookPoint| -> Result<Tensor> {
            Ok(cache.get(point)?.flatten(0, 1)?.flatten_from(1)?)
        };
        let mut codes = Vec::new();
        for HarvestedSae { sae, point, target } in &self.saes {
            let own = sae.encode(&rows(*point)?)?;
            let errors = match target {
                Some(target) => {
                    let target = rows(*target)?.to_dtype(DType::F32)?;
                    Some(squared_lengths(&(target - sae.decode(&own)?)?)?)
                }
                None => None,
            };
            codes.push(BatchCodes { codes: own, errors });
        }
        let activations = self.points.iter().map(|point| rows(*point)).collect::<Result<_>>()?;
        Ok(BatchOutput { rows: tokens.elem_count(), losses, activations, codes })
    }
}

impl HarvestedSae {
    fn new(sae: &Sae) -> Result<Self> {
        let point = sae.point()?;
        let target = match &sae.origin().hook_out {
            Some(name) => name.parse().ok(),
            None => Some(point),
        };
        Ok(Self { sae: sae.clone(), point, target })
    }

    fn source(&self) -> Option<String> {
        loadable(self.sae.origin().source.as_ref()?, None)
    }
}

/// Every hook point that is needed, once.
fn captured(saes: &[HarvestedSae], points: &[HookPoint]) -> Vec<HookPoint> {
    let mut all = points.to_vec();
    for sae in saes {
        all.extend([Some(sae.point), sae.target].into_iter().flatten());
    }
    let mut seen: Vec<HookPoint> = Vec::new();
    all.retain(|point| {
        let new = !seen.contains(point);
        if new {
            seen.push(*point);
        }
        new
    });
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
    if let Some(odd) = keys.iter().find(|key| {
        key.is_empty() || key.starts_with('.') || !key.chars().all(is_plain)
    }) {
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
    let cache = model.activations(&first, &captured(saes, points))?;
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
        dtype: cache.get(captured(saes, points)[0])?.dtype(),
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

/// The name of this machine.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

impl Store {
    /// Runs `model` over `contexts` once and keeps in the folder `path` what the options say: the
    /// activations at some hook points, the codes of some autoencoders, and statistics and examples of
    /// each feature. A harvest that was cut off, at any instruction, goes on where its last whole unit
    /// ended, and several processes may harvest into one folder.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("classics");
    /// let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    /// let sae = Tracer::from_pretrained(&model, 2, "x8-k16", "x8-k16")?.output().clone();
    /// let text = Contexts::from_pretrained("eigenlens/classics-4k")?;
    /// # let text = Contexts::new(text.length(), text.as_slice()[..32 * text.length()].to_vec())?;
    /// let options = HarvestOptions { points: vec![sae.point()?], ..HarvestOptions::default() };
    /// let store = Store::harvest(&path, &model, &[sae], &text, &options)?;
    /// let table = store.table("2.mlp_out")?; // how often and how strongly each feature is active
    /// println!("{store}\n{table}\n{}", store.examples("2.mlp_out", 729, 5)?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Harvest::new`]; [`Error::Stopped`] when Stop is pressed, and the same call goes on.
    pub fn harvest(
        path: impl AsRef<Path>,
        model: &Decoder,
        saes: &[Sae],
        contexts: &Contexts,
        options: &HarvestOptions,
    ) -> Result<Self> {
        Harvest::new(&path, model, saes, contexts, options)?.all()?;
        Self::open(path)
    }
}
