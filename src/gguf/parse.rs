//! The header of a GGUF file: metadata and the table of tensors.
//!
//! Nothing in the bytes is believed. A count or length is held against what is left of the file
//! before anything of that size is made, so that the work is in proportion to the header and the
//! memory at most 24 times it, whatever the bytes say (entries of two bytes' names in a growing
//! list take most).

use bytes::Bytes;
use std::path::Path;

use super::types::TensorType;
use super::value::{Array, Kind, Value};
use super::{Header, TensorInfo};
use crate::store::{Format, mistaken};
use crate::{Error, Result};

/// Arrays within arrays. The format has no use for more than one in another.
const DEPTH: usize = 4;
/// The longest name, as the format has it for keys.
const NAME: usize = 65_535;
const DIMENSIONS: u32 = 4;
const ALIGNMENT: &str = "general.alignment";
/// Fewest bytes of an entry of metadata: the length of its name, its type, its value.
const ENTRY: u64 = 8 + 4 + 1;
/// Fewest bytes of a tensor's description: length of its name, dimensions, type, place.
const DESCRIPTION: u64 = 8 + 4 + 4 + 8;

/// Why a header could not be read.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It goes on to this byte of the file, past those at hand.
    Short(u64),
    /// It is wrong: what was expected, and what is there.
    Bad(String, String),
}

type Parsed<T> = std::result::Result<T, Trouble>;

fn bad<T>(expected: impl Into<String>, found: impl Into<String>) -> Parsed<T> {
    Err(Trouble::Bad(expected.into(), found.into()))
}

impl Trouble {
    /// As an error about the file `path` of `size` bytes that begins with `start`.
    pub(super) fn into_error(self, path: &Path, size: u64, start: &[u8]) -> Error {
        let (expected, found) = match self {
            Self::Short(end) => {
                let expected = format!("a whole GGUF file, of at least {end} bytes");
                (expected, format!("{size} bytes: it is truncated or damaged"))
            }
            Self::Bad(expected, found) => (expected, found),
        };
        mistaken(path, start, Format::Gguf, expected, found)
    }
}

/// The header at the start of `bytes`, the first ones of a file of `size` bytes.
pub(super) fn header(bytes: &[u8], size: u64) -> Parsed<Header> {
    let mut cursor = Cursor { bytes, at: 0, size };
    let magic = cursor.take(4)?;
    if magic != b"GGUF" {
        return bad(
            "the bytes `GGUF` at the start",
            format!("{:?}", magic.escape_ascii().to_string()),
        );
    }
    let version = cursor.u32()?;
    match version {
        2 | 3 => {}
        _ if (2..=3).contains(&version.swap_bytes()) => {
            return bad("a little-endian file", "a big-endian one");
        }
        _ => return bad("GGUF of version 2 or 3", format!("version {version}")),
    }
    let (tensors, entries) = (cursor.u64()?, cursor.u64()?);
    let least = tensors.checked_mul(DESCRIPTION).zip(entries.checked_mul(ENTRY));
    let least = least.and_then(|(tensors, entries)| tensors.checked_add(entries));
    cursor.expect(least, || format!("{tensors} tensors and {entries} entries of metadata"))?;
    let mut metadata = Vec::new();
    for _ in 0..entries {
        let name = cursor.name("a key of metadata")?;
        let kind = cursor.kind(&name)?;
        metadata.push((name.clone(), cursor.value(kind, &name)?));
    }
    unique("keys of metadata", metadata.iter().map(|(name, _)| name.as_str()))?;
    let alignment = alignment(&metadata)?;
    let mut infos = Vec::new();
    for _ in 0..tensors {
        infos.push(cursor.tensor(alignment)?);
    }
    unique("names of tensors", infos.iter().map(|info: &TensorInfo| info.name.as_str()))?;
    let start = (cursor.at as u64).next_multiple_of(alignment);
    place(&mut infos, start, size)?;
    Ok(Header { version, metadata, tensors: infos })
}

/// Fails for the first name that is there twice.
fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Parsed<()> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => bad(format!("different {what}"), format!("`{}` twice", pair[0])),
        None => Ok(()),
    }
}

fn alignment(metadata: &[(String, Value)]) -> Parsed<u64> {
    match metadata.iter().find(|(name, _)| name == ALIGNMENT) {
        None => Ok(32),
        Some((_, Value::U32(value))) if value.is_power_of_two() => Ok((*value).into()),
        Some((_, other)) => {
            bad(format!("a power of two, as u32, in `{ALIGNMENT}`"), other.to_string())
        }
    }
}

/// Turns places relative to the data at `start` into places in the file, which must lie in it and
/// apart from each other.
fn place(infos: &mut [TensorInfo], start: u64, size: u64) -> Parsed<()> {
    for info in infos.iter_mut() {
        let end = start
            .checked_add(info.start)
            .and_then(|begin| Some((begin, begin.checked_add(info.bytes)?)));
        match end {
            Some((begin, end)) if end <= size => info.start = begin,
            Some((_, end)) => return Err(Trouble::Short(end)),
            None => return bad("tensors within the file", format!("`{}` far outside", info.name)),
        }
    }
    let mut order: Vec<&TensorInfo> = infos.iter().collect();
    order.sort_unstable_by_key(|info| info.start);
    match order.windows(2).find(|pair| pair[0].start + pair[0].bytes > pair[1].start) {
        Some(pair) => bad(
            "tensors that lie apart",
            format!("`{}` and `{}` in the same place", pair[0].name, pair[1].name),
        ),
        None => Ok(()),
    }
}

/// A place in the bytes of a header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    /// Bytes of the whole file, of which `bytes` may be a first part.
    pub(super) size: u64,
}

impl<'a> Cursor<'a> {
    /// At the start of bytes that are all there is.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, size: bytes.len() as u64 }
    }

    /// The next `count` bytes.
    fn take(&mut self, count: u64) -> Parsed<&'a [u8]> {
        let end = (self.at as u64).saturating_add(count);
        match usize::try_from(end).ok().and_then(|end| self.bytes.get(self.at..end)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => Err(Trouble::Short(end)),
        }
    }

    fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self) -> Parsed<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Parsed<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Fails where fewer than `least` bytes of the file are left, which `what` needs.
    fn expect(&self, least: Option<u64>, what: impl Fn() -> String) -> Parsed<()> {
        let left = self.size.saturating_sub(self.at as u64);
        if least.is_some_and(|least| least <= left) {
            return Ok(());
        }
        bad(
            format!("{}, as its header says", what()),
            format!("only {left} bytes more: it is truncated or damaged"),
        )
    }

    /// A length in bytes, and the text after it.
    pub(super) fn string(&mut self, what: impl Fn() -> String) -> Parsed<&'a str> {
        let length = self.u64()?;
        self.expect(Some(length), || format!("{} of {length} bytes", what()))?;
        let bytes = self.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(reason) => bad(format!("{} in UTF-8", what()), reason.to_string()),
        }
    }

    fn name(&mut self, what: &str) -> Parsed<String> {
        let name = self.string(|| what.to_owned())?;
        if name.len() > NAME {
            return bad(format!("{what} of at most {NAME} bytes"), format!("{}", name.len()));
        }
        Ok(name.to_owned())
    }

    pub(super) fn kind(&mut self, name: &str) -> Parsed<Kind> {
        let number = self.u32()?;
        match Kind::from_number(number) {
            Some(kind) => Ok(kind),
            None => bad(format!("a type of value (0 to 12) at `{name}`"), format!("type {number}")),
        }
    }

    pub(super) fn value(&mut self, kind: Kind, name: &str) -> Parsed<Value> {
        Ok(match kind {
            Kind::U8 => Value::U8(u8::from_le_bytes(self.array()?)),
            Kind::I8 => Value::I8(i8::from_le_bytes(self.array()?)),
            Kind::U16 => Value::U16(u16::from_le_bytes(self.array()?)),
            Kind::I16 => Value::I16(i16::from_le_bytes(self.array()?)),
            Kind::U32 => Value::U32(self.u32()?),
            Kind::I32 => Value::I32(i32::from_le_bytes(self.array()?)),
            Kind::U64 => Value::U64(self.u64()?),
            Kind::I64 => Value::I64(i64::from_le_bytes(self.array()?)),
            Kind::F32 => Value::F32(f32::from_le_bytes(self.array()?)),
            Kind::F64 => Value::F64(f64::from_le_bytes(self.array()?)),
            Kind::Bool => match self.array()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => return bad(format!("0 or 1 at `{name}`"), other.to_string()),
            },
            Kind::String => {
                Value::String(self.string(|| format!("the text at `{name}`"))?.to_owned())
            }
            Kind::Array => {
                let (element, length) = self.array_head(name)?;
                let start = self.at;
                self.skip(element, length, name, 1)?;
                // Within memory: they were gone through.
                let encoded = &self.bytes[start..self.at];
                Value::Array(Array { element, length: length as usize, encoded: encoded.into() })
            }
        })
    }

    /// Type and number of an array's elements, for which there are bytes enough left.
    pub(super) fn array_head(&mut self, name: &str) -> Parsed<(Kind, u64)> {
        let element = self.kind(name)?;
        let length = self.u64()?;
        let least = length.checked_mul(element.least());
        self.expect(least, || format!("{length} values at `{name}`"))?;
        Ok((element, length))
    }

    /// Goes through the elements of an array, with every check.
    fn skip(&mut self, element: Kind, length: u64, name: &str, depth: usize) -> Parsed<()> {
        match element {
            Kind::String => {
                for _ in 0..length {
                    self.string(|| format!("a text at `{name}`"))?;
                }
            }
            Kind::Array if depth == DEPTH => {
                return bad(
                    format!("at most {DEPTH} arrays in each other"),
                    format!("more at `{name}`"),
                );
            }
            Kind::Array => {
                for _ in 0..length {
                    let (element, length) = self.array_head(name)?;
                    self.skip(element, length, name, depth + 1)?;
                }
            }
            Kind::Bool => {
                if let Some(other) = self.take(length)?.iter().find(|byte| **byte > 1) {
                    return bad(format!("0 or 1 at `{name}`"), other.to_string());
                }
            }
            // No overflow: it was compared with the file's size.
            number => drop(self.take(length * number.least())?),
        }
        Ok(())
    }

    /// A tensor's description; its place is relative to the data.
    fn tensor(&mut self, alignment: u64) -> Parsed<TensorInfo> {
        let name = self.name("a tensor's name")?;
        let dimensions = self.u32()?;
        if dimensions > DIMENSIONS {
            let expected = format!("at most {DIMENSIONS} dimensions of `{name}`");
            return bad(expected, dimensions.to_string());
        }
        let mut shape = Vec::with_capacity(dimensions as usize);
        for _ in 0..dimensions {
            shape.push(self.u64()?);
        }
        let number = self.u32()?;
        let start = self.u64()?;
        let Some(kind) = TensorType::from_number(number) else {
            let expected =
                format!("a known type of tensor at `{name}`; {} are read", super::readable());
            return bad(expected, format!("type {number}"));
        };
        let row = shape.first().copied().unwrap_or(1);
        let (block, block_bytes) = kind.block();
        let elements = shape.iter().try_fold(1u64, |all, size| all.checked_mul(*size));
        let elements = elements.filter(|count| *count > 0 && usize::try_from(*count).is_ok());
        let Some((elements, true)) = elements.map(|count| (count, row.is_multiple_of(block)))
        else {
            let expected =
                format!("sizes of `{name}` that make rows of {block} values or a multiple");
            return bad(expected, format!("{shape:?}"));
        };
        let Some(bytes) = (elements / block).checked_mul(block_bytes) else {
            return bad(format!("`{name}` within the file"), format!("{shape:?}"));
        };
        if !start.is_multiple_of(alignment) {
            return bad(format!("`{name}` at a multiple of {alignment} bytes"), start.to_string());
        }
        // The file has the fastest dimension first. Each fits: their product does.
        let shape = shape.iter().rev().map(|size| *size as usize).collect();
        Ok(TensorInfo { name, shape, kind, start, bytes })
    }
}

/// The header of a file through `read`, which gives its first bytes.
pub(super) fn header_of(
    path: &Path,
    size: u64,
    mut read: impl FnMut(usize) -> Result<Bytes>,
) -> Result<Header> {
    let mut wanted: u64 = 1 << 20;
    loop {
        let first = wanted.min(size);
        // Fits: a file of this size was read into memory.
        let bytes = read(first as usize)?;
        match header(&bytes, size) {
            Ok(header) => return Ok(header),
            Err(Trouble::Short(end)) if end <= size && first < size => {
                wanted = end.max(first.saturating_mul(2));
            }
            Err(trouble) => return Err(trouble.into_error(path, size, &bytes)),
        }
    }
}
