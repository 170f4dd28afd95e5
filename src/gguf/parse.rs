//! The header of a GGUF file: metadata and the table of tensors.
//!
//! The work is in proportion to the header, and the memory at most 24 times it, whatever the bytes
//! say (entries of two bytes' names in a growing list take most).

use std::path::Path;

use bytes::Bytes;

use super::cursor::{Cursor, Parsed, Trouble, bad};
use super::types::TensorType;
use super::value::Value;
use super::{GgufHeader, TensorInfo};
use crate::Result;

/// The longest name, as the format has it for keys.
const NAME: usize = 65_535;
const DIMENSIONS: u32 = 4;
const ALIGNMENT: &str = "general.alignment";
/// Fewest bytes of an entry of metadata: the length of its name, its type, its value.
const ENTRY: u64 = 8 + 4 + 1;
/// Fewest bytes of a tensor's description: length of its name, dimensions, type, place.
const DESCRIPTION: u64 = 8 + 4 + 4 + 8;

/// The header at the start of `bytes`, the first ones of a file of `size` bytes.
pub(super) fn header(bytes: &[u8], size: u64) -> Parsed<GgufHeader> {
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
    Ok(GgufHeader { version, metadata, tensors: infos })
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

impl Cursor<'_> {
    fn name(&mut self, what: &str) -> Parsed<String> {
        let name = self.string(|| what.to_owned())?;
        if name.len() > NAME {
            return bad(format!("{what} of at most {NAME} bytes"), format!("{}", name.len()));
        }
        Ok(name.to_owned())
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
        Ok(TensorInfo { name, shape, kind, file: 0, start, bytes })
    }
}

/// The header of a file through `read`, which gives its first bytes.
pub(super) fn header_of(
    path: &Path,
    size: u64,
    mut read: impl FnMut(usize) -> Result<Bytes>,
) -> Result<GgufHeader> {
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
