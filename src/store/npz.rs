//! NumPy archives: a zip of `.npy` files, each a header in Python's words and the numbers.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use super::archive::members;
use super::raw::{EntryOrder, NumberType, Raw};
use super::sniff::{Format, mistaken};
use crate::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";

/// The arrays of an `.npz` file with these bytes, under their names without `.npy`.
///
/// # Errors
/// An archive that is cut short or damaged; arrays of Python objects, which are code; big-endian
/// numbers; types that are no numbers.
pub(crate) fn read(path: &Path, bytes: &Bytes) -> Result<BTreeMap<String, Raw>> {
    let mut arrays = BTreeMap::new();
    for (name, content) in members(path, bytes)? {
        let name = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        let raw = array(&content).map_err(|found| {
            let expected = format!("`{name}`, an array of numbers");
            match content.starts_with(MAGIC) {
                true => Error::format(path, expected, found),
                // Another kind of zip archive, such as PyTorch's.
                false => mistaken(path, bytes, Format::Json, expected, found),
            }
        })?;
        if arrays.insert(name.clone(), raw).is_some() {
            return Err(Error::format(path, "one array a name", format!("`{name}` twice")));
        }
    }
    Ok(arrays)
}

/// The array of an `.npy` file, or what is wrong with it.
fn array(bytes: &Bytes) -> Result<Raw, String> {
    let cut = || "a file that is cut short".to_owned();
    let rest = bytes.strip_prefix(MAGIC).ok_or("no .npy file")?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    let (length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        other => return Err(format!("version {other} of the format, which is not known here")),
    };
    let header = rest.get(..length).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "a header that is no text")?;
    let text = value(header, "descr").ok_or("a header without `descr`")?;
    let kind = kind(text.trim_matches(['\'', '"']))?;
    let columns = match value(header, "fortran_order") {
        Some("False") => false,
        Some("True") => true,
        _ => return Err("a header without `fortran_order`".to_owned()),
    };
    let shape = value(header, "shape").and_then(sizes).ok_or("a header without `shape`")?;
    let size = Raw::count(&shape).and_then(|count| count.checked_mul(kind.size()));
    let data = bytes.slice(bytes.len() - rest.len() + length..);
    if size != Some(data.len()) {
        let found = data.len();
        return Err(format!("{found} bytes for shape {shape:?} of {kind:?}"));
    }
    let layout = if columns { EntryOrder::Columns } else { EntryOrder::Rows };
    Ok(Raw { kind, shape, layout, bytes: data.into() })
}

/// What follows `'key':` in a Python dictionary of strings, truth values and tuples.
fn value<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let place = ["'", "\""].into_iter().find_map(|quote| {
        let quoted = format!("{quote}{key}{quote}");
        Some(header.find(&quoted)? + quoted.len())
    })?;
    let rest = header[place..].trim_start().strip_prefix(':')?.trim_start();
    let end = match rest.strip_prefix('(') {
        Some(tuple) => tuple.find(')')? + 2,
        None => rest.find([',', '}'])?,
    };
    Some(rest[..end].trim())
}

/// The sizes in `(3, 4)`, `(3,)` or `()`.
fn sizes(tuple: &str) -> Option<Vec<usize>> {
    let inner = tuple.strip_prefix('(')?.strip_suffix(')')?;
    let sizes = inner.split(',').map(str::trim).filter(|size| !size.is_empty());
    sizes.map(|size| size.parse().ok()).collect()
}

/// The type that a `descr` names.
fn kind(descr: &str) -> Result<NumberType, String> {
    if let Some(big) = descr.strip_prefix('>') {
        return Err(format!("big-endian numbers, {big}"));
    }
    Ok(match descr.trim_start_matches(['<', '|', '=']) {
        "f8" => NumberType::F64,
        "f4" => NumberType::F32,
        "f2" => NumberType::F16,
        "i8" => NumberType::I64,
        "i4" => NumberType::I32,
        "i2" => NumberType::I16,
        "i1" => NumberType::I8,
        "u1" => NumberType::U8,
        "b1" => NumberType::Bool,
        "O" => return Err("Python objects, which would have to be executed".to_owned()),
        other => return Err(format!("entries of type {other:.20}")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::archive::tests::archive;
    use super::*;

    fn npy(header: &str, numbers: &[f32]) -> Vec<u8> {
        let mut bytes = [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes()].concat();
        bytes.extend(header.as_bytes());
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes
    }

    fn one(header: &str) -> Result<BTreeMap<String, Raw>> {
        let bytes = archive(&[("w.npy", &npy(header, &[1., 2., 3., 4., 5., 6.]))], true);
        read(Path::new("params.npz"), &bytes.into())
    }

    #[test]
    fn shapes_and_orders_are_read() {
        let rows = one("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n").unwrap();
        assert_eq!((&*rows["w"].shape, &rows["w"].layout), (&[2, 3][..], &EntryOrder::Rows));
        let columns = one(r#"{"descr": "<f4", "fortran_order": True, "shape": (6,)}"#).unwrap();
        assert_eq!((&*columns["w"].shape, &columns["w"].layout), (&[6][..], &EntryOrder::Columns));
        assert_eq!(columns["w"].bytes.len(), 24);
    }

    #[test]
    fn what_is_no_array_of_numbers_is_named() {
        let cases = [
            ("{'descr': '|O', 'fortran_order': False, 'shape': (6,)}", "executed"),
            ("{'descr': '>f4', 'fortran_order': False, 'shape': (6,)}", "big-endian"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (7,)}", "24 bytes for shape [7]"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (6,", "without `shape`"),
            ("{'descr': '<f4', 'shape': (6,)}", "without `fortran_order`"),
            ("{'descr': '<c8', 'fortran_order': False, 'shape': (3,)}", "type c8"),
            ("{}", "without `descr`"),
        ];
        for (header, expected) in cases {
            let message = one(header).unwrap_err().to_string();
            let named = message.contains("params.npz") && message.contains("`w`");
            assert!(named && message.contains(expected), "{message}");
        }
    }
}
