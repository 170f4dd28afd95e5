//! The numbers in the cells of an image.

use super::arrange::Placed;
use super::figure::Figure;
use super::palette::ink_on;
use super::panel::Image;
use super::ticks::significant;

/// Digits of a number in a cell: as many as there is room for.
pub(super) const DIGITS: [usize; 2] = [3, 2];
/// Pixels of such a number's text, at most and at least.
const LARGEST: f64 = 13.0;
pub(super) const SMALLEST: f64 = 11.0;
/// Pixels between the numbers of two cells.
pub(super) const APART: f64 = 4.0;

/// The number of a cell and the colour of its text: black or white, whichever reads better there.
#[derive(Debug, Clone)]
pub(super) struct CellNumber {
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) words: String,
    pub(super) ink: &'static str,
}

/// The numbers in the cells of an image and the size of their text; `None` if they are not wanted or
/// do not fit.
pub(super) fn numbers(figure: &Figure, placed: &Placed) -> Option<(f64, Vec<CellNumber>)> {
    let image = placed.panel.image().filter(|image| image.numbers)?;
    let (low, high) = figure.limits(image.colour);
    let scale = figure.colours[image.colour].scale();
    let room = (placed.rect.w / image.columns as f64, placed.rect.h / image.rows as f64);
    for digits in DIGITS {
        let longest = image.widest_number(digits);
        let size = (LARGEST * (room.0 - APART) / longest.max(1.0)).min(room.1 - 2.0).min(LARGEST);
        if size >= SMALLEST {
            let cells = (0..image.values.len()).filter_map(|i| Some((i, image.cell(i)?)));
            let number = |(i, value): (usize, f64)| CellNumber {
                row: i / image.columns,
                column: i % image.columns,
                words: significant(value, digits),
                ink: ink_on(scale.rgb((value - low) / (high - low))),
            };
            return Some((size.floor(), cells.map(number).collect()));
        }
    }
    None
}

/// Pixels of a number in text of 13 pixels: digits are narrower than letters, and points more so.
fn number_width(text: &str) -> f64 {
    text.chars().map(|c| if c == '.' { 3.7 } else { 7.4 }).sum()
}

impl Image {
    /// Pixels of the widest number in a cell, in text of the usual size.
    pub(super) fn widest_number(&self, digits: usize) -> f64 {
        let cells = (0..self.values.len()).filter_map(|i| self.cell(i));
        cells.map(|value| number_width(&significant(value, digits))).fold(0.0, f64::max)
    }
}
