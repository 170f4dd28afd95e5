//! Sparse activations of features.

use crate::display::show_as_text;
use std::fmt;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::{Error, Result};

/// Feature activations of some rows (tokens), without the zeros: row r has the features
/// `indices[offsets[r]..offsets[r + 1]]`, in ascending order. A cheap handle.
#[derive(Debug, Clone)]
pub struct Codes {
    width: usize,
    offsets: Arc<Vec<usize>>,
    indices: Arc<Vec<u32>>,
    values: Arc<Vec<f32>>,
    /// For each row the factor and the shift that undo its normalisation.
    restore: Option<Arc<[[f32; 2]]>>,
}

/// Codes of a few rows that follow each other, as one thread makes them.
#[derive(Debug, Default)]
pub(super) struct CodesPart {
    /// Where each row ends.
    ends: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl CodesPart {
    /// Appends a row: features, each named once and in ascending order, and their values.
    pub(super) fn push(&mut self, row: impl IntoIterator<Item = (u32, f32)>) {
        for (feature, value) in row {
            self.indices.push(feature);
            self.values.push(value);
        }
        self.ends.push(self.indices.len());
    }

    /// Appends a row whose features are in any order.
    pub(super) fn push_unsorted(&mut self, mut row: Vec<(u32, f32)>) {
        row.sort_unstable_by_key(|(feature, _)| *feature);
        self.push(row);
    }
}

impl Codes {
    /// Codes from each row's features and values.
    ///
    /// # Errors
    /// A feature that is not below `width`, or named twice in a row.
    pub fn new(width: usize, rows: impl IntoIterator<Item = Vec<(u32, f32)>>) -> Result<Self> {
        let mut part = CodesPart::default();
        for mut row in rows {
            row.sort_unstable_by_key(|(feature, _)| *feature);
            if let Some((feature, _)) = row.last().filter(|(feature, _)| *feature as usize >= width)
            {
                return Err(Error::invalid("a feature", format!("below {width}"), feature));
            }
            if let Some(pair) = row.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return Err(Error::invalid("a row's features", "named once each", pair[0].0));
            }
            part.push(row);
        }
        Ok(Self::join(width, vec![part]))
    }

    /// The codes of all rows, from those of consecutive ones. Features are below `width`.
    pub(super) fn join(width: usize, parts: Vec<CodesPart>) -> Self {
        let mut offsets = vec![0];
        for part in &parts {
            let start = offsets[offsets.len() - 1];
            offsets.extend(part.ends.iter().map(|end| start + end));
        }
        let entries = offsets[offsets.len() - 1];
        let (mut indices, mut values) = (vec![0u32; entries], vec![0f32; entries]);
        let (mut rest, mut copies) = ((&mut indices[..], &mut values[..]), Vec::new());
        for part in &parts {
            let (indices, values) = rest;
            let (indices, more_indices) = indices.split_at_mut(part.indices.len());
            let (values, more_values) = values.split_at_mut(part.values.len());
            copies.push((part, indices, values));
            rest = (more_indices, more_values);
        }
        copies.into_par_iter().for_each(|(part, indices, values)| {
            indices.copy_from_slice(&part.indices);
            values.copy_from_slice(&part.values);
        });
        Self::of(width, offsets, indices, values)
    }

    fn of(width: usize, offsets: Vec<usize>, indices: Vec<u32>, values: Vec<f32>) -> Self {
        let (offsets, indices, values) = (offsets.into(), indices.into(), values.into());
        Self { width, offsets, indices, values, restore: None }
    }

    /// The same codes, of rows that were normalised.
    pub(crate) fn restoring(self, restore: Option<Vec<[f32; 2]>>) -> Self {
        Self { restore: restore.map(Into::into), ..self }
    }

    /// What undoes the normalisation of each row.
    pub(super) fn restore(&self) -> Option<&[[f32; 2]]> {
        self.restore.as_deref()
    }

    /// Codes of the same rows with other values: each row's entries go through `change`, and those
    /// that it returns are kept.
    ///
    /// ```
    /// use eigenlens::sae::Codes;
    /// let codes = Codes::new(4, [vec![(0, 1.0), (3, 2.0)]])?;
    /// let doubled = codes.map(|feature, value| (feature == 3).then_some(2.0 * value));
    /// assert_eq!(doubled.row(0).collect::<Vec<_>>(), [(3, 4.0)]);
    /// # Ok::<(), eigenlens::Error>(())
    /// ```
    #[must_use]
    pub fn map(&self, change: impl Fn(u32, f32) -> Option<f32>) -> Self {
        let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in 0..self.rows() {
            for (feature, value) in self.row(row) {
                if let Some(value) = change(feature, value) {
                    indices.push(feature);
                    values.push(value);
                }
            }
            offsets.push(indices.len());
        }
        let restore = self.restore.clone();
        Self { restore, ..Self::of(self.width, offsets, indices, values) }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of features there are.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of entries, over all rows.
    pub fn entries(&self) -> usize {
        self.indices.len()
    }

    /// Features and values of a row, in ascending order of features; empty past the last row.
    pub fn row(&self, row: usize) -> impl ExactSizeIterator<Item = (u32, f32)> {
        let range = match self.offsets.get(row..=row + 1) {
            Some(&[start, end]) => start..end,
            _ => 0..0,
        };
        self.indices[range.clone()].iter().copied().zip(self.values[range].iter().copied())
    }

    /// The activation of a feature in a row; 0 where it is not active.
    pub fn get(&self, row: usize, feature: u32) -> f32 {
        self.row(row).find(|(own, _)| *own == feature).map_or(0.0, |(_, value)| value)
    }

    /// Where each row begins and the last ends, and the features of all rows.
    pub(super) fn layout(&self) -> (&[usize], &[u32]) {
        (&self.offsets, &self.indices)
    }

    /// The values of all rows.
    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    /// The activation of `feature` in every row.
    ///
    /// # Errors
    /// A feature that is not below the width.
    pub fn feature(&self, feature: usize) -> Result<Vec<f32>> {
        if feature >= self.width {
            return Err(Error::invalid("the feature", format!("below {}", self.width), feature));
        }
        Ok((0..self.rows()).map(|row| self.get(row, feature as u32)).collect())
    }

    /// All activations `[rows, width]`, zeros included.
    ///
    /// # Errors
    /// Memory.
    pub fn to_dense(&self, device: &Device) -> Result<Tensor> {
        let mut dense = vec![0f32; self.rows() * self.width];
        for (row, target) in dense.chunks_mut(self.width).enumerate() {
            for (feature, value) in self.row(row) {
                target[feature as usize] = value;
            }
        }
        Ok(Tensor::from_vec(dense, (self.rows(), self.width), device)?)
    }
}

show_as_text!(Codes);

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, entries) = (self.rows(), self.entries());
        let mean = entries as f64 / rows.max(1) as f64;
        write!(f, "{rows} rows of {} features, {mean:.1} active in each", self.width())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_sorted_and_dense() {
        let codes = Codes::new(4, [vec![(3, 1.), (0, -2.)], vec![], vec![(1, 0.5)]]).unwrap();
        assert_eq!((codes.rows(), codes.width(), codes.entries()), (3, 4, 3));
        assert_eq!(codes.row(0).collect::<Vec<_>>(), [(0, -2.), (3, 1.)]);
        assert_eq!(codes.row(7).len(), 0);
        let dense = codes.to_dense(&Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(dense, [[-2., 0., 0., 1.], [0.; 4], [0., 0.5, 0., 0.]]);
        assert_eq!(codes.feature(3).unwrap(), [1., 0., 0.]);
        assert!(codes.feature(4).unwrap_err().to_string().contains("below 4"));
    }

    #[test]
    fn features_out_of_range_or_twice_are_refused() {
        assert!(Codes::new(2, [vec![(2, 1.)]]).unwrap_err().to_string().contains("below 2"));
        let twice = Codes::new(2, [vec![(1, 1.), (1, 2.)]]).unwrap_err().to_string();
        assert!(twice.contains("once"), "{twice}");
    }
}
