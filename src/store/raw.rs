//! A tensor as a file stores it.

use std::path::Path;

use candle_core::{Device, Tensor};
use half::{bf16, f16};

use super::Blob;
use crate::{Error, Result};

/// The type of a stored number, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    U32,
    I16,
    I8,
    U8,
    Bool,
    /// A type that is not read here, such as 8-bit floating point, of so many bytes.
    Other(&'static str, usize),
}

impl NumberType {
    /// Bytes of a number.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Other(_, size) => size,
        }
    }

    /// Its name in messages.
    pub(super) fn name(self) -> String {
        match self {
            Self::Other(name, _) => name.to_owned(),
            known => format!("{known:?}"),
        }
    }
}

/// The order in which a tensor's entries lie in its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryOrder {
    /// The last index runs fastest.
    Rows,
    /// The first index runs fastest: Fortran's order.
    Columns,
    /// Steps of each index, in entries.
    Steps(Vec<usize>),
}

/// A tensor as a file stores it.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) kind: NumberType,
    pub(crate) shape: Vec<usize>,
    pub(crate) layout: EntryOrder,
    /// At least as many bytes as shape and layout reach.
    pub(crate) bytes: Blob,
}

impl Raw {
    /// Number of entries, if it can be counted.
    pub(crate) fn count(shape: &[usize]) -> Option<usize> {
        shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size))
    }

    /// The entries, if they are integers: counters and sizes.
    pub(crate) fn integers(&self) -> Option<Vec<i64>> {
        let count = Self::count(&self.shape)?;
        let bytes = self.bytes.read().ok()?;
        let bytes = bytes.get(..count.checked_mul(self.kind.size())?)?;
        Some(match self.kind {
            NumberType::I64 => numbers(bytes, i64::from_le_bytes),
            NumberType::I32 => numbers(bytes, |b| i32::from_le_bytes(b).into()),
            NumberType::U32 => numbers(bytes, |b| u32::from_le_bytes(b).into()),
            NumberType::I16 => numbers(bytes, |b| i16::from_le_bytes(b).into()),
            NumberType::I8 => numbers(bytes, |b| i8::from_le_bytes(b).into()),
            NumberType::U8 => numbers(bytes, |[b]: [u8; 1]| b.into()),
            _ => return None,
        })
    }

    /// The tensor in its own type; if `wide`, a floating point type of at least f32.
    ///
    /// # Errors
    /// A type that is not read here, or not floating point if `wide`; memory.
    pub(super) fn tensor(
        &self,
        name: &str,
        path: &Path,
        device: &Device,
        wide: bool,
    ) -> Result<Tensor> {
        let not_float = || {
            let expected = format!("`{name}` of a floating point dtype");
            Error::format(path, expected, format!("dtype {}", self.kind.name()))
        };
        let count = Self::count(&self.shape).unwrap_or(usize::MAX);
        let reach = match &self.layout {
            EntryOrder::Steps(steps) => reach(&self.shape, steps),
            _ => Some(count),
        };
        let bytes = reach
            .and_then(|reach| reach.checked_mul(self.kind.size()))
            .filter(|length| *length <= self.bytes.len())
            .map(|length| self.bytes.slice(0..length))
            .ok_or_else(|| Error::format(path, format!("all of `{name}`"), "fewer bytes"))?;
        let bytes = &*bytes.read().map_err(Error::io("read", path))?;
        let flat = match (self.kind, wide) {
            (NumberType::F32, _) => flat(numbers(bytes, f32::from_le_bytes))?,
            (NumberType::F64, _) => flat(numbers(bytes, f64::from_le_bytes))?,
            (NumberType::F16, true) => flat(numbers(bytes, |b| f16::from_le_bytes(b).to_f32()))?,
            (NumberType::BF16, true) => flat(numbers(bytes, |b| bf16::from_le_bytes(b).to_f32()))?,
            (NumberType::F16, false) => flat(numbers(bytes, f16::from_le_bytes))?,
            (NumberType::BF16, false) => flat(numbers(bytes, bf16::from_le_bytes))?,
            (NumberType::I64, false) => flat(numbers(bytes, i64::from_le_bytes))?,
            (NumberType::U32, false) => flat(numbers(bytes, u32::from_le_bytes))?,
            (NumberType::U8, false) => flat(bytes.to_vec())?,
            _ => return Err(not_float()),
        };
        let tensor = match &self.layout {
            EntryOrder::Rows => flat.reshape(&*self.shape)?,
            EntryOrder::Columns => {
                let turned: Vec<usize> = self.shape.iter().rev().copied().collect();
                let axes: Vec<usize> = (0..turned.len()).rev().collect();
                flat.reshape(turned)?.permute(axes)?.contiguous()?
            }
            EntryOrder::Steps(steps) => {
                let places = places(&self.shape, steps, count);
                let places = Tensor::new(places, &Device::Cpu)?;
                flat.index_select(&places, 0)?.reshape(&*self.shape)?
            }
        };
        Ok(tensor.to_device(device)?)
    }
}

fn flat<T: candle_core::WithDType>(values: Vec<T>) -> Result<Tensor> {
    let count = values.len();
    Ok(Tensor::from_vec(values, count, &Device::Cpu)?)
}

fn numbers<T, const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|chunk| read(*chunk)).collect()
}

/// Entries up to and with the last that a strided tensor touches.
fn reach(shape: &[usize], steps: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    let steps = shape.iter().zip(steps);
    let last = steps.map(|(size, step)| (size - 1).checked_mul(*step));
    last.sum::<Option<usize>>()?.checked_add(1)
}

/// Offsets of the entries of a strided tensor, row by row.
fn places(shape: &[usize], steps: &[usize], count: usize) -> Vec<u32> {
    (0..count)
        .map(|flat| {
            let mut rest = flat;
            let mut place = 0;
            for (size, step) in shape.iter().zip(steps).rev() {
                place += rest % size * step;
                rest /= size;
            }
            place as u32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(layout: EntryOrder, shape: &[usize]) -> Raw {
        let bytes: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
        Raw { kind: NumberType::F32, shape: shape.to_vec(), layout, bytes: bytes.into() }
    }

    fn values(raw: &Raw) -> Result<Vec<Vec<f32>>> {
        Ok(raw.tensor("x", Path::new("file"), &Device::Cpu, true)?.to_vec2()?)
    }

    #[test]
    fn entries_come_in_the_order_that_the_layout_says() {
        let rows = values(&raw(EntryOrder::Rows, &[2, 3])).unwrap();
        assert_eq!(rows, [[0., 1., 2.], [3., 4., 5.]]);
        let columns = values(&raw(EntryOrder::Columns, &[2, 3])).unwrap();
        assert_eq!(columns, [[0., 2., 4.], [1., 3., 5.]]);
        let steps = values(&raw(EntryOrder::Steps(vec![1, 2]), &[2, 3])).unwrap();
        assert_eq!(steps, columns);
        let every_other = values(&raw(EntryOrder::Steps(vec![3, 2]), &[2, 2])).unwrap();
        assert_eq!(every_other, [[0., 2.], [3., 5.]]);
        let far = values(&raw(EntryOrder::Steps(vec![4, 2]), &[2, 2])).unwrap_err().to_string();
        assert!(far.contains("all of `x`"), "{far}");
    }
}
