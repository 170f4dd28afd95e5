//! What a regression leaves unexplained, as colours.

use candle_core::Tensor;

use crate::check::check_sizes;
use crate::geometry::{Colouring, Regression};
use crate::plot::{ColourAxis, Figure, Image, Node, PanelBlock, picture};
use crate::{Error, Result};

/// Pixels of a step's longer side.
const SIDE: f64 = 200.0;
/// The same in a sheet of several regressions.
const SHEET_SIDE: f64 = 130.0;
/// Steps in a row.
const COLUMNS: usize = 4;

impl Regression {
    /// Draws what is left after each function as a picture of `rows` × `columns` inputs (row-major:
    /// the first variable goes down, the second to the right). Red, green and blue are the three
    /// largest principal components of the residual; structure that can be seen is not yet
    /// explained.
    ///
    /// Each picture has its own scale, so its colours tell nothing of the residual's size: `R²`
    /// above it does. Values beyond 0 and 1 ([`Colouring::Largest`] has some) take the end's colour.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are `rows · columns` inputs.
    pub fn plot(&self, rows: usize, columns: usize, colouring: Colouring) -> Result<Figure> {
        let items = pictures(self, "the values", (rows, columns), colouring, SIDE)?;
        let columns = items.len().clamp(1, COLUMNS);
        Ok(figure(items, columns))
    }
}

/// Draws several regressions as rows of a sheet: those of a model's layers, say, with their names in
/// front. Each row is as [`Regression::plot`] draws it, and rows may have different functions.
///
/// ```
/// use eigenlens::prelude::*;
/// # fn main() -> Result<()> {
/// let values = Rng::seed(0).normal((12, 4), &Device::Cpu)?;
/// let row = Explanatory::one_hot("row", (0..12).map(|i| i / 4), 3)?;
/// let regression = Regression::explain(&values, &[row])?;
/// let layers = [("layer 1".to_owned(), regression)];
/// plot_regressions(&layers, 3, 4, Colouring::Range)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Invalid`] for no regressions; [`Error::Shape`] unless each has `rows · columns` inputs.
pub fn plot_regressions(
    regressions: &[(String, Regression)],
    rows: usize,
    columns: usize,
    colouring: Colouring,
) -> Result<Figure> {
    check_sizes(&[("the number of regressions", regressions.len())])?;
    let steps = regressions.iter().map(|(_, regression)| regression.steps().len());
    let widest = steps.max().unwrap_or(1);
    let mut items = Vec::with_capacity(regressions.len() * widest);
    for (name, regression) in regressions {
        items.extend(pictures(regression, name, (rows, columns), colouring, SHEET_SIDE)?);
        while items.len() % widest != 0 {
            items.push(Node::Block(PanelBlock { columns: 1, ..PanelBlock::default() }));
        }
    }
    Ok(figure(items, widest))
}

/// One picture a step, `side` pixels at its longer side.
fn pictures(
    regression: &Regression,
    name: &str,
    (rows, columns): (usize, usize),
    colouring: Colouring,
    side: f64,
) -> Result<Vec<Node>> {
    let mut items = Vec::with_capacity(regression.steps().len());
    for step in regression.steps() {
        let inputs = step.residual.dims()[0];
        if rows.checked_mul(columns) != Some(inputs) {
            let expected = format!("{inputs} inputs in rows and columns");
            return Err(Error::shape("the grid of inputs", expected, [rows, columns]));
        }
        let image = coloured(&step.colours(colouring)?, rows, columns)?;
        let mut panel = picture(image, side);
        panel.title = Some(match step.name.as_str() {
            "" => name.to_owned(),
            added => format!("+ {added}\nR² {:.3}", step.shown_r_squared()),
        });
        items.push(Node::Panel(Box::new(panel)));
    }
    Ok(items)
}

fn figure(items: Vec<Node>, columns: usize) -> Figure {
    let colours = vec![ColourAxis { bar: false, ..ColourAxis::default() }];
    Figure::of(PanelBlock { items, columns, ..PanelBlock::default() }, colours)
}

/// An image whose cells have the colours `[rows · columns, 3]`, from 0 to 1.
fn coloured(colours: &Tensor, rows: usize, columns: usize) -> Result<Image> {
    let colours: Vec<Vec<f64>> = colours.to_vec2()?;
    let byte = |share: f64| (share.clamp(0.0, 1.0) * 255.0).round() as u8;
    let rgb = colours.iter().map(|cell| [byte(cell[0]), byte(cell[1]), byte(cell[2])]).collect();
    Ok(Image { values: [].into(), rows, columns, colour: 0, rgb: Some(rgb), numbers: false })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::geometry::Explanatory;
    use crate::random::Rng;

    #[test]
    fn every_step_is_a_picture() {
        let values = Rng::seed(0).normal((12, 4), &Device::Cpu).unwrap();
        let first = Explanatory::one_hot("row", (0..12).map(|i| i / 4), 3).unwrap();
        let regression = Regression::explain(&values, &[first]).unwrap();
        let figure = regression.plot(3, 4, Colouring::Range).unwrap();
        assert_eq!(figure.to_string(), "Figure: 2 images of 3 × 4");
        let json: serde_json::Value = serde_json::from_str(&figure.to_json()).unwrap();
        assert_eq!(json["data"][1]["type"], "image");
        assert_eq!(json["data"][1]["z"][2][3].as_array().unwrap().len(), 3);
        // Each channel has a darkest and a brightest input.
        for channel in 0..3 {
            let rows = json["data"][0]["z"].as_array().unwrap();
            let cells = rows.iter().flat_map(|row| row.as_array().unwrap());
            let values: Vec<u64> = cells.map(|cell| cell[channel].as_u64().unwrap()).collect();
            assert!(values.contains(&0) && values.contains(&255));
        }
        assert!(figure.to_svg().contains("data:image/png"));
        assert!(regression.plot(3, 5, Colouring::Range).is_err());
        assert!(regression.plot(usize::MAX, 2, Colouring::Range).is_err());
    }

    #[test]
    fn layers_are_rows_of_a_sheet() {
        let values = Rng::seed(0).normal((12, 4), &Device::Cpu).unwrap();
        let row = Explanatory::one_hot("row", (0..12).map(|i| i / 4), 3).unwrap();
        let layer = |functions: &[Explanatory]| Regression::explain(&values, functions).unwrap();
        let two = [("layer 0".to_owned(), layer(&[])), ("layer 1".to_owned(), layer(&[row]))];
        let figure = plot_regressions(&two, 3, 4, Colouring::Range).unwrap();
        assert_eq!(figure.to_string(), "Figure: 3 images of 3 × 4");
        let text = figure.to_json();
        assert!(text.contains("layer 0") && text.contains("layer 1") && text.contains("+ row"));
        assert!(plot_regressions(&[], 3, 4, Colouring::Range).is_err());
        assert!(plot_regressions(&two, 3, 5, Colouring::Range).is_err());
    }
}
