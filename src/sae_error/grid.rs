//! Autoencoders of many widths and L0s at one place.

mod published;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::Device;

use super::sae_info::{InfoOptions, SaeInfo};
use crate::check::{check_not_negative, check_positive};
use crate::data::text::Contexts;
use crate::display::{ShownColumn, ShownTable};
use crate::model::{Decoder, HookPoint};
use crate::sae::Sae;
use crate::train::History;
use crate::{Error, Result};

/// Autoencoders of one place, by width and L0: published ones, which are loaded when they are asked
/// for, those in a folder, or those that [`SaeGrid::fit`] trained.
///
/// ```
/// use eigenlens::sae_error::SaeGrid;
/// # fn main() -> eigenlens::Result<()> {
/// let grid = SaeGrid::published("gemma-scope-9b-pt-res", 20)?;
/// assert_eq!(grid.nearest(1 << 14, 130.0)?.name, "layer_20/width_16k/average_l0_138");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct SaeGrid {
    entries: Vec<GridEntry>,
}

/// An autoencoder of a [`SaeGrid`].
#[derive(Debug, Clone)]
pub struct GridEntry {
    /// Number of features.
    pub width: usize,
    /// Features that are active on average: as published, or the k of the training.
    pub l0: f64,
    /// What it is called.
    pub name: String,
    /// Where it belongs; none if only its own files say it.
    pub point: Option<HookPoint>,
    pub(super) place: GridPlace,
    pub(super) history: Option<History>,
}

/// Where an autoencoder of a grid is.
#[derive(Debug, Clone)]
pub(super) enum GridPlace {
    Memory(Sae),
    Folder(PathBuf),
    /// A release or repository, and the name in it.
    Published {
        release: String,
        id: String,
    },
}

impl GridEntry {
    /// The autoencoder, loaded to `device` if it is not in memory. The one that was loaded is not
    /// kept: some have 30 GB.
    ///
    /// # Errors
    /// As [`Sae::from_pretrained`].
    pub fn sae(&self, device: &Device) -> Result<Sae> {
        let sae = match &self.place {
            GridPlace::Memory(sae) => sae.clone(),
            GridPlace::Folder(path) => Sae::load(path, device)?,
            GridPlace::Published { release, id } => {
                let found = Sae::from_pretrained(release, id, device);
                found.map_err(|reason| self.is_gone(reason, release))?
            }
        };
        match (sae.point(), self.point) {
            (Err(_), Some(point)) => Ok(sae.at(point)),
            _ => Ok(sae),
        }
    }

    /// The history of its training, if it was trained here.
    pub fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }
}

impl SaeGrid {
    /// Autoencoders in memory, each with its L0.
    ///
    /// # Errors
    /// [`Error::Invalid`] for none, or an L0 that is none.
    pub fn new(saes: impl IntoIterator<Item = (Sae, f64)>) -> Result<Self> {
        let entries = saes.into_iter().map(|(sae, l0)| {
            check_not_negative("the L0 of an autoencoder", l0)?;
            Ok(GridEntry {
                width: sae.features(),
                l0,
                name: format!("{} features, L0 {l0}", sae.features()),
                point: sae.point().ok(),
                place: GridPlace::Memory(sae),
                history: None,
            })
        });
        Self::of(entries.collect::<Result<_>>()?)
    }

    pub(super) fn of(mut entries: Vec<GridEntry>) -> Result<Self> {
        if entries.is_empty() {
            return Err(Error::invalid("the autoencoders of a grid", "at least one", "none"));
        }
        entries.sort_by(|a, b| a.width.cmp(&b.width).then(a.l0.total_cmp(&b.l0)));
        Ok(Self { entries })
    }

    /// The autoencoders, by width and then L0.
    pub fn entries(&self) -> &[GridEntry] {
        &self.entries
    }

    /// Number of autoencoders.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none; there always is one.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The widths, ascending.
    pub fn widths(&self) -> Vec<usize> {
        let widths: BTreeSet<usize> = self.entries.iter().map(|entry| entry.width).collect();
        widths.into_iter().collect()
    }

    /// The L0s of the autoencoders of a width, ascending; none of a width that there is not.
    pub fn l0s(&self, width: usize) -> Vec<f64> {
        self.entries.iter().filter(|own| own.width == width).map(|own| own.l0).collect()
    }

    /// The autoencoder of `width` features whose L0 is next to `l0`; of two that are as near, the one
    /// with the lower L0.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a width that the grid does not have, with those it has.
    pub fn nearest(&self, width: usize, l0: f64) -> Result<&GridEntry> {
        check_not_negative("the L0", l0)?;
        let own = self.entries.iter().filter(|entry| entry.width == width);
        let far = |entry: &GridEntry| (entry.l0 - l0).abs();
        own.min_by(|a, b| far(a).total_cmp(&far(b))).ok_or_else(|| {
            let expected = format!("one of {}, which the grid has", listed(self.widths()));
            Error::invalid("the width", expected, width)
        })
    }

    /// The autoencoder of each width whose L0 is next to `l0`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if that of a width is off by more than `tolerance · l0`, with the L0s that
    /// the width has.
    pub fn at_l0(&self, l0: f64, tolerance: f64) -> Result<Self> {
        check_positive("the L0", l0)?;
        check_not_negative("`tolerance`", tolerance)?;
        let mut entries = Vec::new();
        for width in self.widths() {
            let entry = self.nearest(width, l0)?;
            if (entry.l0 - l0).abs() > tolerance * l0 {
                let percent = 100.0 * tolerance;
                let there = listed(self.l0s(width));
                let expected = format!(
                    "within {percent:.0} % of one that {width} features have, which are {there}"
                );
                return Err(Error::invalid("the L0", expected, l0));
            }
            entries.push(entry.clone());
        }
        Self::of(entries)
    }

    /// [`SaeInfo::collect_all`] of all autoencoders, which are loaded together, in the grid's order
    /// and under its names.
    ///
    /// # Errors
    /// As [`GridEntry::sae`] and [`SaeInfo::collect_all`].
    pub fn collect(
        &self,
        model: &Decoder,
        contexts: &Contexts,
        options: &InfoOptions,
    ) -> Result<Vec<SaeInfo>> {
        let saes = self.entries.iter().map(|entry| entry.sae(model.device()));
        let infos =
            SaeInfo::collect_all(model, &saes.collect::<Result<Vec<_>>>()?, contexts, options)?;
        infos.iter().zip(&self.entries).map(|(info, entry)| info.with_name(&entry.name)).collect()
    }

    /// Shows a table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    /// A row a width.
    fn shown(&self) -> ShownTable {
        let columns = [ShownColumn::right("width"), ShownColumn::left("L0")];
        let mut shown = ShownTable::new(columns);
        for width in self.widths() {
            shown.push([width.to_string(), listed(self.l0s(width))]);
        }
        shown
    }
}

impl fmt::Display for SaeGrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown().text())
    }
}

/// Things in words, with commas.
pub(super) fn listed<T: ToString>(things: impl IntoIterator<Item = T>) -> String {
    let things: Vec<String> = things.into_iter().map(|thing| thing.to_string()).collect();
    things.join(", ")
}

/// A folder that has to be there.
///
/// # Errors
/// [`Error::NotFound`] if it is not.
pub(super) fn check_folder(path: &Path, what: &str) -> Result<()> {
    match path.is_dir() {
        true => Ok(()),
        false => Err(Error::NotFound {
            what: format!("the folder {} of {what}", path.display()),
            hint: "SaeGrid::save makes one.".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harvest::tests::{contexts, model, sae};

    fn grid() -> SaeGrid {
        let point = HookPoint::ResidPost(0);
        SaeGrid::new([(sae(point, 1), 9.0), (sae(point, 2), 3.0), (sae(point, 3), 5.0)]).unwrap()
    }

    #[test]
    fn what_a_grid_does_not_have_is_told_with_what_it_has() {
        let grid = grid();
        assert_eq!(grid.l0s(24), [3.0, 5.0, 9.0]);
        assert_eq!(grid.nearest(24, 7.0).unwrap().l0, 5.0);
        let error = grid.nearest(25, 7.0).unwrap_err().to_string();
        assert!(error.contains("one of 24, which the grid has, found 25"), "{error}");
        let error = grid.at_l0(7.0, 0.1).unwrap_err().to_string();
        assert!(error.contains("within 10 %") && error.contains("which are 3, 5, 9"), "{error}");
        assert!(grid.at_l0(0.0, 0.1).is_err() && grid.nearest(24, f64::NAN).is_err());
        assert!(SaeGrid::new([]).unwrap_err().to_string().contains("at least one"));
        let error = SaeGrid::published("gemma-scope-9b-pt-res", 99).unwrap_err().to_string();
        assert!(error.contains("It has the layers 0, 1, 2"), "{error}");
        let error = SaeGrid::published("no-such-release", 1).unwrap_err().to_string();
        assert!(error.contains("the release no-such-release"), "{error}");
        let error = SaeGrid::published("gpt2-small-resid-post-v5-32k", 1).unwrap_err().to_string();
        assert!(error.contains("SaeGrid::new"), "{error}");
        assert_eq!(grid.to_string(), "width  L0\n   24  3, 5, 9");
        assert!(check_folder(Path::new("/no/such"), "a grid").is_err());
    }

    #[test]
    fn infos_of_a_grid_have_its_order_and_names() {
        let options = InfoOptions::default();
        let infos = grid().collect(&model(), &contexts(), &options).unwrap();
        let names: Vec<&str> = infos.iter().map(SaeInfo::name).collect();
        assert_eq!(names, ["24 features, L0 3", "24 features, L0 5", "24 features, L0 9"]);
        let own = grid().entries()[1].sae(&Device::Cpu).unwrap();
        let alone = SaeInfo::collect(&model(), &own, &contexts(), &options).unwrap();
        assert_eq!(infos[1].error_norms(), alone.error_norms());
    }
}
