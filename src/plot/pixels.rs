//! An image as the pixels of a picture.

use super::arrange::Rect;
use super::figure::Figure;
use super::panel::Image;
use super::scale::Scale;
use super::vector::Raster;

/// Of larger matrices only every so many cells are drawn.
const CELLS: usize = 400;
/// Weight and number of levels of red, green and blue in a palette of 252 colours.
const STEPS: [(u8, u8); 3] = [(42, 6), (6, 7), (1, 6)];
/// The place in a palette of cells without a value.
pub(super) const BLANK: u8 = 255;

/// An image as pixels, one for every cell or so.
pub(super) fn raster(image: &Image, rect: Rect, figure: &Figure) -> Raster {
    let (low, high) = figure.limits(image.colour);
    let palette: Vec<[u8; 3]> = match &image.rgb {
        Some(_) => (0..=255)
            .map(|i| STEPS.map(|(size, count)| i / size % count * (255 / (count - 1))))
            .collect(),
        None => shades(figure.colours[image.colour].scale()),
    };
    let (rows, columns) = (image.rows.min(CELLS), image.columns.min(CELLS));
    let mut pixels = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let cell = row * image.rows / rows * image.columns + column * image.columns / columns;
            pixels.push(match (&image.rgb, image.cell(cell)) {
                (Some(rgb), _) => coarse(rgb[cell]),
                (None, Some(value)) => shade((value - low) / (high - low)),
                (None, None) => BLANK,
            });
        }
    }
    let blank = pixels.contains(&BLANK).then_some(BLANK);
    Raster { rect, columns, pixels, palette, blank }
}

/// A scale as a palette, whose last place is that of blank cells.
pub(super) fn shades(scale: Scale) -> Vec<[u8; 3]> {
    (0..=BLANK).map(|i| scale.rgb(f64::from(i) / f64::from(BLANK - 1))).collect()
}

/// The place of a share of the scale in its palette.
fn shade(share: f64) -> u8 {
    let last = f64::from(BLANK - 1);
    (share * last).round().clamp(0.0, last) as u8
}

/// Place of a colour in the still picture's palette.
fn coarse(rgb: [u8; 3]) -> u8 {
    let level =
        |value: u8, count: u8| (f64::from(value) / 255.0 * f64::from(count - 1)).round() as u8;
    rgb.iter().zip(STEPS).map(|(&value, (size, count))| size * level(value, count)).sum()
}
