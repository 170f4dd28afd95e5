//! Entries of an interaction matrix that stand out.

use candle_core::Tensor;
use rayon::prelude::*;

use super::Tracer;
use crate::Result;
use crate::check::check_not_negative;

/// An entry of an output feature's symmetric interaction matrix S that lies far from the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlier {
    /// The output feature.
    pub feature: usize,
    /// Row of S.
    pub row: usize,
    /// Column of S; `row ≤ column`.
    pub column: usize,
    /// `S[row, row]` of a dimension with itself, `2 S[row, column]` of two: what multiplies
    /// `x_row · x_column` in `xᵀSx`.
    pub value: f32,
}

impl Tracer {
    /// The outliers of every output feature: among the weights of squares (the diagonal), and
    /// among those of products of two, those that lie more than `factor` interquartile ranges
    /// below the lower quartile or above the upper one. The original uses a factor of 3.
    ///
    /// # Errors
    /// A factor that is negative or not a number; [`Error::Interrupted`](crate::Error::Interrupted) when Stop is pressed.
    pub fn outliers(&self, factor: f64) -> Result<Vec<Outlier>> {
        check_not_negative("`factor`", factor)?;
        let mut all: Vec<Outlier> = Vec::new();
        let mut first = 0;
        self.scan("outliers of output features", |matrices| {
            let (count, d, _) = matrices.dims3()?;
            let found: Vec<Vec<Outlier>> = entries(matrices)?
                .par_chunks(d * d)
                .enumerate()
                .map(|(i, matrix)| of_matrix(first + i, matrix, d, factor))
                .collect();
            all.extend(found.into_iter().flatten());
            first += count;
            Ok(())
        })?;
        Ok(all)
    }
}

fn entries(matrices: &Tensor) -> Result<Vec<f32>> {
    Ok(matrices.flatten_all()?.to_vec1()?)
}

fn of_matrix(feature: usize, matrix: &[f32], d: usize, factor: f64) -> Vec<Outlier> {
    let outlier = |row, column, scale: f32| Outlier {
        feature,
        row,
        column,
        value: scale * matrix[row * d + column],
    };
    let own = (0..d).map(|i| outlier(i, i, 1.0)).collect();
    let cross = (0..d).flat_map(|i| (i + 1..d).map(move |j| (i, j)));
    let cross = cross.map(|(i, j)| outlier(i, j, 2.0)).collect();
    let mut found = outside(own, factor);
    found.extend(outside(cross, factor));
    found.sort_by_key(|outlier| (outlier.row, outlier.column));
    found
}

fn outside(entries: Vec<Outlier>, factor: f64) -> Vec<Outlier> {
    let mut values: Vec<f64> = entries.iter().map(|entry| f64::from(entry.value)).collect();
    let (Some(lower), Some(upper)) = (quantile(&mut values, 0.25), quantile(&mut values, 0.75))
    else {
        return Vec::new();
    };
    let margin = factor * (upper - lower);
    let inside = lower - margin..=upper + margin;
    entries.into_iter().filter(|entry| !inside.contains(&f64::from(entry.value))).collect()
}

/// The quantile at `q` between 0 and 1, between two values by linear interpolation.
fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    let place = q * values.len().checked_sub(1)? as f64;
    let (_, low, above) = values.select_nth_unstable_by(place as usize, f64::total_cmp);
    let low = *low;
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    Some(low + place.fract() * (high - low))
}

#[cfg(test)]
mod tests {
    use super::super::tests::tracer;
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let mut values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&mut values, 0.25), Some(1.75));
        assert_eq!(quantile(&mut values, 1.0), Some(4.0));
        assert_eq!(quantile(&mut [7.0], 0.75), Some(7.0));
        assert_eq!(quantile(&mut [], 0.5), None);
    }

    #[test]
    fn entries_far_from_the_others_are_found() {
        let d = 9;
        let mut matrix: Vec<f32> = (0..d * d).map(|i| ((i / d + i % d) % 5) as f32).collect();
        matrix[4 * d + 4] = 100.0;
        (matrix[2 * d + 7], matrix[7 * d + 2]) = (-50.0, -50.0);
        let found = of_matrix(3, &matrix, d, 3.0);
        let place = |row, column, value| Outlier { feature: 3, row, column, value };
        assert_eq!(found, [place(2, 7, -100.0), place(4, 4, 100.0)]);
    }

    #[test]
    fn a_factor_of_zero_finds_half_of_the_entries_and_a_bad_one_is_refused() {
        // 8 squares and 28 products a feature: half of each lies outside the quartiles.
        assert_eq!(tracer().outliers(0.0).unwrap().len(), 16 * (4 + 14));
        assert!(tracer().outliers(f64::NAN).unwrap_err().to_string().contains("factor"));
    }
}
