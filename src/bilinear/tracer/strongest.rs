//! The strongest interactions of an output feature.

use crate::notebook::MimeBundle;
use candle_core::{Device, Tensor};
use std::fmt;

use super::{Tracer, pairs, write_list};
use crate::linalg::matmul_tn;
use crate::{Error, Result};

/// The largest entries of the matrix of [`Tracer::projected`], and what they have in common.
#[derive(Debug, Clone)]
pub struct Strongest {
    /// The output feature.
    pub feature: usize,
    /// Row, column and value of the largest entries by magnitude, from the largest down. The
    /// matrix is symmetric: two different features come twice.
    pub entries: Vec<(usize, usize, f32)>,
    /// The input features that occur in `entries`, in ascending order.
    pub inputs: Vec<usize>,
    /// The interactions of `inputs` with each other, `[inputs, inputs]`.
    pub matrix: Tensor,
}

impl Tracer {
    /// The `count` strongest interactions of input features for an output feature. The whole
    /// matrix of all input features is never held.
    ///
    /// # Errors
    /// A feature the output autoencoder does not have; a count of zero or above the entries.
    pub fn strongest(&self, feature: usize, count: usize) -> Result<Strongest> {
        let m = self.input.features();
        if count == 0 || count > m * m {
            let expected = format!("between 1 and {}, the entries", m * m);
            return Err(Error::invalid("the number of interactions", expected, count));
        }
        let half = self.half_projected(feature)?;
        let entries = pairs::largest(self.input.w_dec(), &half, count)?;
        let mut inputs: Vec<usize> = entries.iter().flat_map(|(i, j, _)| [*i, *j]).collect();
        inputs.sort_unstable();
        inputs.dedup();
        let index: Vec<u32> = inputs.iter().map(|input| *input as u32).collect();
        let index = Tensor::new(index, half.device())?;
        let rows = self.input.w_dec().index_select(&index, 1)?;
        let matrix = matmul_tn(&rows, &half.index_select(&index, 1)?)?;
        Ok(Strongest { feature, entries, inputs, matrix: matrix.to_device(&Device::Cpu)? })
    }
}

impl Strongest {
    /// Shows what it is as the value of a cell.
    pub fn evcxr_display(&self) {
        MimeBundle::text(self.to_string()).show_as_result();
    }
}

impl fmt::Display for Strongest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { feature, entries, inputs, .. } = self;
        let (count, inputs) = (entries.len(), inputs.len());
        let heading =
            format!("output feature {feature}: {count} interactions of {inputs} input features");
        write_list(f, heading, entries, |(row, column, value)| {
            format!("{row:>8} × {column:<8} {value:+.4}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tracer;

    #[test]
    fn they_are_the_largest_entries_of_the_projected_matrix() {
        let tracer = tracer();
        let full = tracer.projected(4).unwrap().to_vec2::<f32>().unwrap();
        let found = tracer.strongest(4, 7).unwrap();
        let mut sizes: Vec<f32> = full.iter().flatten().map(|value| value.abs()).collect();
        sizes.sort_by(|a, b| b.total_cmp(a));
        for ((i, j, value), size) in found.entries.iter().zip(&sizes) {
            assert!((value.abs() - size).abs() < 1e-5 && (full[*i][*j] - value).abs() < 1e-5);
            assert!(found.inputs.contains(i) && found.inputs.contains(j));
        }
        assert!(found.inputs.is_sorted());
        for (row, i) in found.matrix.to_vec2::<f32>().unwrap().iter().zip(&found.inputs) {
            for (value, j) in row.iter().zip(&found.inputs) {
                assert!((value - full[*i][*j]).abs() < 1e-5);
            }
        }
        for count in [0, 257] {
            let message = tracer.strongest(4, count).unwrap_err().to_string();
            assert!(message.contains("between 1 and 256"), "{message}");
        }
    }
}
