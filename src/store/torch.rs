//! What `torch.save` writes: a zip of a pickle and the numbers of its tensors; before PyTorch 1.6,
//! several pickles in a row and the numbers after them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use candle_core::Device;

use super::archive::members;
use super::pickle::{Id, Pickle, PickleResult, PickleValue, Reason, fail};
use super::raw::{EntryOrder, NumberType, Raw};
use super::sniff::{Format, mistaken};
use super::tensors::Tensors;
use crate::{Error, Result};

/// The names of PyTorch's storages.
const KINDS: [(&str, NumberType); 10] = [
    ("DoubleStorage", NumberType::F64),
    ("FloatStorage", NumberType::F32),
    ("HalfStorage", NumberType::F16),
    ("BFloat16Storage", NumberType::BF16),
    ("LongStorage", NumberType::I64),
    ("IntStorage", NumberType::I32),
    ("ShortStorage", NumberType::I16),
    ("CharStorage", NumberType::I8),
    ("ByteStorage", NumberType::U8),
    ("BoolStorage", NumberType::Bool),
];

/// What a file of `torch.save` before PyTorch 1.6 begins with: the pickle of a number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

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
/// A file that is cut short, damaged or of another format; a pickle that asks for a call of a
/// function.
pub(crate) fn read(path: &Path, bytes: &Bytes) -> Result<Loaded> {
    let broken = |found: String| Error::format(path, "a file of torch.save", found);
    if bytes.starts_with(LEGACY) {
        let (pickle, storages) =
            legacy(bytes).map_err(|reason| broken(reason.to_string()).caused_by(reason))?;
        return Ok(Loaded { path: path.to_owned(), pickle, storages });
    }
    if !bytes.starts_with(b"PK") {
        let tar = bytes.get(257..262) == Some(b"ustar");
        let found = match bytes.first() {
            Some(0x80) => {
                "a bare pickle, as pickle.dump writes it; load it in Python and save it with \
                 torch.save"
            }
            _ if tar => {
                "a tar archive, as PyTorch before 0.1.10 wrote it; load it in Python and save it \
                 with torch.save"
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
    let pickle =
        Pickle::parse(&pickle).map_err(|reason| broken(reason.to_string()).caused_by(reason))?;
    Ok(Loaded { path: path.to_owned(), pickle, storages })
}

/// The pickle and the numbers of a file from before PyTorch 1.6: the pickles of a number that marks
/// the format, of its version, of the machine, of what was saved and of the keys of its storages, then
/// each storage's count and numbers.
fn legacy(bytes: &Bytes) -> PickleResult<(Pickle, HashMap<String, Bytes>)> {
    let next = Pickle::parse_first;
    let (_, rest) = next(&bytes[LEGACY.len()..])?;
    let (machine, rest) = next(rest)?;
    let little = machine.field(machine.root(), "little_endian").map(|id| machine.value(id));
    if little == Some(&PickleValue::Bool(false)) {
        return fail("big-endian numbers");
    }
    let (pickle, rest) = next(rest)?;
    let (keys, rest) = next(rest)?;
    let PickleValue::List(list) = keys.value(keys.root()) else {
        return fail("no list of storages after the pickle");
    };
    let sizes = pickle.storages();
    let (mut storages, mut at) = (HashMap::new(), bytes.len() - rest.len());
    for id in list {
        let PickleValue::Text(key) = keys.value(*id) else {
            return fail("a storage without a key");
        };
        let size = sizes.get(key.as_str()).and_then(|class| kind_of(class)).map(NumberType::size);
        let size =
            size.ok_or_else(|| Reason(format!("numbers of an unknown type under {key:.40}")))?;
        let count = bytes.get(at..).and_then(|rest| rest.first_chunk());
        let count = count.and_then(|count| usize::try_from(i64::from_le_bytes(*count)).ok());
        let end = count.and_then(|count| (at + 8).checked_add(count.checked_mul(size)?));
        let end = end.filter(|end| *end <= bytes.len());
        let end =
            end.ok_or_else(|| Reason(format!("numbers under {key:.40} that are cut short")))?;
        storages.insert(key.clone(), bytes.slice(at + 8..end));
        at = end;
    }
    Ok((pickle, storages))
}

/// The type of the numbers in a storage of a class such as `torch.FloatStorage`.
fn kind_of(class: &str) -> Option<NumberType> {
    let short = class.rsplit('.').next().unwrap_or(class);
    KINDS.iter().find(|(own, _)| *own == short).map(|(_, kind)| *kind)
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
            if let PickleValue::Tensor(_) = self.pickle.value(value) {
                tensors.insert(name.to_owned(), self.raw(name, value)?);
            }
        }
        Ok(Tensors::of(&self.path, tensors, device))
    }

    fn raw(&self, name: &str, id: Id) -> Result<Raw> {
        let wrong =
            |found: String| Error::format(&self.path, format!("the tensor `{name}`"), found);
        let PickleValue::Tensor(place) = self.pickle.value(id) else {
            return Err(wrong("no tensor".to_owned()));
        };
        let PickleValue::Storage(class, key, count) = self.pickle.value(place.storage) else {
            return Err(wrong("no storage".to_owned()));
        };
        let kind = kind_of(class).ok_or_else(|| wrong(format!("numbers of type {class:.40}")))?;
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
            true => EntryOrder::Rows,
            false => EntryOrder::Steps(place.steps.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The seed of `fuzzing::pickle`, with the numbers that it was written with.
    #[test]
    fn tensors_of_a_file_from_before_pytorch_1_6_share_their_numbers() {
        let bytes = Bytes::from_static(include_bytes!("../../tests/data/legacy.bin"));
        let loaded = read(Path::new("legacy.bin"), &bytes).unwrap();
        let mut tensors = loaded.tensors(loaded.pickle().root(), &Device::Cpu).unwrap();
        let mut rows = |name: &str, shape: &[usize]| -> Vec<f32> {
            tensors.take(name, shape).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_eq!(rows("weight", &[2, 3]), [0.5, -1.25, 2.0, 3.5, -0.75, 0.125]);
        assert_eq!(rows("turned", &[3, 2]), [0.5, 3.5, -1.25, -0.75, 2.0, 0.125]);
        assert_eq!(rows("bias", &[3]), [1.0, 2.0, -3.0]);
    }
}
