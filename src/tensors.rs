//! What notebooks miss on candle's tensors: counting, a readable form, NumPy-like arrays.

use std::fmt::{self, Write as _};

use candle_core::{DType, Device, Tensor, WithDType};
use ndarray::{ArrayBase, ArrayD, Data, Dimension, IxDyn};

use crate::display::MimeBundle;
use crate::{Error, Result};

/// Questions that people ask a tensor in a notebook; in scope with the prelude.
///
/// ```
/// use eigenlens::prelude::*;
/// # fn main() -> Result<()> {
/// let acts = Tensor::new(&[[0f32, 1.5, 0.0], [2.0, 0.0, 0.3]], &Device::Cpu)?;
/// assert_eq!(acts.gt(0.0)?.count()?, 3);
/// assert_eq!(acts.gt(0.0)?.share()?, 0.5);
/// # Ok(()) }
/// ```
pub trait TensorExt {
    /// Number of entries that are not zero. Comparisons such as `x.gt(0.0)?` give tensors of u8, whose
    /// `sum_all` wraps around at 256; this does not.
    ///
    /// # Errors
    /// Memory of the device.
    fn count(&self) -> Result<usize>;

    /// Share of the entries that are not zero, from 0 to 1; NaN for a tensor without entries.
    ///
    /// # Errors
    /// As [`TensorExt::count`].
    fn share(&self) -> Result<f64>;

    /// Shape, type, device, range, mean and a corner of the entries, as text.
    fn describe(&self) -> TensorSummary;

    /// Shows [`TensorExt::describe`] in the notebook, from the middle of a cell.
    fn show(&self);

    /// The entries as an array of the crate `ndarray`, in the same shape. T is the tensor's type: f32
    /// for most.
    ///
    /// # Errors
    /// If T is not the tensor's type.
    fn to_ndarray<T: WithDType>(&self) -> Result<ArrayD<T>>;
}

impl TensorExt for Tensor {
    fn count(&self) -> Result<usize> {
        // Rows of f32 ones would lose counts above 2^24.
        let flags = self.ne(&self.zeros_like()?)?.flatten_all()?.to_device(&Device::Cpu)?;
        Ok(flags.to_vec1::<u8>()?.iter().filter(|flag| **flag != 0).count())
    }

    fn share(&self) -> Result<f64> {
        Ok(self.count()? as f64 / self.elem_count() as f64)
    }

    fn describe(&self) -> TensorSummary {
        TensorSummary(self.clone())
    }

    fn show(&self) {
        MimeBundle::text(self.describe().to_string()).show();
    }

    fn to_ndarray<T: WithDType>(&self) -> Result<ArrayD<T>> {
        if self.dtype() != T::DTYPE {
            let expected = format!("of type {} (`to_dtype` converts)", T::DTYPE.as_str());
            return Err(Error::invalid("the tensor", expected, self.dtype().as_str()));
        }
        let values = self.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
        ArrayD::from_shape_vec(IxDyn(self.dims()), values).map_err(|reason| {
            Error::invalid("the tensor's shape", "one of ndarray", &reason).caused_by(reason)
        })
    }
}

/// An array of the crate `ndarray` as a tensor of the same shape on `device`.
///
/// ```
/// use eigenlens::ndarray::array;
/// use eigenlens::prelude::*;
/// # fn main() -> Result<()> {
/// let x = from_ndarray(&array![[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// assert_eq!(x.sum(0)?.to_ndarray::<f32>()?, array![4f32, 6.].into_dyn());
/// # Ok(()) }
/// ```
///
/// # Errors
/// Memory of the device.
pub fn from_ndarray<T, S, D>(array: &ArrayBase<S, D>, device: &Device) -> Result<Tensor>
where
    T: WithDType,
    S: Data<Elem = T>,
    D: Dimension,
{
    let values: Vec<T> = array.iter().copied().collect();
    Ok(Tensor::from_vec(values, array.shape(), device)?)
}

/// What [`TensorExt::describe`] returns, and what a notebook shows of a tensor.
#[derive(Debug, Clone)]
pub struct TensorSummary(Tensor);

/// Range and mean of a tensor's finite entries, and how many are not finite.
#[derive(Debug, Default, Clone, PartialEq)]
struct EntryStatistics {
    finite: usize,
    low: f64,
    high: f64,
    sum: f64,
    nan: usize,
    infinite: usize,
}

impl EntryStatistics {
    fn of(values: &[f64]) -> Self {
        let start = Self { low: f64::INFINITY, high: f64::NEG_INFINITY, ..Self::default() };
        values.iter().fold(start, |mut all, &value| {
            match (value.is_nan(), value.is_finite()) {
                (true, _) => all.nan += 1,
                (false, false) => all.infinite += 1,
                (false, true) => {
                    all.finite += 1;
                    all.low = all.low.min(value);
                    all.high = all.high.max(value);
                    all.sum += value;
                }
            }
            all
        })
    }
}

impl TensorSummary {
    fn statistics(&self) -> candle_core::Result<EntryStatistics> {
        let values = self.0.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?;
        Ok(EntryStatistics::of(&values.to_vec1()?))
    }

    fn device(&self) -> String {
        match self.0.device() {
            Device::Cpu => "CPU".to_owned(),
            device => format!("{:?}", device.location()),
        }
    }
}

impl fmt::Display for TensorSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensor = &self.0;
        write!(f, "Tensor {:?}, {}, {}", tensor.dims(), tensor.dtype().as_str(), self.device())?;
        let statistics = match self.statistics() {
            Ok(statistics) => statistics,
            Err(reason) => return write!(f, "\nits entries cannot be read: {reason}"),
        };
        let EntryStatistics { finite, low, high, sum, nan, infinite } = statistics;
        if finite > 1 {
            write!(f, ", {low:.4} to {high:.4}, mean {:.4}", sum / finite as f64)?;
        }
        for (count, what) in [(nan, "NaN"), (infinite, "infinite")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        // candle's own form is the corner of the entries and then a line about the shape.
        let mut entries = String::new();
        write!(entries, "{tensor}")?;
        let entries = entries.trim_end();
        let entries = entries.strip_suffix(']').map_or(entries, |_| {
            entries.rfind("Tensor[").map_or(entries, |start| entries[..start].trim_end())
        });
        if !entries.is_empty() {
            write!(f, "\n{entries}")?;
        }
        if tensor.rank() == 0 && tensor.dtype() == DType::U8 {
            write!(
                f,
                "\nnote: sums of u8 wrap around at 256; `x.count()?` counts without wrapping"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn counting_does_not_wrap() -> Result<()> {
        let x = Tensor::ones((40, 100), DType::F32, &Device::Cpu)?;
        let flags = x.gt(0.0)?;
        assert_eq!(flags.sum_all()?.to_scalar::<u8>()?, (4_000 % 256) as u8, "what candle does");
        assert_eq!((flags.count()?, flags.share()?), (4_000, 1.0));
        assert!(flags.sum_all()?.describe().to_string().contains("wrap around at 256"));
        assert_eq!(Tensor::new(&[0i64, -3], &Device::Cpu)?.count()?, 1);
        assert_eq!(Tensor::new(&[0f32, f32::NAN], &Device::Cpu)?.count()?, 1, "NaN is not zero");
        Ok(())
    }

    #[test]
    fn a_tensor_shows_its_shape_its_range_and_its_numbers() -> Result<()> {
        let x = Tensor::new(&[[1f32, 2.], [f32::NAN, f32::NEG_INFINITY]], &Device::Cpu)?;
        let text = x.describe().to_string();
        let head = "Tensor [2, 2], f32, CPU, 1.0000 to 2.0000, mean 1.5000, 1 NaN, 1 infinite\n";
        assert!(text.starts_with(head), "{text}");
        assert!(text.contains("NaN") && text.contains("-inf") && !text.contains("f32]"), "{text}");
        let large = Tensor::zeros((500, 192), DType::F32, &Device::Cpu)?.describe().to_string();
        assert!(large.len() < 1_000 && large.contains("..."), "a corner: {large}");
        let empty = Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?.describe().to_string();
        assert!(empty.starts_with("Tensor [0, 3], f32, CPU"), "{empty}");
        let scalar = Tensor::new(0.5f64, &Device::Cpu)?.describe().to_string();
        assert_eq!(scalar, "Tensor [], f64, CPU\n[0.5000]");
        let half = x.to_dtype(DType::BF16)?.describe().to_string();
        assert!(half.starts_with("Tensor [2, 2], bf16") && half.contains("1 NaN"), "{half}");
        Ok(())
    }

    #[test]
    fn arrays_come_and_go_in_any_layout() -> Result<()> {
        let rows: Array2<f32> = array![[1., 2., 3.], [4., 5., 6.]];
        let columns = rows.t();
        let x = from_ndarray(&columns, &Device::Cpu)?;
        assert_eq!(x.to_vec2::<f32>()?, [[1., 4.], [2., 5.], [3., 6.]]);
        assert_eq!(x.t()?.to_ndarray::<f32>()?, rows.into_dyn());
        let error = x.to_ndarray::<f64>().unwrap_err().to_string();
        assert!(error.contains("f64") && error.contains("found f32"), "{error}");
        let single = Tensor::new(7u32, &Device::Cpu)?.to_ndarray::<u32>()?;
        assert_eq!(single.iter().copied().collect::<Vec<_>>(), [7]);
        Ok(())
    }
}
