//! What points tell when the mouse is over them.

use std::sync::Arc;

use super::plotly_text::text;

/// What a point tells: a text with one part in bold. Everything in it is shown as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HoverText {
    pub(crate) before: String,
    pub(crate) bold: String,
    pub(crate) after: String,
}

/// A group of points with the same colour, in every panel in the same order.
#[derive(Debug, Clone)]
pub(crate) struct ToldPoints {
    /// One a point.
    pub(crate) texts: Arc<[HoverText]>,
    /// The points that are shown in a notebook, ascending; a file of its own has all.
    pub(crate) shown: Arc<[u32]>,
}

impl HoverText {
    pub(super) fn html(&self) -> String {
        let Self { before, bold, after } = self;
        match bold.is_empty() {
            true => text(&format!("{before}{after}")),
            false => format!("{}<b>{}</b>{}", text(before), text(bold), text(after)),
        }
    }

    pub(super) fn plain(&self) -> String {
        let Self { before, bold, after } = self;
        format!("{before}«{bold}»{after}")
    }
}

/// How many points of a figure are shown, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thinned {
    pub(super) shown: usize,
    pub(super) all: usize,
}
