//! Safetensors: eight bytes of header length, a JSON header, and the numbers.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use super::Blob;
use super::raw::{EntryOrder, NumberType, Raw};
use super::sniff::{Format, LOOKED_AT, mistaken};
use crate::{Error, Result};

/// The names of the format's types.
const KINDS: [(&str, NumberType); 16] = [
    ("F64", NumberType::F64),
    ("F32", NumberType::F32),
    ("F16", NumberType::F16),
    ("BF16", NumberType::BF16),
    ("I64", NumberType::I64),
    ("I32", NumberType::I32),
    ("I16", NumberType::I16),
    ("I8", NumberType::I8),
    ("U8", NumberType::U8),
    ("BOOL", NumberType::Bool),
    ("U64", NumberType::Other("U64", 8)),
    ("U32", NumberType::U32),
    ("U16", NumberType::Other("U16", 2)),
    ("F8_E5M2", NumberType::Other("F8_E5M2", 1)),
    ("F8_E4M3", NumberType::Other("F8_E4M3", 1)),
    ("F8_E8M0", NumberType::Other("F8_E8M0", 1)),
];

/// The tensors of a file with these bytes.
///
/// Beside the bytes themselves it holds what the header says, a few times its length.
///
/// # Errors
/// A file that is cut short or is no safetensors file; tensors that overlap, lie outside the file,
/// or have other sizes than their shapes say.
pub(super) fn parse(path: &Path, bytes: &Blob) -> Result<BTreeMap<String, Raw>> {
    let read = |range: Range<usize>| bytes.slice(range).read().map_err(Error::io("read", path));
    let wrong = |expected: String, found: String| match read(0..LOOKED_AT) {
        Ok(start) => mistaken(path, &start, Format::Safetensors, expected, found),
        Err(reason) => reason,
    };
    let broken = |found: String| wrong("a whole safetensors file".to_owned(), found);
    let length = read(0..8)?;
    let Some(length) = length.first_chunk::<8>() else {
        return Err(broken(format!("{} bytes: truncated or incomplete", bytes.len())));
    };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let left = bytes.len() - 8;
    if length > left {
        let found = format!("a header of {length} bytes in {left}: truncated or incomplete");
        return Err(broken(found));
    }
    let header: SafetensorsHeader =
        serde_json::from_slice(&read(8..8 + length)?).map_err(|reason| {
            broken(format!("a header that cannot be read: {reason}")).caused_by(reason)
        })?;
    let start = 8 + length;
    let data = bytes.len() - start;
    let mut tensors = BTreeMap::new();
    let mut ranges = Vec::with_capacity(header.0.len());
    for (name, TensorEntry { dtype, shape, data_offsets: (from, to) }) in header.0 {
        let kind = KINDS.iter().find(|(own, _)| *own == dtype).map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| {
            wrong(format!("`{name}` of a known dtype"), format!("dtype `{dtype}`"))
        })?;
        let size = Raw::count(&shape).and_then(|count| count.checked_mul(kind.size()));
        if size != to.checked_sub(from) {
            let expected = format!("`{name}` as large as its shape {shape:?} of {dtype}");
            return Err(wrong(expected, format!("bytes {from} to {to}")));
        }
        if to > data {
            let expected = format!("`{name}` in bytes {from} to {to}");
            return Err(wrong(expected, format!("{data} bytes: truncated or incomplete")));
        }
        ranges.push((from, to, name.clone()));
        let bytes = bytes.slice(start + from..start + to);
        let raw = Raw { kind, shape, layout: EntryOrder::Rows, bytes };
        if tensors.insert(name.clone(), raw).is_some() {
            return Err(wrong("one tensor a name".to_owned(), format!("`{name}` twice")));
        }
    }
    ranges.sort_unstable();
    if let Some(pair) = ranges.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        let expected = "tensors that do not overlap";
        let found = format!("`{}` and `{}` in the same bytes", pair[0].2, pair[1].2);
        return Err(Error::format(path, expected, found));
    }
    Ok(tensors)
}

#[derive(Deserialize)]
struct TensorEntry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

/// Names and entries, in the header's order. A map would keep the last of equal names and say
/// nothing.
struct SafetensorsHeader(Vec<(String, TensorEntry)>);

impl<'de> Deserialize<'de> for SafetensorsHeader {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = SafetensorsHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with an entry a tensor")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<SafetensorsHeader, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(SafetensorsHeader(entries))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Blob {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend((0..data).map(|i| i as u8));
        bytes.into()
    }

    fn message(header: &str, data: usize) -> String {
        let error = parse(Path::new("some.safetensors"), &file(header, data)).unwrap_err();
        error.to_string()
    }

    #[test]
    fn tensors_and_their_bytes_are_found() {
        let header = r#"{"__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [2, 10]},
            "b": {"dtype": "BF16", "shape": [1, 1], "data_offsets": [0, 2]}}"#;
        let tensors = parse(Path::new("some"), &file(header, 10)).unwrap();
        assert_eq!(tensors["a"].bytes.read().unwrap(), (2..10).collect::<Vec<u8>>());
        assert_eq!((tensors["b"].kind, &*tensors["b"].shape), (NumberType::BF16, &[1, 1][..]));
    }

    #[test]
    fn whatever_does_not_add_up_is_named() {
        let entry = |dtype: &str, shape: &str, from: usize, to: usize| {
            format!(r#"{{"dtype": "{dtype}", "shape": {shape}, "data_offsets": [{from}, {to}]}}"#)
        };
        let one = |entry: String| format!(r#"{{"w": {entry}}}"#);
        let whole = entry("F32", "[2]", 0, 8);
        let cases = [
            (one(entry("F32", "[3]", 0, 8)), "`w` as large as its shape [3]"),
            (one(entry("F32", "[4611686018427387904, 4]", 0, 0)), "`w` as large as"),
            (one(entry("F32", "[2]", 8, 0)), "`w` as large as"),
            (one(entry("F32", "[3]", 0, 12)), "truncated or incomplete"),
            (one(entry("F31", "[2]", 0, 8)), "dtype `F31`"),
            (one(entry("F32", "[-2]", 0, 8)), "cannot be read"),
            (format!(r#"{{"w": {whole}, "w": {whole}}}"#), "`w` twice"),
            (format!(r#"{{"v": {whole}, "w": {}}}"#, entry("U8", "[2]", 7, 9)), "same bytes"),
            ("[1]".to_owned(), "cannot be read"),
            ("{".to_owned(), "cannot be read"),
        ];
        for (header, expected) in cases {
            let message = message(&header, 9);
            assert!(message.contains(expected) && message.contains("some."), "{message}");
        }
        let huge = Blob::from((u64::MAX - 3).to_le_bytes().to_vec());
        let message = parse(Path::new("some"), &huge).unwrap_err().to_string();
        assert!(message.contains("truncated"), "{message}");
        assert!(parse(Path::new("some"), &Blob::from(Vec::new())).is_err());
    }
}
