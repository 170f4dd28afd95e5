//! Values of a GGUF file's metadata.

use std::fmt;

use super::cursor::{Cursor, Parsed, bad};

/// Arrays within arrays. The format has no use for more than one in another.
const DEPTH: usize = 4;

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    /// In the order of their numbers in files.
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    pub(super) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Fewest bytes of a value: for numbers, their size.
    pub(super) fn least(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::String => 8,
            Self::Array => 12,
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Bool => "truth values",
            Self::String => "texts",
            Self::Array => "arrays",
            _ => "numbers",
        }
    }
}

/// A value of metadata.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// Values of one type, in a row. They stay as the file has them until they are asked for.
#[derive(Clone, PartialEq)]
pub struct Array {
    pub(super) element: ValueType,
    pub(super) length: usize,
    pub(super) encoded: Box<[u8]>,
}

impl Value {
    /// The number, if it is a whole one that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::U64(value) => Some(value),
            Self::I8(value) => value.try_into().ok(),
            Self::I16(value) => value.try_into().ok(),
            Self::I32(value) => value.try_into().ok(),
            Self::I64(value) => value.try_into().ok(),
            _ => None,
        }
    }

    /// The number, if it is a floating point one.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(value) => Some(value.into()),
            Self::F64(value) => Some(value),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The array, if it is one.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }
}

impl Array {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The values, one after the other.
    pub fn values(&self) -> impl Iterator<Item = Value> + '_ {
        let mut cursor = Cursor::new(&self.encoded);
        // They were read once, with every check: none fails.
        (0..self.length).map_while(move |_| cursor.value(self.element, "an array").ok())
    }

    /// The values, if they are texts.
    pub fn strings(&self) -> Option<impl Iterator<Item = &str>> {
        let mut cursor = Cursor::new(&self.encoded);
        (self.element == ValueType::String)
            .then(|| (0..self.length).map_while(move |_| cursor.string(String::new).ok()))
    }
}

impl Cursor<'_> {
    pub(super) fn kind(&mut self, name: &str) -> Parsed<ValueType> {
        let number = self.u32()?;
        match ValueType::from_number(number) {
            Some(kind) => Ok(kind),
            None => bad(format!("a type of value (0 to 12) at `{name}`"), format!("type {number}")),
        }
    }

    pub(super) fn value(&mut self, kind: ValueType, name: &str) -> Parsed<Value> {
        Ok(match kind {
            ValueType::U8 => Value::U8(u8::from_le_bytes(self.array()?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(self.array()?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(self.array()?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(self.array()?)),
            ValueType::U32 => Value::U32(self.u32()?),
            ValueType::I32 => Value::I32(i32::from_le_bytes(self.array()?)),
            ValueType::U64 => Value::U64(self.u64()?),
            ValueType::I64 => Value::I64(i64::from_le_bytes(self.array()?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(self.array()?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(self.array()?)),
            ValueType::Bool => match self.array()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => return bad(format!("0 or 1 at `{name}`"), other.to_string()),
            },
            ValueType::String => {
                Value::String(self.string(|| format!("the text at `{name}`"))?.to_owned())
            }
            ValueType::Array => {
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
    pub(super) fn array_head(&mut self, name: &str) -> Parsed<(ValueType, u64)> {
        let element = self.kind(name)?;
        let length = self.u64()?;
        let least = length.checked_mul(element.least());
        self.expect(least, || format!("{length} values at `{name}`"))?;
        Ok((element, length))
    }

    /// Goes through the elements of an array, with every check.
    fn skip(&mut self, element: ValueType, length: u64, name: &str, depth: usize) -> Parsed<()> {
        match element {
            ValueType::String => {
                for _ in 0..length {
                    self.string(|| format!("a text at `{name}`"))?;
                }
            }
            ValueType::Array if depth == DEPTH => {
                return bad(
                    format!("at most {DEPTH} arrays in each other"),
                    format!("more at `{name}`"),
                );
            }
            ValueType::Array => {
                for _ in 0..length {
                    let (element, length) = self.array_head(name)?;
                    self.skip(element, length, name, depth + 1)?;
                }
            }
            ValueType::Bool => {
                if let Some(other) = self.take(length)?.iter().find(|byte| **byte > 1) {
                    return bad(format!("0 or 1 at `{name}`"), other.to_string());
                }
            }
            // No overflow: it was compared with the file's size.
            number => drop(self.take(length * number.least())?),
        }
        Ok(())
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How many values of an array, and characters of a text, are shown.
const SHOWN: (usize, usize) = (4, 60);

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.length, self.element.plural())?;
        for (i, value) in self.values().take(SHOWN.0).enumerate() {
            write!(f, "{} {value}", if i == 0 { ":" } else { "," })?;
        }
        f.write_str(if self.length > SHOWN.0 { ", …" } else { "" })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(value) => value.fmt(f),
            Self::I8(value) => value.fmt(f),
            Self::U16(value) => value.fmt(f),
            Self::I16(value) => value.fmt(f),
            Self::U32(value) => value.fmt(f),
            Self::I32(value) => value.fmt(f),
            Self::U64(value) => value.fmt(f),
            Self::I64(value) => value.fmt(f),
            Self::F32(value) => value.fmt(f),
            Self::F64(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::String(text) => {
                let shown: String = text.chars().take(SHOWN.1).collect();
                let rest = if shown.len() < text.len() { "…" } else { "" };
                write!(f, "{shown:?}{rest}")
            }
            Self::Array(array) => array.fmt(f),
        }
    }
}
