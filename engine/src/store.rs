//! What a store holds, read from its records: only files that a record names count.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use eigenlens::harvest::{Run, Store, StoredFile};
use serde::{Deserialize, Serialize};

/// Where sorted copies are in a store.
const BY_FEATURE: &str = "by_feature";

/// Begins the path of a store that is in a bucket.
pub(crate) const S3: &str = "s3://";

/// The record of a copy of the codes that is sorted by feature.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SortedCopy {
    /// How many units of the harvest were done when the copy was made.
    pub(crate) units: usize,
    pub(crate) files: Vec<StoredFile>,
}

impl SortedCopy {
    /// Where the record of an autoencoder's copy is.
    pub(crate) fn path(store: &Path, key: &str) -> PathBuf {
        store.join(BY_FEATURE).join(key).join("commit.json")
    }

    /// The copy of an autoencoder's codes, if there is one.
    fn find(store: &Path, key: &str) -> Result<Option<Self>, String> {
        if is_in_bucket(store) {
            return Ok(None);
        }
        let path = Self::path(store, key);
        let unreadable =
            |error: &dyn std::error::Error| format!("could not read {}: {error}", path.display());
        match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(&error)),
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| unreadable(&error)),
        }
    }
}

/// The files of a store.
#[derive(Debug)]
pub(crate) struct Files {
    /// The store's folder, an absolute path.
    pub(crate) root: PathBuf,
    /// How many units are done.
    pub(crate) units: usize,
    files: Vec<StoredFile>,
    /// Autoencoders whose sorted copy lacks units that were done since.
    pub(crate) outdated: Vec<String>,
}

impl Files {
    /// Reads the records of a store.
    ///
    /// # Errors
    /// If the folder is not a store, or a record cannot be read.
    pub(crate) fn open(store: &Path) -> Result<Self, String> {
        let root = absolute(store)?;
        let store = Store::open(&root).map_err(|error| error.to_string())?;
        let units = store.units().len();
        let mut files: Vec<StoredFile> =
            store.units().iter().flat_map(|commit| &commit.files).cloned().collect();
        let mut outdated = Vec::new();
        for sae in &store.run().saes {
            match SortedCopy::find(&root, &sae.key)? {
                Some(copy) if copy.units == units => files.extend(copy.files),
                Some(_) => outdated.push(sae.key.clone()),
                None => {}
            }
        }
        Ok(Self { root, units, files, outdated })
    }

    /// The tables that SQL can read, each with its files in the order of units.
    pub(crate) fn tables(&self) -> BTreeMap<&str, Vec<PathBuf>> {
        let mut tables: BTreeMap<&str, Vec<PathBuf>> = BTreeMap::new();
        for file in self.files.iter().filter(|file| file.path.ends_with(".parquet")) {
            tables.entry(&file.table).or_default().push(self.root.join(&file.path));
        }
        tables
    }

    /// The files of a table.
    pub(crate) fn table(&self, table: &str) -> impl Iterator<Item = &StoredFile> {
        self.files.iter().filter(move |file| file.table == table)
    }

    /// The files of one autoencoder's table.
    pub(crate) fn of(&self, table: &str, key: &str) -> Vec<PathBuf> {
        let own = self.table(table).filter(|file| file.key == key);
        own.map(|file| self.root.join(&file.path)).collect()
    }

    /// The autoencoders of which a table has files.
    pub(crate) fn keys(&self, table: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.table(table).map(|file| file.key.clone()).collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

/// A row of the table `runs`.
#[derive(Debug)]
pub(crate) struct RunRow {
    /// Name of the store's folder.
    pub(crate) name: String,
    pub(crate) run: Run,
    pub(crate) tokens: u64,
    pub(crate) done: usize,
    pub(crate) bytes: u64,
    pub(crate) created: Option<SystemTime>,
}

/// The stores beside a store, itself among them, in the order of their names; of a store in a bucket,
/// itself. Folders of another version of the library are left out.
pub(crate) fn runs(store: &Path) -> Vec<RunRow> {
    let parent = store.parent().unwrap_or(store);
    let beside = match is_in_bucket(store) {
        true => vec![store.to_owned()],
        false => {
            fs::read_dir(parent).into_iter().flatten().flatten().map(|own| own.path()).collect()
        }
    };
    let mut rows = Vec::new();
    for path in beside {
        let Ok(store) = Store::open(&path) else { continue };
        let files = store.units().iter().flat_map(|commit| &commit.files);
        let record = fs::metadata(path.join("run.json"));
        rows.push(RunRow {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            run: store.run().clone(),
            tokens: store.tokens(),
            done: store.units().len(),
            bytes: files.map(|file| file.bytes).sum(),
            created: record.and_then(|record| record.modified()).ok(),
        });
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

/// The folder as a path that holds in any folder and, if the file system is shared, any machine.
///
/// # Errors
/// If there is none.
pub(crate) fn absolute(store: &Path) -> Result<PathBuf, String> {
    if is_in_bucket(store) {
        return Ok(store.to_owned());
    }
    let path = store.canonicalize();
    path.map_err(|error| format!("there is no store in {}: {error}", store.display()))
}

/// Whether the store is at `s3://bucket/prefix`.
pub(crate) fn is_in_bucket(store: &Path) -> bool {
    store.as_os_str().as_encoded_bytes().starts_with(S3.as_bytes())
}
