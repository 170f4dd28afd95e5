//! Matrices as heat maps with scales of their own.

use candle_core::{DType, Tensor};

use super::compose::grid;
use super::figure::Figure;
use super::imshow::imshow;
use crate::{Error, Result};

/// Draws matrices as heat maps side by side, each with a colour scale of its own and its numbers
/// in the cells. Columns that hold nothing but NaN are left out, and so is a map of those alone.
///
/// # Errors
/// [`Error::Invalid`] if there is no map with a finite number, [`Error::Shape`] unless every map has as many
/// rows and columns as there are names.
pub fn plot_heat_maps(
    maps: Vec<(String, Tensor)>,
    rows: Vec<String>,
    columns: Vec<String>,
) -> Result<Figure> {
    let mut figures = Vec::new();
    for (name, map) in maps {
        if map.dims() != [rows.len(), columns.len()] {
            let expected = format!("[{}, {}]", rows.len(), columns.len());
            return Err(Error::shape(format!("the map \"{name}\""), expected, map.dims()));
        }
        let entries: Vec<Vec<f64>> = map.to_dtype(DType::F64)?.to_vec2()?;
        let kept: Vec<u32> = (0..columns.len())
            .filter(|&c| entries.iter().any(|row| !row[c].is_nan()))
            .map(|c| c as u32)
            .collect();
        if kept.is_empty() {
            // A grid of one size has no larger dictionaries to compare with: that is no mistake.
            continue;
        }
        let names = kept.iter().map(|&c| columns[c as usize].clone()).collect::<Vec<_>>();
        let map = map.index_select(&Tensor::new(kept, map.device())?, 1)?;
        let figure = imshow(&map)?.x_labels(names)?.y_labels(rows.clone())?;
        figures.push(figure.cell_numbers()?.title(name));
    }
    let columns = figures.len().min(2);
    grid(figures, columns)
}
