//! What `torch.save` writes: a zip of a pickle and the numbers of its tensors.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use candle_core::Device;

use super::archive::members;
use super::pickle::{Id, Pickle, Value};
use super::sniff::{Format, mistaken};
use super::tensors::{Kind, Layout, Raw, Tensors};
use crate::{Error, Result};

/// The names of PyTorch's storages.
const KINDS: [(&str, Kind); 10] = [
    ("DoubleStorage", Kind::F64),
    ("FloatStorage", Kind::F32),
    ("HalfStorage", Kind::F16),
    ("BFloat16Storage", Kind::BF16),
    ("LongStorage", Kind::I64),
    ("IntStorage", Kind::I32),
    ("ShortStorage", Kind::I16),
    ("CharStorage", Kind::I8),
    ("ByteStorage", Kind::U8),
    ("BoolStorage", Kind::Bool),
];

/// A file of `torch.save`.
#[derive(Debug)]
pub(crate) struct Loaded {
    path: PathBuf,
    pickle: Pickle,
    storages: HashMap<String, Bytes>,
}

/// Reads a file of `torch.save` with these bytes.
///
/// # Errors
/// A file that is cut short, damaged, of another format or of PyTorch before 1.6; a pickle that asks
/// for a call of a function.
pub(crate) fn read(path: &Path, bytes: &Bytes) -> Result<Loaded> {
    let broken = |found: String| Error::format(path, "a file of torch.save", found);
    if !bytes.starts_with(b"PK") {
        let found = match bytes.first() {
            Some(0x80) => {
                "a bare pickle, as PyTorch before 1.6 or pickle.dump write it; load it \
                           in Python and save it with torch.save"
            }
            _ => "no zip archive",
        };
        return Err(mistaken(path, bytes, Format::Pickle, "a file of torch.save", found));
    }
    let (mut pickle, mut storages) = (None, HashMap::new());
    for (name, content) in members(path, bytes)? {
        // All members lie in a folder, of any name.
        let (_, name) = name.split_once('/').unwrap_or(("", &name));
        match (name, name.strip_prefix("data/")) {
            ("data.pkl", _) => pickle = Some(content),
            ("byteorder", _) if &*content != b"little" => {
                return Err(broken("big-endian numbers".to_owned()));
            }
            (_, Some(key)) => drop(storages.insert(key.to_owned(), content)),
            _ => {}
        }
    }
    let pickle = pickle.ok_or_else(|| {
        let found = "an archive without data.pkl";
        mistaken(path, bytes, Format::Pickle, "a file of torch.save", found)
    })?;
    let pickle = Pickle::parse(&pickle).map_err(|reason| broken(reason.to_string()))?;
    Ok(Loaded { path: path.to_owned(), pickle, storages })
}

impl Loaded {
    /// What was saved.
    pub(crate) fn pickle(&self) -> &Pickle {
        &self.pickle
    }

    /// The tensors among the fields of the dictionary `id`; `wanted` says which and how they are
    /// called.
    ///
    /// # Errors
    /// A tensor whose numbers are not in the file.
    pub(crate) fn tensors(&self, id: Id, device: &Device) -> Result<Tensors> {
        let mut tensors = BTreeMap::new();
        for (name, value) in self.pickle.fields(id) {
            if let Value::Tensor(_) = self.pickle.value(value) {
                tensors.insert(name.to_owned(), self.raw(name, value)?);
            }
        }
        Ok(Tensors::of(&self.path, tensors, device))
    }

    fn raw(&self, name: &str, id: Id) -> Result<Raw> {
        let wrong =
            |found: String| Error::format(&self.path, format!("the tensor `{name}`"), found);
        let Value::Tensor(place) = self.pickle.value(id) else {
            return Err(wrong("no tensor".to_owned()));
        };
        let Value::Storage(class, key, count) = self.pickle.value(place.storage) else {
            return Err(wrong("no storage".to_owned()));
        };
        let short = class.rsplit('.').next().unwrap_or(class);
        let kind = KINDS.iter().find(|(own, _)| *own == short).map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| wrong(format!("numbers of type {class:.40}")))?;
        let bytes = self.storages.get(key);
        let bytes = bytes.ok_or_else(|| wrong(format!("no numbers under the key {key:.40}")))?;
        let start = place.offset.checked_mul(kind.size()).filter(|start| *start <= bytes.len());
        let sound = count.checked_mul(kind.size()) == Some(bytes.len());
        let (Some(start), true) = (start, sound) else {
            return Err(wrong(format!("{} bytes of numbers for {count} entries", bytes.len())));
        };
        // A tensor whose steps repeat entries may be larger than its file.
        if Raw::count(&place.shape).is_none_or(|entries| entries > (*count).max(1)) {
            let expected = format!("the tensor `{name}` within its {count} numbers");
            return Err(Error::format(&self.path, expected, format!("{:?}", place.shape)));
        }
        let layout = match rows(&place.shape) == place.steps {
            true => Layout::Rows,
            false => Layout::Steps(place.steps.clone()),
        };
        Ok(Raw { kind, shape: place.shape.clone(), layout, bytes: bytes.slice(start..).into() })
    }
}

/// The steps of a tensor that lies row by row.
fn rows(shape: &[usize]) -> Vec<usize> {
    let mut steps = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        steps[i - 1] = steps[i].saturating_mul(shape[i]);
    }
    steps
}
