//! Matrices as images.

use candle_core::{DType, Tensor};

use super::figure::Figure;
use super::gaps::cell_gap;
use super::panel::{Axis, ColourAxis, Image, Mark, Node, Panel, PanelBlock};
use crate::{Error, Result};

/// Pixels that a row of facets may take.
const ROW: f64 = 760.0;
/// Facets in a row unless the user says otherwise.
const COLUMNS: usize = 5;
/// Images longer than this many times their width are stretched: their cells are not square.
const LONGEST: usize = 4;

/// Draws a matrix `[height, width]` as an image, row 0 at the top, or `[n, height, width]` as `n`
/// facets that share one colour scale.
///
/// Masked attention scores (at or below −1e29, or minus infinity) are blank and take no part in the
/// colour scale; so are NaN and infinity. The figure says how many there are.
///
/// Hovering over a cell tells its place and value. Options are methods of the [`Figure`]:
/// [`midpoint`](Figure::midpoint) (red below, white at, blue above), [`scale`](Figure::scale),
/// [`x_labels`](Figure::x_labels), [`y_labels`](Figure::y_labels),
/// [`axis_on_top`](Figure::axis_on_top), [`facet_titles`](Figure::facet_titles),
/// [`facet_col_wrap`](Figure::facet_col_wrap), [`cell_numbers`](Figure::cell_numbers). Like `imshow` of plotly express.
///
/// ```
/// use eigenlens::plot::imshow;
/// use eigenlens::prelude::*;
/// let interaction = Tensor::new(&[[0_f32, 1.0], [-1.0, 0.0]], &Device::Cpu)?;
/// imshow(&interaction)?.midpoint(0.0).x_labels(["a", "b"])?.title("AND").show();
/// # Ok::<(), eigenlens::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for another rank or an empty tensor, [`Error::Invalid`] if no value is finite.
pub fn imshow(image: &Tensor) -> Result<Figure> {
    let images = images("the tensor of imshow", image, 0)?;
    let facets = image.rank() == 3;
    let panels: Vec<Panel> = images.into_iter().map(|image| picture(image, 400.0)).collect();
    let columns = panels.len().min(COLUMNS);
    let mut block = PanelBlock { facets, bar: Some(0), ..PanelBlock::of(panels, columns) };
    if facets {
        fit_facets(&mut block);
    }
    Ok(Figure::of(block, vec![ColourAxis::default()]))
}

/// The images in a tensor `[height, width]` or `[n, height, width]`, coloured by axis `colour`.
pub(crate) fn images(what: &str, tensor: &Tensor, colour: usize) -> Result<Vec<Image>> {
    let (rows, columns) = match *tensor.dims() {
        [rows, columns] | [_, rows, columns] if tensor.elem_count() > 0 => (rows, columns),
        _ => {
            let expected = "[height, width] or [n, height, width], none of them 0";
            return Err(Error::shape(what, expected, tensor.dims()));
        }
    };
    let mut values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    if tensor.dtype() == DType::F16 {
        // The least number of f16 is what many models mask with in that type.
        let least = half::f16::MIN.to_f32();
        values.iter_mut().filter(|v| **v <= least).for_each(|v| *v = f32::NEG_INFINITY);
    }
    if values.iter().all(|&value| cell_gap(value).is_some()) {
        let expected =
            "finite for at least one cell; look for where they became NaN or were masked";
        let found = format!("{} values, none of them finite", values.len());
        return Err(Error::invalid(what, expected, found));
    }
    let images = values.chunks(rows * columns);
    Ok(images
        .map(|cells| Image {
            values: cells.into(),
            rows,
            columns,
            colour,
            rgb: None,
            numbers: false,
        })
        .collect())
}

/// A panel with one image whose longer side is at most `side` pixels.
pub(crate) fn picture(image: Image, side: f64) -> Panel {
    let axis = Axis { whole: true, ..Axis::default() };
    let size = image.size(side);
    Panel { marks: vec![Mark::Image(image)], x: axis.clone(), y: axis, size, ..Panel::default() }
}

/// Makes image facets as large as a row of them allows.
pub(super) fn fit_facets(block: &mut PanelBlock) {
    let columns = block.columns.max(1) as f64;
    let side = (ROW / columns - 16.0).clamp(48.0, 260.0);
    for item in &mut block.items {
        if let Node::Panel(panel) = item
            && let Some(size) = panel.image().map(|image| image.size(side))
        {
            panel.size = size;
        }
    }
}

impl Image {
    /// Whether cells are drawn as squares.
    pub(super) fn square(&self) -> bool {
        let (short, long) = (self.rows.min(self.columns), self.rows.max(self.columns));
        long <= LONGEST * short && !self.numbers
    }

    /// Size on the page with the longer side at most `side`; small matrices stay small.
    fn size(&self, side: f64) -> (f64, f64) {
        let long = self.rows.max(self.columns) as f64;
        let side = side.min((long * 48.0).max(160.0));
        let least = if self.square() { 0.0 } else { side / LONGEST as f64 };
        let length = |n: usize| (n as f64 / long * side).max(least);
        (length(self.columns), length(self.rows))
    }
}
