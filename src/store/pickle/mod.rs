//! Python's pickles, as data: what they describe is written down, and nothing is ever executed.
//!
//! A pickle is a program for a small stack machine. Each of its steps makes at most one value here, of
//! bounded size or out of bytes of its step; steps that copy a text or a list that was made before
//! may copy 100 bytes for each byte of the file, all together, and fail then. A call of a function is
//! an error, but for those few that only put data together.

mod calls;
mod machine;
mod steps;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;

use machine::Machine;

/// Bytes that may be copied for each byte of the file.
const COPIED_PER_BYTE: usize = 100;

/// A value's place in its [`Pickle`].
pub(crate) type Id = usize;

/// A value; what it holds of others it holds by their places, as a pickle may share them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PickleValue {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Byte strings, of which nothing here needs the content.
    Bytes,
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function, by its module and name.
    Global(String),
    /// An object of a class that is not known here, and its fields.
    Object(String, Id),
    /// Numbers beside the pickle: type, key and count.
    Storage(String, String, usize),
    /// A tensor in a storage.
    Tensor(TensorPlace),
}

/// Where a tensor lies in its storage, in entries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorPlace {
    pub(crate) storage: Id,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) steps: Vec<usize>,
}

/// The values of a pickle.
#[derive(Debug)]
pub(crate) struct Pickle {
    values: Vec<PickleValue>,
    root: Id,
}

/// What is wrong with a pickle.
#[derive(Debug)]
pub(crate) struct Reason(pub(super) String);

impl std::error::Error for Reason {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) type PickleResult<T> = std::result::Result<T, Reason>;

pub(super) fn fail<T>(reason: impl Into<String>) -> PickleResult<T> {
    Err(Reason(reason.into()))
}

impl Pickle {
    /// What a pickle of these bytes describes.
    ///
    /// # Errors
    /// Bytes that are cut short or no pickle; a call of a function; copies without end.
    pub(crate) fn parse(bytes: &[u8]) -> PickleResult<Self> {
        Ok(Self::parse_first(bytes)?.0)
    }

    /// [`Pickle::parse`] of the first of several pickles in a row, and the bytes after it.
    pub(crate) fn parse_first(bytes: &[u8]) -> PickleResult<(Self, &[u8])> {
        let copies = bytes.len().saturating_mul(COPIED_PER_BYTE);
        let mut machine = Machine { rest: bytes, copies: Cell::new(copies), ..Machine::default() };
        while machine.step()? {}
        let root = machine.pop()?;
        let rest = machine.rest;
        Ok((Self { values: machine.values, root }, rest))
    }

    /// The classes of all storages, by their keys.
    pub(crate) fn storages(&self) -> HashMap<&str, &str> {
        let storages = self.values.iter().filter_map(|value| match value {
            PickleValue::Storage(class, key, _) => Some((key.as_str(), class.as_str())),
            _ => None,
        });
        storages.collect()
    }

    /// The place of the outermost value.
    pub(crate) fn root(&self) -> Id {
        self.root
    }

    /// The value at a place.
    pub(crate) fn value(&self, id: Id) -> &PickleValue {
        self.values.get(id).unwrap_or(&PickleValue::None)
    }

    /// Keys that are texts, and their values, of a dictionary or of an object's fields.
    pub(crate) fn fields(&self, id: Id) -> Vec<(&str, Id)> {
        let pairs = match self.value(id) {
            PickleValue::Dict(pairs) => pairs,
            PickleValue::Object(_, fields) => match self.value(*fields) {
                PickleValue::Dict(pairs) => pairs,
                _ => return Vec::new(),
            },
            _ => return Vec::new(),
        };
        let text = |key: Id| match self.value(key) {
            PickleValue::Text(text) => Some(text.as_str()),
            _ => None,
        };
        pairs.iter().filter_map(|(key, value)| Some((text(*key)?, *value))).collect()
    }

    /// The value of a field; of several under one name the last.
    pub(crate) fn field(&self, id: Id, name: &str) -> Option<Id> {
        self.fields(id).into_iter().rev().find(|(own, _)| *own == name).map(|(_, value)| value)
    }
}
