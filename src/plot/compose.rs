//! Figures of figures.

use super::figure::Figure;
use super::panel::{Mark, Node, PanelBlock};
use crate::{Error, Result};

/// Puts figures into rows of `columns`; their titles become titles of the parts.
///
/// Plotting areas of a column and of a row line up. Each part keeps its own colour scale.
///
/// ```
/// use eigenlens::plot::{bar, grid, line};
/// let loss = line([0.9, 0.5, 0.3])?.title("Loss");
/// let accuracy = bar([0.6, 0.8, 0.9])?.title("Accuracy");
/// grid([loss, accuracy], 2)?.title("Training").show();
/// # Ok::<(), eigenlens::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for no figures, no columns, an animated figure, or a figure with a patch of
/// [`update_layout`](Figure::update_layout) or [`update_traces`](Figure::update_traces): its axes
/// get new names here, so patch the whole instead.
pub fn grid(figures: impl IntoIterator<Item = Figure>, columns: usize) -> Result<Figure> {
    let figures: Vec<Figure> = figures.into_iter().collect();
    if figures.is_empty() || columns == 0 {
        let found = format!("{} figures in {columns} columns", figures.len());
        return Err(Error::invalid("a grid", "at least one figure in at least one column", found));
    }
    let mut colours = Vec::new();
    let mut items = Vec::with_capacity(figures.len());
    let columns = columns.min(figures.len());
    for figure in figures {
        let patched = |patch: &serde_json::Value| patch.as_object().is_some_and(|p| !p.is_empty());
        if patched(&figure.layout_patch) || patched(&figure.trace_patch) {
            let expected = "patched as a whole, after the parts are put together";
            return Err(Error::invalid("a grid", expected, "a part that has a patch"));
        }
        if figure.film.is_some() {
            let expected = "without frames; plot_recovery takes several dictionaries";
            return Err(Error::invalid("a part of a grid", expected, "an animated figure"));
        }
        let figure = figure.with_own_texts();
        let mut block = figure.sized();
        block.title = figure.title;
        let first = colours.len();
        shift_colours(&mut block, first);
        colours.extend(figure.colours);
        items.push(Node::Block(block));
    }
    Ok(Figure::of(PanelBlock { items, columns, ..PanelBlock::default() }, colours))
}

/// Puts figures side by side: a [`grid`] of one row.
///
/// # Errors
/// Those of [`grid`].
pub fn beside(figures: impl IntoIterator<Item = Figure>) -> Result<Figure> {
    grid(figures, usize::MAX)
}

/// Puts figures below each other: a [`grid`] of one column.
///
/// # Errors
/// Those of [`grid`].
pub fn stack(figures: impl IntoIterator<Item = Figure>) -> Result<Figure> {
    grid(figures, 1)
}

fn shift_colours(block: &mut PanelBlock, first: usize) {
    block.each_block_mut(&mut |block| block.bar = block.bar.map(|axis| axis + first));
    block.each_panel_mut(&mut |panel| {
        for mark in &mut panel.marks {
            match mark {
                Mark::Image(image) => image.colour += first,
                Mark::Series(series) => {
                    series.shades = series.shades.take().map(|(axis, v)| (axis + first, v));
                }
                Mark::Space(_) | Mark::Plotly(_) => {}
            }
        }
    });
}
