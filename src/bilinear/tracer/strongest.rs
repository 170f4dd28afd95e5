//! The strongest interactions of an output feature.

use crate::display::show_as_text;
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
    /// The entries without their mirror images: each pair of features once.
    pub fn pairs(&self) -> Vec<(usize, usize, f32)> {
        let mirrored = |at: usize| {
            let (i, j, _) = self.entries[at];
            self.entries[..at].iter().any(|&(row, column, _)| (row, column) == (j, i))
        };
        (0..self.entries.len()).filter(|&at| !mirrored(at)).map(|at| self.entries[at]).collect()
    }
}

show_as_text!(Strongest);

impl fmt::Display for Strongest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { feature, entries, inputs, .. } = self;
        let (pairs, count, inputs) = (self.pairs(), entries.len(), inputs.len());
        let heading = format!(
            "output feature {feature}: {count} interactions of {inputs} input features, {} pairs",
            pairs.len()
        );
        write_list(f, heading, &pairs, |(row, column, value)| {
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
        // A pair of different features is there once, and none is lost.
        let pairs = found.pairs();
        for (i, j, value) in &found.entries {
            let same = |(row, column, _): &&(usize, usize, f32)| {
                (row, column) == (i, j) || (row, column) == (j, i)
            };
            let alike: Vec<_> = pairs.iter().filter(same).collect();
            assert!(alike.len() == 1 && (alike[0].2 - value).abs() < 1e-5);
        }
        assert!(found.to_string().contains(&format!("{} pairs", pairs.len())));
        for count in [0, 257] {
            let message = tracer.strongest(4, count).unwrap_err().to_string();
            assert!(message.contains("between 1 and 256"), "{message}");
        }
    }
}
