//! What a figure becomes: an output of a cell, a file, a line of text.

use std::fmt;

use serde_json::Value;

use super::figure::Figure;
use super::gap_notes::notes;
use super::{page, pdf, picture, plotly_json, svg};
use crate::Result;
use crate::display::MimeBundle;
use crate::text::base64;

impl Figure {
    /// Draws the figure now, as an output of the running cell.
    pub fn show(&self) {
        self.bundle().show();
    }

    /// Draws the figure as the value of the cell.
    pub fn evcxr_display(&self) {
        self.bundle().show_as_result();
    }

    pub(super) fn bundle(&self) -> MimeBundle {
        // The stills are SVG for HTML, Markdown and GitHub, and PDF for LaTeX, for which nbconvert
        // would else look for Inkscape. Not PNG: plotly's extension of JupyterLab shows a PNG that
        // it finds in a bundle in place of the figure, until the mouse is over it.
        let still = picture::draw(&self.thinned());
        MimeBundle::text(self.to_string())
            .with("application/vnd.plotly.v1+json", plotly_json::render(&self.thinned()))
            .with("image/svg+xml", Value::String(svg::document(&still, &self.to_string())))
            .with("application/pdf", Value::String(base64(&pdf::document(&still))))
    }

    /// The figure as plotly reads it: an object with `data`, `layout` and `config`, and `frames` where
    /// it moves.
    pub fn to_json(&self) -> String {
        plotly_json::render(&self.thinned()).to_string()
    }

    /// The still picture as an SVG document.
    pub fn to_svg(&self) -> String {
        svg::document(&picture::draw(&self.thinned()), &self.to_string())
    }

    /// The still picture as a PDF document of one page.
    pub fn to_pdf(&self) -> Vec<u8> {
        pdf::document(&picture::draw(&self.thinned()))
    }

    /// Writes one HTML file (about 5 MB: it holds plotly.js) that opens in any browser, without a
    /// network, and can be zoomed and hovered like the figure in the notebook. Points that a notebook
    /// leaves out for their number are all there.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the file cannot be written; a file that was there before is then unchanged.
    pub fn save_html(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        page::save(self, path.as_ref())
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Figure")?;
        if let Some(title) = &self.title {
            write!(f, " \"{title}\"")?;
        }
        let (mut images, mut charts, mut shape) = (0, 0, None);
        self.root.each_panel(&mut |panel| match panel.image() {
            Some(image) => {
                images += 1;
                shape = Some((image.rows, image.columns));
            }
            None => charts += 1,
        });
        let s = |count| if count == 1 { "" } else { "s" };
        let mut parts = Vec::new();
        if let Some((rows, columns)) = shape {
            parts.push(format!("{images} image{} of {rows} × {columns}", s(images)));
        }
        if charts > 0 {
            parts.push(format!("{charts} chart{}", s(charts)));
        }
        write!(f, ": {}", parts.join(", "))?;
        notes(&self.thinned()).iter().try_for_each(|note| write!(f, "; {note}"))
    }
}

/// One line: the data of a figure would fill a notebook.
impl fmt::Debug for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
