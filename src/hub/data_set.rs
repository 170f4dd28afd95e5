//! Data sets in the layout of Python's `datasets`: Parquet files in the folder `data`.

use super::names::names_its_kind;
use super::repository::{Content, Repository};
use crate::store::Blob;
use crate::{Error, Result};

/// Where the parts of a data set are.
const FOLDER: &str = "data";

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
