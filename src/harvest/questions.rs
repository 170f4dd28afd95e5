//! Questions to a store about single features: their examples, where they occur, and with what.

use std::collections::HashMap;
use std::fmt;

use candle_core::{Device, Tensor};

use super::Store;
use super::code_rows::{StoredCode, for_each_entry};
use super::commit::{Commit, StoredFile};
use super::feature_files::read_peaks;
use super::options::first_repeated;
use super::run::RunSae;
use super::table_file::TableReader;
use super::tally::{Peak, Tally};
use crate::data::Table;
use crate::display::show_as_text;
use crate::progress::safe_point;
use crate::sae::Codes;
use crate::{Error, Result};

/// The contexts that activate a feature most: [`Store::examples`].
#[derive(Debug, Clone, PartialEq)]
pub struct StoredExamples {
    /// The feature.
    pub feature: usize,
    /// The contexts with its largest activations, best first, one peak each.
    pub peaks: Vec<Peak>,
}

impl StoredExamples {
    /// The columns `context`, `position` and `value`.
    ///
    /// # Errors
    /// None: the names differ and the columns are of one length.
    pub fn table(&self) -> Result<Table> {
        Table::new()
            .column("context", self.peaks.iter().map(|peak| peak.context))?
            .column("position", self.peaks.iter().map(|peak| peak.position))?
            .column("value", self.peaks.iter().map(|peak| peak.value))
    }
}

/// Where some features are active: [`Store::occurrences`].
#[derive(Debug, Clone)]
pub struct Occurrences {
    /// A row per token at which any of the features is active, with these features alone.
    pub codes: Codes,
    /// The context of each row, ascending.
    pub contexts: Vec<u64>,
    /// The position of each row.
    pub positions: Vec<u32>,
}

impl Store {
    /// The `count` contexts with the largest activations of a feature above zero, best first; fewer if
    /// fewer activate it. Of equal ones the earlier comes first.
    ///
    /// This is exact: each unit keeps its best contexts, and where it may have had more that belong
    /// here, its codes are read.
    ///
    /// # Errors
    /// If there is no such autoencoder or feature, if a file cannot be read, if more are asked for than
    /// are certain and the codes were not kept, or [`Error::Interrupted`] when Stop is pressed.
    pub fn examples(&self, sae: &str, feature: usize, count: usize) -> Result<StoredExamples> {
        let own = self.run().sae(sae)?;
        check_feature(own, feature)?;
        self.check_not_empty()?;
        let keep = self.run().examples;
        let what = "the search of examples";
        let units = self.place().for_each_until_stop(what, self.units(), |unit: &Commit| {
            let mut peaks = match unit.file("examples", sae) {
                Some(file) => read_peaks(self.place(), file)?,
                None => Vec::new(),
            };
            peaks.retain(|(other, _)| *other == feature);
            Ok((unit, peaks.into_iter().map(|(_, peak)| peak).collect::<Vec<Peak>>()))
        })?;
        let mut best: Vec<Peak> = units.iter().flat_map(|(_, peaks)| peaks).copied().collect();
        best.sort_by(Peak::order);
        best.truncate(count);
        // A unit that kept all it may hides contexts that are no better than its last. They belong
        // here if there is room, or if that last one is better than the worst here.
        let worst = best.last().copied().filter(|_| best.len() == count);
        let hides = |peaks: &[Peak]| {
            let last = peaks.last().filter(|_| peaks.len() == keep);
            last.is_some_and(|last| worst.is_none_or(|worst| last.order(&worst).is_lt()))
        };
        let (hiding, open): (Vec<_>, Vec<_>) =
            units.into_iter().partition(|(_, peaks)| hides(peaks));
        if hiding.is_empty() {
            return Ok(StoredExamples { feature, peaks: best });
        }
        if self.run().codes.share() < 1.0 {
            let expected = format!(
                "at most {keep}, the examples kept per unit, because the codes of the others were not \
                 kept (`codes`)"
            );
            return Err(Error::invalid("the number of examples", expected, count));
        }
        let mut tally = Tally::new(1, count);
        open.iter().flat_map(|(_, peaks)| peaks).for_each(|peak| tally.insert(0, *peak));
        for (unit, _) in hiding {
            let codes = unit.file("codes", sae);
            let codes = codes.ok_or_else(|| no_codes(self, sae))?;
            self.peaks_of(codes, feature as u32, |peak| tally.insert(0, peak))?;
        }
        Ok(StoredExamples { feature, peaks: tally.best.swap_remove(0) })
    }

    /// Calls `take` with the feature's largest activation above zero in each context of a file.
    fn peaks_of(&self, file: &StoredFile, feature: u32, mut take: impl FnMut(Peak)) -> Result<()> {
        let table = TableReader::open(self.place(), &file.path)?;
        let mut peak: Option<Peak> = None;
        for_each_entry(
            &table,
            |own| own == feature,
            |entry| {
                let StoredCode { context, position, value, .. } = entry;
                let new = Peak { context, position, value };
                match &mut peak {
                    Some(old) if old.context == context => {
                        if value > old.value {
                            *old = new;
                        }
                    }
                    other => {
                        other
                            .replace(new)
                            .filter(|old| old.value > 0.0)
                            .into_iter()
                            .for_each(&mut take);
                    }
                }
            },
        )?;
        peak.filter(|old| old.value > 0.0).into_iter().for_each(take);
        Ok(())
    }

    /// The tokens at which any of `features` is active, with the activations of these features: a
    /// row per token, in the order of the text. Only contexts whose codes were kept are looked at.
    ///
    /// # Errors
    /// If there is no such autoencoder or feature, no features are given, codes were not kept, a file
    /// cannot be read, or [`Error::Interrupted`] when Stop is pressed.
    pub fn occurrences(&self, sae: &str, features: &[usize]) -> Result<Occurrences> {
        let own = self.run().sae(sae)?;
        let (mut contexts, mut positions, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        let mut row: Vec<(u32, f32)> = Vec::new();
        self.for_each_of(own, features, |entry| {
            let place = (entry.context, entry.position);
            if contexts.last().copied().zip(positions.last().copied()) != Some(place) {
                if !row.is_empty() {
                    rows.push(std::mem::take(&mut row));
                }
                contexts.push(entry.context);
                positions.push(entry.position);
            }
            row.push((entry.feature, entry.value));
        })?;
        if !row.is_empty() {
            rows.push(row);
        }
        Ok(Occurrences { codes: Codes::new(own.features, rows)?, contexts, positions })
    }

    /// At how many tokens each pair of `features` is active together, f64 `[n, n]` in their order; on
    /// the diagonal, at how many each is. Only contexts whose codes were kept are looked at.
    ///
    /// # Errors
    /// As [`Store::occurrences`].
    pub fn cooccurrence(&self, sae: &str, features: &[usize]) -> Result<Tensor> {
        let own = self.run().sae(sae)?;
        let n = features.len();
        let place: HashMap<u32, usize> =
            features.iter().enumerate().map(|(at, feature)| (*feature as u32, at)).collect();
        let mut counts = vec![0f64; n * n];
        let mut token = None;
        let mut active: Vec<usize> = Vec::new();
        self.for_each_of(own, features, |entry| {
            if token != Some((entry.context, entry.position)) {
                token = Some((entry.context, entry.position));
                active.clear();
            }
            let at = place[&entry.feature];
            counts[at * n + at] += 1.0;
            for other in &active {
                counts[at * n + other] += 1.0;
                counts[other * n + at] += 1.0;
            }
            active.push(at);
        })?;
        Ok(Tensor::from_vec(counts, (n, n), &Device::Cpu)?)
    }

    /// Calls `take` with all entries of some features, in the order of the text.
    fn for_each_of(
        &self,
        sae: &RunSae,
        features: &[usize],
        mut take: impl FnMut(StoredCode),
    ) -> Result<()> {
        if features.is_empty() {
            return Err(Error::invalid("the features", "at least one", "none"));
        }
        features.iter().try_for_each(|feature| check_feature(sae, *feature))?;
        if let Some(twice) = first_repeated(features) {
            return Err(Error::invalid("the features", "different ones", format!("{twice} twice")));
        }
        self.check_not_empty()?;
        if self.run().codes.share() == 0.0 {
            return Err(no_codes(self, &sae.key));
        }
        let mut wanted = vec![false; sae.features];
        features.iter().for_each(|feature| wanted[*feature] = true);
        let is_wanted = |feature: u32| wanted.get(feature as usize).copied().unwrap_or(false);
        for file in self.files("codes", &sae.key) {
            safe_point("the search of the codes")?;
            let table = TableReader::open(self.place(), &file.path)?;
            for_each_entry(&table, is_wanted, &mut take)?;
        }
        Ok(())
    }
}

fn check_feature(sae: &RunSae, feature: usize) -> Result<()> {
    match feature < sae.features {
        true => Ok(()),
        false => Err(Error::invalid("the feature", format!("below {}", sae.features), feature)),
    }
}

fn no_codes(store: &Store, sae: &str) -> Error {
    Error::NotFound {
        what: format!("codes of `{sae}` in {}", store.path().display()),
        hint: "The harvest kept none (`codes: Keep::None`).".to_owned(),
    }
}

show_as_text!(StoredExamples, Occurrences);

impl fmt::Display for StoredExamples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "feature {}, {} contexts", self.feature, self.peaks.len())?;
        self.peaks.iter().try_for_each(|Peak { context, position, value }| {
            write!(f, "\n{value:>9.3}  context {context}, position {position}")
        })
    }
}

impl fmt::Display for Occurrences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens, {} activations", self.contexts.len(), self.codes.entries())
    }
}
