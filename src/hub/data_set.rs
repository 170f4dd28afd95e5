//! Data sets in the layout of Python's `datasets`: Parquet files in the folder `data`.

use super::names::names_its_kind;
use super::repository::{Content, Repository};
use crate::store::Blob;
use crate::{Error, Result};

/// Where the parts of a data set are.
const FOLDER: &str = "data";
/// How the names of autoencoders end whose files hold the language model too.
const WITH_MODEL: &str = "-tfm";

impl Repository {
    /// [`Repository::find`], where `owner/name` of the hub is a data set if it ends in `ending`.
    ///
    /// # Errors
    /// As [`Repository::find`].
    pub(crate) fn find_data(name: &str, ending: &str) -> Result<Self> {
        let found = Self::find(name)?;
        let plain = name.split_once('@').map_or(name, |(plain, _)| plain);
        match found.is_on_hub() && plain.ends_with(ending) && !names_its_kind(name) {
            true => Self::find(&format!("datasets/{name}")),
            false => Ok(found),
        }
    }

    /// This repository, or the data set that the original publishes beside an autoencoder of the hub if
    /// that has no `file`: of `owner/name`, and of `owner/name-tfm` with the language model,
    /// `datasets/owner/name` and `ending`.
    ///
    /// # Errors
    /// As [`Repository::has`].
    pub(crate) fn or_data_beside(self, file: &str, ending: &str) -> Result<Self> {
        let (name, revision) = self.name().split_once('@').unwrap_or((self.name(), "main"));
        let is_model = self.is_on_hub() && !names_its_kind(name) && revision == "main";
        if !is_model || self.has(file)? {
            return Ok(self);
        }
        let name = name.strip_suffix(WITH_MODEL).unwrap_or(name);
        self.neighbour(&format!("datasets/{name}{ending}"))
    }

    /// The parts of a data set in the place of `file`: none if there is such a file, or if it is no data
    /// set.
    ///
    /// # Errors
    /// As [`Repository::has`] and [`Repository::data_parts`].
    pub(crate) fn parts_in_place_of(&self, file: &str) -> Result<Vec<Content<Blob>>> {
        match self.has(file)? {
            true => Ok(Vec::new()),
            false => self.data_parts(),
        }
    }

    /// All parts of a data set, `data/*.parquet`, in their order; none if it is something else.
    ///
    /// # Errors
    /// As [`Hub::file`](super::Hub::file); a hub that cannot be asked for the names of the parts;
    /// [`Error::NotFound`] if one is missing, by the number of parts in their names.
    fn data_parts(&self) -> Result<Vec<Content<Blob>>> {
        let mut names = self.names_in(FOLDER)?;
        names.retain(|name| name.ends_with(".parquet"));
        let of = names.first().and_then(|name| {
            let (_, count) = name.trim_end_matches(".parquet").rsplit_once("-of-")?;
            count.parse::<usize>().ok()
        });
        if let Some(count) = of.filter(|count| *count != names.len()) {
            return Err(Error::NotFound {
                what: format!("all parts of {self}"),
                hint: format!("Its folder {FOLDER} has {} of {count} Parquet files.", names.len()),
            });
        }
        names.iter().map(|name| self.open(&format!("{FOLDER}/{name}"))).collect()
    }
}
