//! Going over a text once: units of work that any number of processes share.

use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};

use super::commit::Commit;
use super::folder::StoreFolder;
use super::options::HarvestOptions;
use super::piles::{Draw, draw};
use super::place::FolderLock;
use super::plan::{HarvestedSae, captured, plan};
use super::run::Run;
use super::store::Store;
use super::unit::{BatchCodes, BatchOutput, Unit, dtype_of, squared_lengths};
use crate::data::text::Contexts;
use crate::model::{Decoder, HookPoint};
use crate::progress::{Progress, StopShield};
use crate::sae::Sae;
use crate::{Error, Result};

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
    place: StoreFolder,
    lock: FolderLock,
    run: Run,
    model: Decoder,
    saes: Vec<HarvestedSae>,
    points: Vec<HookPoint>,
    /// Every hook point that a forward pass captures, once.
    captured: Vec<HookPoint>,
    contexts: Contexts,
    batch: usize,
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
        Self::with_piles(path.as_ref(), model, saes, contexts, options, None)
    }

    /// [`Harvest::new`] with a number of piles, if it is not for the options to say.
    fn with_piles(
        path: &Path,
        model: &Decoder,
        saes: &[Sae],
        contexts: &Contexts,
        options: &HarvestOptions,
        piles: Option<usize>,
    ) -> Result<Self> {
        options.check()?;
        let place = StoreFolder::new(path)?;
        let saes: Vec<HarvestedSae> = saes.iter().map(HarvestedSae::new).collect::<Result<_>>()?;
        let mut run = plan(model, &saes, contexts, options, Run::find(&place)?.as_ref())?;
        run.piles = piles.unwrap_or(run.piles);
        place.create()?;
        let lock = place.share()?;
        let run = run.put(&place)?;
        let captured = captured(&saes, &options.points);
        let (model, contexts, points) = (model.clone(), contexts.clone(), options.points.clone());
        let batch = options.batch;
        Ok(Self { place, lock, run, model, saes, points, captured, contexts, batch })
    }

    /// The harvest that a store was begun with, in another process: model, text and autoencoders are
    /// loaded by the names in its record.
    ///
    /// # Errors
    /// If there is no store, if one of them was made in memory and has no name, if it is not found, or
    /// if it is not what it was.
    pub fn reopen(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let run = Run::open(&StoreFolder::new(path.as_ref())?)?;
        let model = Decoder::from_pretrained(named(&run.sources.model, "the model")?, device)?;
        let contexts = Contexts::from_pretrained(named(&run.sources.dataset, "the text")?)?;
        let saes = run.sources.saes.iter().zip(&run.saes);
        let saes = saes.map(|(source, sae)| {
            let path = named(source, &format!("the autoencoder `{}`", sae.key))?;
            Ok(Sae::load(path, device)?.at(sae.point.parse()?))
        });
        let points = run.points.iter().map(|point| point.name.parse());
        let options = HarvestOptions {
            points: points.collect::<Result<_>>()?,
            activations: run.activations,
            codes: run.codes,
            keys: run.saes.iter().map(|sae| sae.key.clone()).collect(),
            dtype: Some(dtype_of(&run)?),
            examples: run.examples,
            loss: run.loss,
            unit: Some(run.unit_contexts),
            memory: usize::MAX,
            skip_tokens: run.skip_tokens.clone(),
            seed: run.seed,
            ..HarvestOptions::default()
        };
        let saes = saes.collect::<Result<Vec<_>>>()?;
        Self::with_piles(path.as_ref(), &model, &saes, &contexts, &options, Some(run.piles))
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
    /// If the store cannot be read.
    pub fn missing(&self) -> Result<Vec<usize>> {
        let done = Commit::done(&self.place)?;
        Ok((0..self.run.units).filter(|unit| !done.contains(unit)).collect())
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
        let commit =
            Commit { seconds: start.elapsed().as_secs_f64(), ..commit }.put(&self.place)?;
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
        let captured = &self.captured;
        let (cache, losses) = match self.run.loss {
            true => {
                let (cache, losses) = self.model.activations_with_loss(tokens, captured)?;
                (cache, Some(losses))
            }
            false => (self.model.activations(tokens, captured)?, None),
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

/// The name under which a part of a run can be loaded.
fn named<'a>(source: &'a Option<String>, what: &str) -> Result<&'a str> {
    source.as_deref().ok_or_else(|| Error::NotFound {
        what: format!("{what} of the store"),
        hint: "It was made in memory: save it, load it from that folder, and harvest with that, so that \
               another process can load it too."
            .to_owned(),
    })
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
