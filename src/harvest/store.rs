//! A store as a handle: what is in it, and questions to it that need no engine.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::commit::{Commit, StoredFile};
use super::feature_files::UnitTally;
use super::folder::StoreFolder;
use super::place::PART;
use super::run::{Run, RunSae};
use super::shard::Shard;
use super::shuffled::{Shards, ShardsOfPoint, ShuffleOptions, Shuffled};
use super::tally::Tally;
use super::unit::dtype_of;
use super::{FeatureTable, Statistics};
use crate::display::show_as_text;
use crate::model::HookPoint;
use crate::progress::{Progress, safe_point};
use crate::{Error, Result};

/// What a model and autoencoders made of a text, in a folder: activations in safetensors files, codes,
/// tokens and statistics in Parquet files that any engine reads. A cheap handle.
///
/// [`Store::harvest`] makes one. It shows the units that were there when it was opened.
#[derive(Debug, Clone)]
pub struct Store {
    data: Arc<StoreData>,
    /// Where queries go, if not to a process of this machine.
    scheduler: Option<Arc<str>>,
}

#[derive(Debug)]
struct StoreData {
    place: StoreFolder,
    run: Run,
    units: Vec<Commit>,
}

/// What [`Store::check`] looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreCheck {
    /// Files whose sums are right: all.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// What [`Store::tidy`] removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tidied {
    /// Names of the files that no unit had.
    pub removed: Vec<String>,
}

impl Store {
    /// The store in a folder.
    ///
    /// # Errors
    /// If there is none, if a record in it cannot be read, or [`Error::Interrupted`] when Stop is
    /// pressed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let place = StoreFolder::new(path.as_ref())?;
        let run = Run::open(&place)?;
        let done = Commit::done(&place)?.into_iter().filter(|unit| *unit < run.units);
        let read = |unit| Commit::find(&place, unit);
        let units = place.for_each_until_stop("opening the store", done, read)?;
        let units = units.into_iter().flatten().collect();
        Ok(Self { data: Arc::new(StoreData { place, run, units }), scheduler: None })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.data.place.root()
    }

    /// What it was harvested from, and how.
    pub fn run(&self) -> &Run {
        &self.data.run
    }

    /// The records of the units that are done, in their order.
    pub fn units(&self) -> &[Commit] {
        &self.data.units
    }

    /// Number of tokens in the units that are done, without `skip_tokens`.
    pub fn tokens(&self) -> u64 {
        self.data.units.iter().map(|unit| unit.tokens).sum()
    }

    /// The same store, whose queries go to a cluster: `df://host:port` is its scheduler, which
    /// `eigenlens-engine scheduler` starts.
    ///
    /// ```no_run
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// let store = Store::open("gpt2-r5")?.on("df://127.0.0.1:50050")?;
    /// store.sql("select count(*) entries from codes")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the address is of another form.
    #[must_use = "it is another handle"]
    pub fn on(&self, scheduler: &str) -> Result<Self> {
        let port = scheduler.strip_prefix("df://").and_then(|rest| rest.rsplit_once(':'));
        match port.filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
            Some(_) => Ok(Self { scheduler: Some(scheduler.into()), ..self.clone() }),
            None => Err(Error::invalid("the scheduler", "`df://host:port`", scheduler)),
        }
    }

    /// Where queries go, if not to a process of this machine.
    pub(super) fn scheduler(&self) -> Option<&str> {
        self.scheduler.as_deref()
    }

    pub(super) fn place(&self) -> &StoreFolder {
        &self.data.place
    }

    /// The files of a table and key, in the order of units.
    pub(super) fn files(&self, table: &str, key: &str) -> impl Iterator<Item = &StoredFile> {
        self.data.units.iter().filter_map(move |unit| unit.file(table, key))
    }

    /// Compares every file with the length and the sum in its unit's record.
    ///
    /// # Errors
    /// If units are missing, or if files are missing, cut short or changed: the first of them, and how
    /// many there are.
    pub fn check(&self) -> Result<StoreCheck> {
        let Run { units, .. } = self.data.run;
        if self.data.units.len() < units {
            let done: BTreeSet<usize> = self.data.units.iter().map(|commit| commit.unit).collect();
            let missing: Vec<usize> = (0..units).filter(|unit| !done.contains(unit)).collect();
            let expected = format!("all of {units} units (`Store::harvest` goes on with them)");
            let found = format!("{} missing, the first of which is {}", missing.len(), missing[0]);
            return Err(Error::format(self.path(), expected, found));
        }
        let files = || self.data.units.iter().flat_map(|unit| &unit.files);
        let mut progress = Progress::new("checking", files().count() as u64, "file");
        let mut checked = StoreCheck { files: 0, bytes: 0 };
        let mut wrong: Vec<Error> = Vec::new();
        for file in files() {
            wrong.extend(self.check_file(file).err());
            checked.files += 1;
            checked.bytes += file.bytes;
            if progress.advance(1) {
                return Err(Error::Interrupted { what: "the check of the store".to_owned() });
            }
        }
        let others = wrong.len().saturating_sub(1);
        match wrong.into_iter().next() {
            None => Ok(checked),
            Some(Error::Format { path, expected, found, source }) if others > 0 => {
                let found = format!("{found}; {others} more are wrong");
                Err(Error::Format { path, expected, found, source })
            }
            Some(first) => Err(first),
        }
    }

    fn check_file(&self, file: &StoredFile) -> Result<()> {
        let path = self.data.place.path(&file.path);
        let (sum, bytes) = self.data.place.sum(&file.path)?;
        if bytes != file.bytes {
            let expected = format!("{} bytes, as its unit's record says", file.bytes);
            return Err(Error::format(&path, expected, format!("{bytes}: truncated or changed")));
        }
        if sum != file.sha256 {
            let expected = format!("SHA-256 {}…, as its unit's record says", &file.sha256[..16]);
            return Err(Error::format(&path, expected, format!("{}…: damaged", &sum[..16])));
        }
        Ok(())
    }

    /// Removes the files that no unit's record names: what was left of processes that ended in the
    /// middle of a unit. In a bucket, which has no locks, those of the last 24 hours stay, because a
    /// harvest may be about to name them.
    ///
    /// # Errors
    /// If a process is harvesting into the store, or if a file cannot be removed.
    pub fn tidy(&self) -> Result<Tidied> {
        let place = &self.data.place;
        let _alone = place.alone()?;
        // Units may have been done since this handle was opened.
        let now = Self::open(place.root())?;
        let named: BTreeSet<&str> =
            now.data.units.iter().flat_map(|unit| &unit.files).map(|file| &*file.path).collect();
        let tables = ["tokens/", "codes/", "statistics/", "examples/", "activations/"];
        let ours = |name: &str| tables.iter().any(|table| name.starts_with(table));
        let stray = |name: &str| ours(name) && !named.contains(name) || name.starts_with(PART);
        let mut removed = place.settled_names()?;
        removed.retain(|name| stray(name));
        removed.iter().try_for_each(|name| place.remove(name))?;
        Ok(Tidied { removed })
    }

    /// How often and how strongly each feature of an autoencoder is active, and the contexts that
    /// activate it most, over all units that are done.
    ///
    /// # Errors
    /// If there is no such autoencoder or no unit, if a file cannot be read, or
    /// [`Error::Interrupted`] when Stop is pressed.
    pub fn table(&self, sae: &str) -> Result<FeatureTable> {
        let own = self.run().sae(sae)?;
        let tally = self.tally(own)?;
        let point = own.point.parse()?;
        let contexts = self.data.units.iter().map(|unit| unit.contexts).sum();
        let keep = self.run().examples.min(contexts);
        Ok(feature_table(&tally, point, keep, contexts, self.tokens()))
    }

    /// What all units know of an autoencoder's features.
    pub(super) fn tally(&self, sae: &RunSae) -> Result<Tally> {
        self.check_not_empty()?;
        let mut tally = Tally::new(sae.features, self.run().examples);
        let place = &self.data.place;
        let files: Vec<(&StoredFile, &StoredFile)> =
            self.files("statistics", &sae.key).zip(self.files("examples", &sae.key)).collect();
        for some in files.chunks(2 * place.readers()) {
            safe_point("the table of features")?;
            let read =
                |(statistics, examples)| UnitTally::read(place, statistics, examples, sae.features);
            let units = place.for_each(some.to_vec(), read)?;
            units.iter().for_each(|unit| unit.merge_into(&mut tally));
        }
        Ok(tally)
    }

    pub(super) fn check_not_empty(&self) -> Result<()> {
        match self.data.units.is_empty() {
            false => Ok(()),
            true => Err(Error::NotFound {
                what: format!("a unit in {}", self.path().display()),
                hint: "`Store::harvest` goes on with them; open the store again then.".to_owned(),
            }),
        }
    }

    /// The activations at a hook point in a uniformly random order, as tensors `[batch, width]`: each
    /// activation once, with two blocks of them in memory.
    ///
    /// ```no_run
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// let store = Store::open("gpt2-r5")?;
    /// for batch in store.shuffled(HookPoint::ResidPost(5), &ShuffleOptions::default())? {
    ///     let activations: Tensor = batch?; // [4096, 768]
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the point is not in the store, if there are no activations, if memory is too small for two
    /// piles, or if a file cannot be read.
    pub fn shuffled(&self, point: HookPoint, options: &ShuffleOptions) -> Result<Shuffled> {
        Shuffled::new(self.shards(&[point])?, options)
    }

    /// The shards of some hook points.
    pub(super) fn shards(&self, points: &[HookPoint]) -> Result<Shards> {
        self.check_not_empty()?;
        let run = self.run();
        let dtype = dtype_of(run)?;
        let of_point = |point: &HookPoint| -> Result<ShardsOfPoint> {
            let own = run.point(*point)?;
            let files = self.files("activations", &own.name);
            let place = &self.data.place;
            let shards = place.for_each(files.collect(), |file| {
                Shard::open(place, file, run.piles, own.width, dtype)
            });
            Ok(ShardsOfPoint { width: own.width, shards: shards? })
        };
        let points = points.iter().map(of_point).collect::<Result<_>>()?;
        Ok(Shards { points, dtype, piles: run.piles })
    }
}

/// The table of what is known of features after `contexts` contexts, with `keep` of them per feature.
pub(crate) fn feature_table(
    tally: &Tally,
    point: HookPoint,
    keep: usize,
    contexts: usize,
    tokens: u64,
) -> FeatureTable {
    let features = tally.features.len();
    let mut table = vec![0u32; keep * features];
    for (feature, best) in tally.best.iter().enumerate() {
        let active = best.iter().map(|peak| peak.context as u32);
        // Where fewer are active, the earliest others fill up the end.
        let others = (0..contexts as u32)
            .filter(|context| !best.iter().any(|own| own.context == u64::from(*context)));
        for (row, context) in active.chain(others).take(keep).enumerate() {
            table[row * features + feature] = context;
        }
    }
    let histograms = tally.features.iter().map(|sums| sums.histogram.clone());
    let density = tally.features.iter().map(|sums| sums.histogram.total() as f32 / tokens as f32);
    let statistics = Statistics { density: density.collect(), histograms: histograms.collect() };
    FeatureTable::new(point, features, table, Some(statistics))
}

show_as_text!(Store, StoreCheck, Tidied);

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { model, dataset, points, saes, units, .. } = self.run();
        let bytes: u64 =
            self.units().iter().flat_map(|unit| &unit.files).map(|file| file.bytes).sum();
        writeln!(f, "store {}: {} of {units} units", self.path().display(), self.units().len())?;
        let model = model.name.as_deref().unwrap_or("a model in memory");
        let (tokens, length) = (self.tokens(), dataset.length);
        writeln!(f, "{tokens} tokens in contexts of {length}, by {model}; {}", size(bytes))?;
        let names = |names: Vec<String>| match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(", "),
        };
        let points = points.iter().map(|own| format!("{} ({})", own.name, own.width));
        writeln!(f, "activations: {}", names(points.collect()))?;
        let saes = saes.iter().map(|sae| format!("{} ({} features)", sae.key, sae.features));
        write!(f, "autoencoders: {}", names(saes.collect()))
    }
}

impl fmt::Display for StoreCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files, {}: all as their records say", self.files, size(self.bytes))
    }
}

impl fmt::Display for Tidied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.removed.len() {
            0 => f.write_str("nothing to remove"),
            count => write!(f, "removed {count} files: {}", self.removed.join(", ")),
        }
    }
}

/// A number of bytes in words.
fn size(bytes: u64) -> String {
    let [kilo, mega, giga] = [1e3, 1e6, 1e9];
    match bytes as f64 {
        bytes if bytes < mega => format!("{:.1} kB", bytes / kilo),
        bytes if bytes < giga => format!("{:.1} MB", bytes / mega),
        bytes => format!("{:.2} GB", bytes / giga),
    }
}
