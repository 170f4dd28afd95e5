//! The filter `tojson` of `transformers`: Python's `json.dumps` with `ensure_ascii=False`.

use std::io::{self, Write};

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, State, Value};
use serde::Serialize as _;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Bytes that a step of the template pays for.
const BYTES_PER_STEP: u64 = 64;

/// A value as JSON; `indent` is a number of spaces.
pub(super) fn to_json(state: &State, value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    for (name, usual) in [("ensure_ascii", false), ("sort_keys", false)] {
        if options.get::<Option<bool>>(name)?.is_some_and(|value| value != usual) {
            let detail = format!("tojson knows only {name}={usual}");
            return Err(Error::new(ErrorKind::InvalidOperation, detail));
        }
    }
    if options.get::<Option<Value>>("separators")?.is_some_and(|value| !value.is_none()) {
        let detail = "tojson knows only the usual `separators`";
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    options.assert_all_used()?;
    let steps = state.fuel_levels().map_or(u64::MAX, |(_, left)| left);
    let mut text = BoundedJson { bytes: Vec::new(), most: steps.saturating_mul(BYTES_PER_STEP) };
    let written = match indent {
        None => value.serialize(&mut Serializer::with_formatter(&mut text, Spaced)),
        Some(spaces) => {
            let spaces = " ".repeat(spaces.min(64));
            let pretty = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut text, pretty))
        }
    };
    written.map_err(|reason| match reason.is_io() {
        true => Error::from(ErrorKind::OutOfFuel),
        false => Error::new(ErrorKind::BadSerialization, reason.to_string()),
    })?;
    String::from_utf8(text.bytes)
        .map_err(|reason| Error::new(ErrorKind::BadSerialization, reason.to_string()))
}

/// Bytes up to a number of them: a value may hold itself many times over.
struct BoundedJson {
    bytes: Vec<u8>,
    most: u64,
}

impl Write for BoundedJson {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + more.len()) as u64 > self.most {
            return Err(io::Error::other("too long"));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A space after each comma and colon, as Python writes on one line.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}
