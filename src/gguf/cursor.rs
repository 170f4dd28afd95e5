//! Reading the bytes of a header from the first to the last.
//!
//! Nothing in the bytes is believed: a count or length is held against what is left of the file before
//! anything of that size is made.

use std::path::Path;

use crate::Error;
use crate::store::{Format, mistaken};

/// Why a header could not be read.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It goes on to this byte of the file, past those at hand.
    Short(u64),
    /// It is wrong: what was expected, and what is there.
    Bad(String, String),
}

/// What is read, or why it could not be.
pub(super) type Parsed<T> = std::result::Result<T, Trouble>;

pub(super) fn bad<T>(expected: impl Into<String>, found: impl Into<String>) -> Parsed<T> {
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

/// A place in the bytes of a header, from which it is read on.
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
    pub(super) fn take(&mut self, count: u64) -> Parsed<&'a [u8]> {
        let end = (self.at as u64).saturating_add(count);
        match usize::try_from(end).ok().and_then(|end| self.bytes.get(self.at..end)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => Err(Trouble::Short(end)),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
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
    pub(super) fn expect(&self, least: Option<u64>, what: impl Fn() -> String) -> Parsed<()> {
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
}
