//! GGUF files: the container in which llama.cpp keeps a model, weights, sizes and tokenizer in one.
//!
//! ```text
//! "GGUF", version, numbers of tensors and of entries
//! metadata: key, type, value          `llama.block_count` = 30
//! tensors:  name, shape, type, place  `blk.0.attn_q.weight` [576, 576] Q4_1
//! data, each tensor at a multiple of `general.alignment` bytes
//! ```
//!
//! [`Gguf::open`] reads the header, [`Gguf::tensor`] one tensor, widened to f32. Versions 2 and 3
//! are read, and of the types of tensors F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 and Q2_K to
//! Q6_K. A model in several files is read as one. A header that goes on past the file's end, tensors
//! in each other's place, a name that is there twice and the like are errors; whatever a file says,
//! reading its header takes time and memory in proportion to the header's bytes.
//!
//! [`Decoder::from_gguf`](crate::model::Decoder::from_gguf) makes a model of a file.

mod cursor;
mod dequantise;
mod parse;
mod split;
#[cfg(test)]
pub(crate) mod tests;
mod types;
mod value;

pub use types::TensorType;
pub use value::{Array, Value};

pub(crate) use split::in_folder;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::check::check_finite;
use crate::display::show_as_text;
use crate::progress::safe_point;
use crate::store::Blob;
use crate::{Error, Result};

/// A GGUF file, or the files that a model was split into: its metadata, and its tensors, to be read
/// one by one. A cheap handle.
#[derive(Clone)]
pub struct Gguf(Arc<GgufData>);

struct GgufData {
    path: PathBuf,
    header: GgufHeader,
    /// Tensors by name: their numbers, sorted by it.
    order: Vec<usize>,
    files: Vec<GgufFile>,
}

/// One of the files.
struct GgufFile {
    path: PathBuf,
    data: Blob,
}

/// What stands before the data.
#[derive(Debug)]
struct GgufHeader {
    version: u32,
    metadata: Vec<(String, Value)>,
    tensors: Vec<TensorInfo>,
}

/// What a file says of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    name: String,
    shape: Vec<usize>,
    kind: TensorType,
    /// Which of the files it is in.
    file: usize,
    /// Where in the file it begins.
    start: u64,
    bytes: u64,
}

impl TensorInfo {
    /// Its name, as `blk.0.attn_q.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its shape, row-major: a matrix is `[outputs, inputs]`.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How its numbers are stored.
    pub fn kind(&self) -> TensorType {
        self.kind
    }

    /// Bytes that it takes in the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Gguf {
    /// The file `path`. Its tensors stay where they are. Of a model that was split into several files
    /// (`name-00001-of-00003.gguf`), each file opens all of them.
    ///
    /// # Errors
    /// A file that is missing, truncated, damaged, or no GGUF file of version 2 or 3; files that are
    /// not all the parts of one model.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (header, file) = GgufFile::open(path)?;
        match split::SplitPart::of(path, &header)? {
            Some(part) => split::open(path, &part),
            None => Ok(Self::new(path, header, vec![file])),
        }
    }

    /// The file whose bytes these are; `path` names it in messages.
    ///
    /// # Errors
    /// As [`Gguf::open`].
    pub fn parse(path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let (path, bytes) = (path.as_ref(), bytes.into());
        let size = bytes.len() as u64;
        let header = parse::header(&bytes, size)
            .map_err(|trouble| trouble.into_error(path, size, &bytes))?;
        let file = GgufFile { path: path.to_owned(), data: bytes.into() };
        Ok(Self::new(path, header, vec![file]))
    }

    fn new(path: &Path, header: GgufHeader, files: Vec<GgufFile>) -> Self {
        let mut order: Vec<usize> = (0..header.tensors.len()).collect();
        order.sort_unstable_by_key(|i| header.tensors[*i].name.as_str());
        Self(Arc::new(GgufData { path: path.to_owned(), header, order, files }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Version of the format.
    pub fn version(&self) -> u32 {
        self.0.header.version
    }

    /// Keys and values of the metadata, in the file's order.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.header.metadata.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of a key, if the file has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.header.get(key)
    }

    /// All tensors, in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.0.header.tensors
    }

    /// What the file says of the tensor `name`, if it has it.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        let (order, tensors) = (&self.0.order, self.tensors());
        let place = order.binary_search_by(|i| tensors[*i].name.as_str().cmp(name)).ok()?;
        tensors.get(order[place])
    }

    /// The tensor `name`, in f32.
    ///
    /// # Errors
    /// A tensor the file does not have, of a type that is not read here, or with values that are
    /// NaN or infinite; a file that has changed since it was opened.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor> {
        let Some(info) = self.info(name) else {
            return Err(self.wrong(format!("a tensor `{name}`"), "none of that name"));
        };
        let unreadable = || {
            let expected = format!("`{name}` in a type that eigenlens reads, {}", readable());
            self.wrong(expected, format!("{}: use a file quantised in another way", info.kind))
        };
        if !info.kind.is_readable() {
            return Err(unreadable());
        }
        safe_point("loading")?;
        // Fits: places and sizes were held against the file.
        let start = info.start as usize;
        let file = &self.0.files[info.file];
        let bytes = file.data.slice(start..start + info.bytes as usize).read();
        let bytes = bytes.map_err(Error::io("read", &file.path))?;
        let values = info.kind.dequantise(&bytes).ok_or_else(unreadable)?;
        let tensor = Tensor::from_vec(values, info.shape(), device)?;
        check_finite(&format!("`{name}` in {}", self.path().display()), &tensor)?;
        Ok(tensor)
    }

    /// Fails if a tensor is of a type that is not read here; nothing of the data is read.
    ///
    /// # Errors
    /// All such types in one error, with the first tensor of each.
    pub(crate) fn check_types(&self) -> Result<()> {
        let mut first: Vec<&TensorInfo> = Vec::new();
        for info in self.tensors().iter().filter(|info| !info.kind.is_readable()) {
            if first.iter().all(|own| own.kind != info.kind) {
                first.push(info);
            }
        }
        if first.is_empty() {
            return Ok(());
        }
        let named = first.iter().map(|info| format!("{} (`{}`)", info.kind, info.name));
        let found = named.collect::<Vec<_>>().join(", ");
        let expected = format!("tensors in types that eigenlens reads, {}", readable());
        Err(self.wrong(expected, format!("{found}: use a file quantised in another way")))
    }

    /// An error about this file.
    pub(crate) fn wrong(&self, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::format(self.path(), expected, found)
    }
}

impl GgufFile {
    /// The file `path`, and what stands before its data.
    fn open(path: &Path) -> Result<(GgufHeader, Self)> {
        let data = Blob::open(path)?;
        let header = parse::header_of(path, data.len() as u64, |count| {
            data.slice(0..count).read().map_err(Error::io("read", path))
        })?;
        Ok((header, Self { path: path.to_owned(), data }))
    }
}

impl GgufHeader {
    fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.iter().find(|(own, _)| own == key).map(|(_, value)| value)
    }
}

/// The types of tensors that are read, for messages.
fn readable() -> String {
    let names = types::ALL.iter().filter(|(_, kind)| kind.is_readable());
    names.map(|(_, kind)| kind.to_string()).collect::<Vec<_>>().join(", ")
}

impl fmt::Debug for Gguf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GgufHeader { version, metadata, tensors } = &self.0.header;
        f.debug_struct("Gguf")
            .field("path", &self.0.path)
            .field("version", version)
            .field("metadata", &metadata.len())
            .field("tensors", &tensors.len())
            .finish_non_exhaustive()
    }
}

show_as_text!(Gguf);

/// A line an entry of metadata, and a line a tensor.
impl fmt::Display for Gguf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GgufHeader { version, metadata, tensors } = &self.0.header;
        let path = self.path().display();
        writeln!(f, "{path}, GGUF {version}, {} tensors", tensors.len())?;
        // A key or name may have tens of thousands of characters.
        let width = |names: &mut dyn Iterator<Item = usize>| names.max().unwrap_or(0).min(60);
        let keys = width(&mut metadata.iter().map(|(key, _)| key.len()));
        for (key, value) in metadata {
            writeln!(f, "  {key:keys$}  {value}")?;
        }
        let names = width(&mut tensors.iter().map(|tensor| tensor.name.len()));
        for TensorInfo { name, shape, kind, .. } in tensors {
            writeln!(f, "  {name:names$}  {kind:7}  {shape:?}")?;
        }
        Ok(())
    }
}
