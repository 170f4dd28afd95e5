//! Grids of autoencoders in folders.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::grid::{GridEntry, GridPlace, SaeGrid, check_folder};
use super::sae_info::{SaeName, save_sae};
use crate::home::expand_home;
use crate::store::{Tensors, parse_json, replace, save_exactly};
use crate::train::History;
use crate::{Error, Result};

const FORMAT: u32 = 1;
const RECORD: &str = "grid.json";
const HISTORIES: &str = "histories.safetensors";
/// Folders below that are looked through for autoencoders of published names.
const MAX_DEPTH: usize = 4;

/// What is in a folder that [`SaeGrid::save`] wrote.
#[derive(Debug, Serialize, Deserialize)]
struct GridRecord {
    format: u32,
    entries: Vec<EntryRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct EntryRecord {
    /// The folder of the autoencoder.
    folder: String,
    width: usize,
    l0: f64,
    name: String,
    point: Option<String>,
    /// The columns of its history, if it has one.
    history: Option<Vec<String>>,
}

impl SaeGrid {
    /// Writes the grid to the folder `folder`, which is made if need be: the autoencoders, `grid.json`
    /// and the histories of their training. Published ones are loaded for it.
    ///
    /// # Errors
    /// A place that cannot be written; as [`GridEntry::sae`] and [`Sae::save`](crate::sae::Sae::save).
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let (mut entries, mut histories) = (Vec::new(), HashMap::new());
        for (number, entry) in self.entries().iter().enumerate() {
            let name = format!("{number:03}-width-{}-l0-{}", entry.width, entry.l0);
            let sae = entry.sae(&Device::Cpu)?;
            save_sae(&sae, &folder.join(&name))?;
            if let Some(history) = entry.history() {
                let rows: Vec<f64> = history.rows().iter().flatten().copied().collect();
                let shape = (history.len(), history.names().len());
                histories.insert(name.clone(), Tensor::from_vec(rows, shape, &Device::Cpu)?);
            }
            entries.push(EntryRecord {
                folder: name,
                width: entry.width,
                l0: entry.l0,
                name: entry.name.clone(),
                point: sae.point().ok().map(|point| point.to_string()),
                history: entry.history().map(History::names),
            });
        }
        if !histories.is_empty() {
            save_exactly(&folder.join(HISTORIES), &histories)?;
        }
        let text = serde_json::to_vec_pretty(&GridRecord { format: FORMAT, entries })
            .map_err(std::io::Error::other);
        replace(&folder.join(RECORD), |place| fs::write(place, text?))
    }

    /// The grid in a folder: what [`SaeGrid::save`] wrote, or autoencoders in folders with the names of
    /// Gemma Scope's, `layer_20/width_16k/average_l0_58`. They are loaded when they are asked for.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a folder that is not there, or without autoencoders; [`Error::Format`]
    /// for a `grid.json` that is damaged.
    pub fn folder(path: impl AsRef<Path>) -> Result<Self> {
        let folder = &*expand_home(path.as_ref());
        check_folder(folder, "a grid of autoencoders")?;
        let record = folder.join(RECORD);
        if record.is_file() {
            return saved(folder, &record);
        }
        let mut entries = Vec::new();
        named(folder, Path::new(""), &mut entries)?;
        if entries.is_empty() {
            return Err(Error::NotFound {
                what: format!("autoencoders in {}", folder.display()),
                hint: "It has no grid.json, and no folders such as \
                       layer_20/width_16k/average_l0_58."
                    .to_owned(),
            });
        }
        Self::of(entries)
    }
}

/// The grid of a folder with a record.
fn saved(folder: &Path, path: &Path) -> Result<SaeGrid> {
    let text = fs::read(path).map_err(Error::io("read", path))?;
    let value = parse_json(path, &text, "the record of a grid")?;
    let record: GridRecord = serde_json::from_value(value).map_err(|reason| {
        Error::format(path, "the record of a grid", reason.to_string()).caused_by(reason)
    })?;
    if record.format != FORMAT {
        let found = format!("format {}, of another version of eigenlens", record.format);
        return Err(Error::format(path, format!("a grid of format {FORMAT}"), found));
    }
    let has_histories = record.entries.iter().any(|entry| entry.history.is_some());
    let histories = folder.join(HISTORIES);
    let open = || Tensors::open(&histories, &Device::Cpu);
    let mut histories = has_histories.then(open).transpose()?;
    let entries = record.entries.into_iter().map(|entry| {
        let EntryRecord { folder: own, width, l0, name, point, history } = entry;
        if own.is_empty() || own.starts_with('.') || own.contains(['/', '\\']) {
            return Err(Error::format(path, "names of folders beside it", own));
        }
        let history = match (history, &mut histories) {
            (Some(names), Some(tensors)) => Some(history_of(tensors, &own, &names)?),
            _ => None,
        };
        Ok(GridEntry {
            width,
            l0,
            name,
            point: point.map(|point| point.parse()).transpose()?,
            place: GridPlace::Folder(folder.join(own)),
            history,
        })
    });
    SaeGrid::of(entries.collect::<Result<_>>()?)
}

fn history_of(tensors: &mut Tensors, name: &str, columns: &[String]) -> Result<History> {
    let rows = tensors.shape(name).and_then(|shape| shape.first()).copied().unwrap_or(0);
    let rows = tensors.take(name, &[rows, columns.len()])?;
    let metrics: Vec<&str> = columns.iter().skip(1).map(String::as_str).collect();
    let mut history = History::new(columns.first().map_or("row", String::as_str), &metrics);
    for row in rows.to_dtype(DType::F64)?.to_vec2::<f64>()? {
        history.push(&row[1..])?;
    }
    Ok(history)
}

/// Finds folders of published names below `root`.
fn named(root: &Path, below: &Path, entries: &mut Vec<GridEntry>) -> Result<()> {
    let folder = root.join(below);
    let mut found: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(Error::io("read", &folder))?
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| below.join(entry.file_name()))
        .collect();
    found.sort();
    for path in found {
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        let name = parts[parts.len().saturating_sub(3)..].join("/");
        match name.parse::<SaeName>() {
            Ok(SaeName { width, l0, .. }) => entries.push(GridEntry {
                width,
                l0: f64::from(l0),
                name,
                point: None,
                place: GridPlace::Folder(root.join(&path)),
                history: None,
            }),
            Err(_) if parts.len() < MAX_DEPTH => named(root, &path, entries)?,
            Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harvest::tests::sae;
    use crate::model::HookPoint;

    #[test]
    fn saved_grids_come_back_with_their_histories() {
        let point = HookPoint::ResidPost(0);
        let grid = SaeGrid::new([(sae(point, 1), 3.5), (sae(point, 2), 1.0)]).unwrap();
        let mut entries = grid.entries().to_vec();
        let mut history = History::new("row", &["step", "nmse"]);
        history.push(&[10.0, 0.1 + 0.2]).unwrap();
        history.push(&[20.0, 1.0 / 3.0]).unwrap();
        entries[1].history = Some(history.clone());
        let grid = SaeGrid::of(entries).unwrap();
        let folder = tempfile::tempdir().unwrap();
        grid.save(folder.path()).unwrap();
        let loaded = SaeGrid::folder(folder.path()).unwrap();
        assert_eq!(loaded.to_string(), grid.to_string());
        assert_eq!(loaded.entries()[1].history(), Some(&history));
        assert!(loaded.entries()[0].history().is_none());
        for (a, b) in grid.entries().iter().zip(loaded.entries()) {
            let (a, b) = (a.sae(&Device::Cpu).unwrap(), b.sae(&Device::Cpu).unwrap());
            assert_eq!(b.point().unwrap(), point);
            assert_eq!(a.architecture(), b.architecture());
            let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(flat(a.w_dec()), flat(b.w_dec()));
        }
        let path = folder.path().join(RECORD);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
        let error = SaeGrid::folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("another version"), "{error}");
        fs::write(&path, text.replace("000-width", "../width")).unwrap();
        let error = SaeGrid::folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("folders beside it"), "{error}");
    }

    #[test]
    fn folders_of_published_names_are_a_grid() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["layer_1/width_16k/average_l0_9", "layer_1/width_32k/average_l0_7", "other/x"]
        {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let grid = SaeGrid::folder(folder.path()).unwrap();
        assert_eq!((grid.widths(), grid.l0s(1 << 15)), (vec![1 << 14, 1 << 15], vec![7.0]));
        assert_eq!(grid.entries()[0].name, "layer_1/width_16k/average_l0_9");
        let none = folder.path().join("other");
        assert!(SaeGrid::folder(&none).unwrap_err().to_string().contains("no grid.json"));
        let missing = SaeGrid::folder(folder.path().join("missing")).unwrap_err().to_string();
        assert!(missing.contains("SaeGrid::save makes one"), "{missing}");
    }
}
