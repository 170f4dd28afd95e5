//! Models in several files, as llama.cpp's `llama-gguf-split` writes them.
//!
//! Files are named `name-00001-of-00003.gguf`. Each says its number (`split.no`, from 0), how many
//! there are (`split.count`) and how many tensors all have together (`split.tensors.count`). The first
//! has the model's metadata.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Gguf, GgufFile, GgufHeader, Value};
use crate::{Error, Result};

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";
const ENDING: &str = "gguf";

/// What a file says of the model that it is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SplitPart {
    /// From 0.
    number: u64,
    /// Of all parts.
    count: u64,
    /// Of all parts together.
    tensors: u64,
}

impl SplitPart {
    /// What a header says; `None` for a file that holds the model alone.
    ///
    /// # Errors
    /// A number that is missing, or none.
    pub(super) fn of(path: &Path, header: &GgufHeader) -> Result<Option<Self>> {
        let number = |key: &str| {
            let value = header.get(key);
            value.and_then(Value::as_u64).ok_or_else(|| {
                let found = value.map_or("nothing".to_owned(), Value::to_string);
                Error::format(path, format!("a whole number in `{key}`"), found)
            })
        };
        if header.get(COUNT).is_none() || number(COUNT)? <= 1 {
            return Ok(None);
        }
        let part =
            Self { number: number(NUMBER)?, count: number(COUNT)?, tensors: number(TENSORS)? };
        match part.number < part.count {
            true => Ok(Some(part)),
            false => {
                let expected = format!("a number below {}, the parts, in `{NUMBER}`", part.count);
                Err(Error::format(path, expected, part.number.to_string()))
            }
        }
    }
}

/// The model in the parts of which `path` is one.
///
/// # Errors
/// A name that does not tell those of the other parts; a part that is missing, or is one of another
/// model.
pub(super) fn open(path: &Path, part: &SplitPart) -> Result<Gguf> {
    let mut whole: Option<GgufHeader> = None;
    let mut files: Vec<GgufFile> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for number in 0..part.count {
        let own = sibling(path, number, part.count).ok_or_else(|| {
            let count = part.count;
            let expected = format!(
                "a name such as `name-00001-of-{count:05}.gguf`, because it is part {} of {count}",
                part.number + 1
            );
            Error::format(path, expected, "a name that does not tell those of the other parts")
        })?;
        if !own.is_file() {
            return Err(Error::NotFound {
                what: format!("part {} of {}, {},", number + 1, part.count, own.display()),
                hint: format!(
                    "{} is another part of it: all must be in one folder.",
                    path.display()
                ),
            });
        }
        let (mut header, file) = GgufFile::open(&own)?;
        let found = SplitPart::of(&own, &header)?;
        let expected = SplitPart { number, ..*part };
        if found != Some(expected) {
            let found = found.map_or("one that is no part".to_owned(), |found| found.told());
            return Err(Error::format(&own, expected.told(), found));
        }
        for info in &mut header.tensors {
            info.file = files.len();
            if let Some(other) = places.insert(info.name.clone(), files.len()) {
                let other = files.get(other).map_or(&file.path, |file| &file.path);
                let found = format!("`{}`, which {} has too", info.name, other.display());
                return Err(Error::format(&own, "tensors that no other part has", found));
            }
        }
        files.push(file);
        match &mut whole {
            None => whole = Some(header),
            Some(whole) => {
                check_same(&own, whole, &header)?;
                whole.tensors.append(&mut header.tensors);
            }
        }
    }
    let whole =
        whole.ok_or_else(|| Error::invalid("`split.count`", "at least one part", "none"))?;
    let found = whole.tensors.len();
    if found as u64 != part.tensors {
        let expected = format!("{} tensors in all parts, as `{TENSORS}` says", part.tensors);
        return Err(Error::format(path, expected, found.to_string()));
    }
    Ok(Gguf::new(path, whole, files))
}

impl SplitPart {
    fn told(&self) -> String {
        let Self { number, count, tensors } = self;
        format!("part {} of {count} of a model of {tensors} tensors", number + 1)
    }
}

/// Fails for a part that says something else of the model than the first.
fn check_same(path: &Path, first: &GgufHeader, other: &GgufHeader) -> Result<()> {
    for (key, value) in other.metadata.iter().filter(|(key, _)| key != NUMBER) {
        if let Some(own) = first.get(key).filter(|own| *own != value) {
            let expected = format!("{own} in `{key}`, as in the first part");
            return Err(Error::format(path, expected, value.to_string()));
        }
    }
    Ok(())
}

/// The path of part `number`, from 0, of `count`, from that of any.
fn sibling(path: &Path, number: u64, count: u64) -> Option<PathBuf> {
    let (stem, ending) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let (start, total) = stem.rsplit_once("-of-")?;
    let (name, own) = start.rsplit_once('-')?;
    own.parse::<u64>().ok()?;
    let is_it = total.parse::<u64>().ok()? == count;
    is_it.then(|| path.with_file_name(format!("{name}-{:05}-of-{count:05}.{ending}", number + 1)))
}

/// The GGUF file in a folder, or the first of those that a model was split into; none where the folder
/// has no such files.
///
/// # Errors
/// Several models; a folder that cannot be read.
pub(crate) fn in_folder(folder: &Path) -> Result<Option<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_gguf = |path: &PathBuf| {
        path.extension().is_some_and(|end| end.eq_ignore_ascii_case(ENDING)) && path.is_file()
    };
    let mut paths: Vec<PathBuf> = paths.filter(is_gguf).collect();
    paths.sort();
    let mut models: Vec<PathBuf> = Vec::new();
    for path in paths {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let count = stem.and_then(|stem| stem.rsplit_once("-of-")?.1.parse::<u64>().ok());
        let first = count.and_then(|count| sibling(&path, 0, count)).unwrap_or(path);
        if !models.contains(&first) {
            models.push(first);
        }
    }
    match models.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => {
            let names = several.iter().filter_map(|path| path.file_name());
            let names: Vec<String> =
                names.map(|name| format!("`{}`", name.to_string_lossy())).collect();
            let expected = "one GGUF model in the folder, or the path of one of its files";
            Err(Error::format(folder, expected, names.join(", ")))
        }
    }
}
