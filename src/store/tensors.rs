//! The tensors of a file, whatever its format, to be taken one by one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use super::{Blob, safetensors};
use crate::check::check_finite;
use crate::progress::safe_point;
use crate::{Error, Result};

/// The type of a stored number, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
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

impl Kind {
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

    fn name(self) -> String {
        match self {
            Self::Other(name, _) => name.to_owned(),
            known => format!("{known:?}"),
        }
    }
}

/// The order in which a tensor's entries lie in its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The last index runs fastest.
    Rows,
    /// The first index runs fastest: Fortran's order.
    Columns,
    /// Steps of each index, in entries.
    Steps(Vec<usize>),
}

/// A tensor as it lies in a file.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) kind: Kind,
    pub(crate) shape: Vec<usize>,
    pub(crate) layout: Layout,
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
            Kind::I64 => numbers(bytes, i64::from_le_bytes),
            Kind::I32 => numbers(bytes, |b| i32::from_le_bytes(b).into()),
            Kind::U32 => numbers(bytes, |b| u32::from_le_bytes(b).into()),
            Kind::I16 => numbers(bytes, |b| i16::from_le_bytes(b).into()),
            Kind::I8 => numbers(bytes, |b| i8::from_le_bytes(b).into()),
            Kind::U8 => numbers(bytes, |[b]: [u8; 1]| b.into()),
            _ => return None,
        })
    }

    /// The tensor in its own type; if `wide`, a floating point type of at least f32.
    ///
    /// # Errors
    /// A type that is not read here, or not floating point if `wide`; memory.
    fn tensor(&self, name: &str, path: &Path, device: &Device, wide: bool) -> Result<Tensor> {
        let not_float = || {
            let expected = format!("`{name}` of a floating point dtype");
            Error::format(path, expected, format!("dtype {}", self.kind.name()))
        };
        let count = Self::count(&self.shape).unwrap_or(usize::MAX);
        let reach = match &self.layout {
            Layout::Steps(steps) => reach(&self.shape, steps),
            _ => Some(count),
        };
        let bytes = reach
            .and_then(|reach| reach.checked_mul(self.kind.size()))
            .filter(|length| *length <= self.bytes.len())
            .map(|length| self.bytes.slice(0..length))
            .ok_or_else(|| Error::format(path, format!("all of `{name}`"), "fewer bytes"))?;
        let bytes = &*bytes.read().map_err(Error::io("read", path))?;
        let flat = match (self.kind, wide) {
            (Kind::F32, _) => flat(numbers(bytes, f32::from_le_bytes))?,
            (Kind::F64, _) => flat(numbers(bytes, f64::from_le_bytes))?,
            (Kind::F16, true) => flat(numbers(bytes, |b| f16::from_le_bytes(b).to_f32()))?,
            (Kind::BF16, true) => flat(numbers(bytes, |b| bf16::from_le_bytes(b).to_f32()))?,
            (Kind::F16, false) => flat(numbers(bytes, f16::from_le_bytes))?,
            (Kind::BF16, false) => flat(numbers(bytes, bf16::from_le_bytes))?,
            (Kind::I64, false) => flat(numbers(bytes, i64::from_le_bytes))?,
            (Kind::U32, false) => flat(numbers(bytes, u32::from_le_bytes))?,
            (Kind::U8, false) => flat(bytes.to_vec())?,
            _ => return Err(not_float()),
        };
        let tensor = match &self.layout {
            Layout::Rows => flat.reshape(&*self.shape)?,
            Layout::Columns => {
                let turned: Vec<usize> = self.shape.iter().rev().copied().collect();
                let axes: Vec<usize> = (0..turned.len()).rev().collect();
                flat.reshape(turned)?.permute(axes)?.contiguous()?
            }
            Layout::Steps(steps) => {
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

/// Where each entry of a strided tensor lies, row by row.
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

/// The tensors of a file, to be taken one by one. Those of a file on disk are read as they
/// are taken, so that at most one is held twice.
#[derive(Debug)]
pub(crate) struct Tensors {
    path: PathBuf,
    tensors: BTreeMap<String, Raw>,
    device: Device,
}

impl Tensors {
    /// The tensors of the safetensors file `path`.
    pub(crate) fn open(path: &Path, device: &Device) -> Result<Self> {
        Self::parse(path, &Blob::open(path)?, device)
    }

    /// The tensors of a safetensors file with these bytes; `path` names it in messages.
    pub(crate) fn parse(path: &Path, bytes: &Blob, device: &Device) -> Result<Self> {
        Ok(Self::of(path, safetensors::parse(path, bytes)?, device))
    }

    /// Tensors read by other means from the file `path`.
    pub(crate) fn of(path: &Path, tensors: BTreeMap<String, Raw>, device: &Device) -> Self {
        Self { path: path.to_owned(), tensors, device: device.clone() }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The tensor `name` as it is, whatever its shape, if it is there and of a type that is read here.
    pub(crate) fn any(&mut self, name: &str) -> Option<Tensor> {
        let raw = self.tensors.remove(name)?;
        raw.tensor(name, &self.path, &self.device, false).ok()
    }

    /// The tensor `name`, which must have this shape and hold finite numbers only. bfloat16 and
    /// float16 widen to f32.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.checked(name, shape, true)
    }

    /// [`Tensors::take`] without widening.
    pub(crate) fn take_narrow(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.checked(name, shape, false)
    }

    /// [`Tensors::take`], if the tensor is there.
    pub(crate) fn take_if(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        self.shape(name).is_some().then(|| self.take(name, shape)).transpose()
    }

    fn checked(&mut self, name: &str, shape: &[usize], wide: bool) -> Result<Tensor> {
        safe_point("loading")?;
        let expected = || format!("`{name}` of shape {shape:?}");
        let raw = match self.tensors.remove(name) {
            Some(raw) if raw.shape == shape => raw,
            Some(raw) => {
                return Err(Error::format(&self.path, expected(), format!("{:?}", raw.shape)));
            }
            None => return Err(Error::format(&self.path, expected(), "no such tensor")),
        };
        let tensor = raw.tensor(name, &self.path, &self.device, wide)?;
        check_finite(&format!("`{name}` in {}", self.path.display()), &tensor)?;
        Ok(tensor)
    }

    /// The integers of the tensor `name`, if it is there; it counts as taken.
    pub(crate) fn integers(&mut self, name: &str) -> Option<Vec<i64>> {
        self.tensors.remove(name)?.integers()
    }

    /// Forgets the tensors whose names `harmless` says yes to.
    pub(crate) fn forget(&mut self, harmless: impl Fn(&str) -> bool) {
        self.tensors.retain(|name, _| !harmless(name));
    }

    /// The same with names changed, or the tensor left out.
    pub(crate) fn rename(self, name: impl Fn(&str) -> Option<String>) -> Self {
        let tensors = self.tensors.into_iter();
        let tensors = tensors.filter_map(|(own, raw)| Some((name(&own)?, raw))).collect();
        Self { tensors, ..self }
    }

    /// Names of the tensors that were not taken, in alphabetical order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of the tensor `name`, if it is there and was not taken.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|raw| &*raw.shape)
    }

    /// The type of the tensor `name`, if it is there and of none of the floating point types that
    /// are read here.
    pub(crate) fn other_than_float(&self, name: &str) -> Option<String> {
        match self.tensors.get(name)?.kind {
            Kind::F64 | Kind::F32 | Kind::F16 | Kind::BF16 => None,
            kind => Some(kind.name()),
        }
    }

    /// The two sizes of the matrix `name`.
    ///
    /// # Errors
    /// No such tensor, or no matrix with entries.
    pub(crate) fn matrix(&self, name: &str) -> Result<[usize; 2]> {
        let expected = format!("`{name}`, a matrix with entries");
        match self.shape(name) {
            Some(&[rows, columns]) if rows > 0 && columns > 0 => Ok([rows, columns]),
            Some(shape) => Err(Error::format(&self.path, expected, format!("shape {shape:?}"))),
            None => Err(Error::format(&self.path, expected, "no such tensor")),
        }
    }

    /// Fails if anything was not taken: it could matter.
    pub(crate) fn finish(self, expected: &str) -> Result<()> {
        match self.tensors.into_keys().min() {
            Some(name) => Err(Error::format(&self.path, expected, format!("also `{name}`"))),
            None => Ok(()),
        }
    }
}

/// The dtype that a name in a configuration stands for, such as `torch.float32` or `bfloat16`.
pub(crate) fn named_dtype(name: &str) -> Option<DType> {
    match name.strip_prefix("torch.").unwrap_or(name) {
        "float32" | "float" | "fp32" | "f32" => Some(DType::F32),
        "float16" | "half" | "fp16" | "f16" => Some(DType::F16),
        "bfloat16" | "bf16" => Some(DType::BF16),
        "float64" | "double" | "f64" => Some(DType::F64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(layout: Layout, shape: &[usize]) -> Raw {
        let bytes: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
        Raw { kind: Kind::F32, shape: shape.to_vec(), layout, bytes: bytes.into() }
    }

    fn values(raw: &Raw) -> Result<Vec<Vec<f32>>> {
        Ok(raw.tensor("x", Path::new("file"), &Device::Cpu, true)?.to_vec2()?)
    }

    #[test]
    fn entries_come_in_the_order_that_the_layout_says() {
        let rows = values(&raw(Layout::Rows, &[2, 3])).unwrap();
        assert_eq!(rows, [[0., 1., 2.], [3., 4., 5.]]);
        let columns = values(&raw(Layout::Columns, &[2, 3])).unwrap();
        assert_eq!(columns, [[0., 2., 4.], [1., 3., 5.]]);
        let steps = values(&raw(Layout::Steps(vec![1, 2]), &[2, 3])).unwrap();
        assert_eq!(steps, columns);
        let every_other = values(&raw(Layout::Steps(vec![3, 2]), &[2, 2])).unwrap();
        assert_eq!(every_other, [[0., 2.], [3., 5.]]);
        let far = values(&raw(Layout::Steps(vec![4, 2]), &[2, 2])).unwrap_err().to_string();
        assert!(far.contains("all of `x`"), "{far}");
    }
}
