//! A figure: panels with their places.

use std::fmt;

use serde_json::{Map, Value};

use super::film::Film;
use super::gaps::gap;
use super::panel::{ColourAxis, Mark, Node, Panel, PanelBlock};
use super::point_texts::{Thinned, ToldPoints};
use super::values::extent;
use crate::{Error, Result};

/// A chart or several, drawn by plotly.
///
/// Made by [`imshow`](super::imshow), [`line`](super::line()), [`bar`](super::bar),
/// [`scatter`](super::scatter) and their like, put together by [`grid`](super::grid),
/// [`beside`](super::beside) and [`stack`](super::stack). Every option is a method that takes the
/// figure and gives it back, so options chain; those that can be wrong return a [`Result`].
/// A figure owns its data: it can live across cells. Sizes are CSS pixels.
///
/// As the last expression of a cell a figure is drawn; [`show`](Self::show) draws it from the
/// middle of a cell. Where plotly is not at hand (a viewer of saved notebooks, an export) a still
/// picture takes its place.
///
/// NaN, infinity and masked values are gaps, and so is what is not positive on a logarithmic axis;
/// the figure says below how many values it leaves out.
///
/// ```
/// use eigenlens::plot::line;
/// let losses = [0.7, 0.2, 0.05, 0.01];
/// line(&losses)?.log_y()?.title("Loss").x_title("epoch").show();
/// # Ok::<(), eigenlens::Error>(())
/// ```
#[derive(Clone)]
pub struct Figure {
    pub(crate) root: PanelBlock,
    pub(super) colours: Vec<ColourAxis>,
    pub(super) title: Option<String>,
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
    pub(crate) film: Option<Film>,
    /// Groups of points that tell where they come from, each of the same points in every panel.
    pub(crate) told: Vec<ToldPoints>,
    /// If it shows fewer points than it was made of.
    pub(super) thinned: Option<Thinned>,
    pub(super) layout_patch: Value,
    pub(super) trace_patch: Value,
}

impl Figure {
    pub(crate) fn of(root: PanelBlock, colours: Vec<ColourAxis>) -> Self {
        Self {
            root,
            colours,
            title: None,
            width: None,
            height: None,
            film: None,
            told: Vec::new(),
            thinned: None,
            layout_patch: Value::Object(Map::new()),
            trace_patch: Value::Object(Map::new()),
        }
    }

    /// A figure of one panel.
    pub(crate) fn single(panel: Panel) -> Self {
        Self::of(PanelBlock::of(vec![panel], 1), Vec::new())
    }

    /// A figure that draws a trace of the `plotly` crate (exported as
    /// [`plot::plotly`](super::plotly)): histograms, contours, surfaces and all else that plotly
    /// knows.
    ///
    /// ```
    /// use eigenlens::plot::{Figure, plotly::Histogram};
    /// Figure::from_trace(Histogram::new(vec![1.0, 1.5, 4.0]))?.x_title("norm").show();
    /// # Ok::<(), eigenlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if the trace does not become JSON.
    pub fn from_trace(trace: Box<dyn plotly::Trace>) -> Result<Self> {
        Self::single(Panel { size: (560.0, 320.0), ..Panel::default() }).with_mark(&*trace)
    }

    /// Adds a trace of the `plotly` crate to the last panel.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the trace does not become JSON.
    pub fn trace(self, trace: Box<dyn plotly::Trace>) -> Result<Self> {
        self.with_mark(&*trace)
    }

    fn with_mark(mut self, trace: &dyn plotly::Trace) -> Result<Self> {
        let text = trace.to_json();
        let value = serde_json::from_str(&text).map_err(|e| {
            Error::invalid("the trace", "a plotly trace that becomes JSON", &e).caused_by(e)
        })?;
        push_to_last(&mut self.root, Mark::Plotly(value));
        Ok(self)
    }

    /// The heading, plain text; none by default.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// The width of the whole figure, at least 100. By default the panels have what they ask for,
    /// and shrink if they would take more than 900 together.
    #[must_use]
    pub fn width(mut self, pixels: u32) -> Self {
        self.width = Some(pixels.max(100));
        self
    }

    /// The height of the whole figure, at least 100. By default the panels ask for what they need.
    #[must_use]
    pub fn height(mut self, pixels: u32) -> Self {
        self.height = Some(pixels.max(100));
        self
    }

    /// Merges a JSON object into plotly's layout, as `update_layout` does in Python: text, or a
    /// `serde_json::Value`.
    ///
    /// ```
    /// use eigenlens::plot::line;
    /// line([1.0, 4.0, 9.0])?.update_layout(r#"{"xaxis": {"dtick": 1}}"#)?;
    /// # Ok::<(), eigenlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if `patch` is not a JSON object.
    pub fn update_layout(mut self, patch: impl fmt::Display) -> Result<Self> {
        merge(&mut self.layout_patch, object("the layout patch", &patch.to_string())?);
        Ok(self)
    }

    /// Merges a JSON object into every trace, as `update_traces` does in Python.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `patch` is not a JSON object.
    pub fn update_traces(mut self, patch: impl fmt::Display) -> Result<Self> {
        merge(&mut self.trace_patch, object("the trace patch", &patch.to_string())?);
        Ok(self)
    }

    /// Lowest and highest value of colour axis `axis`.
    pub(super) fn limits(&self, axis: usize) -> (f64, f64) {
        let mut data = None;
        self.root.each_panel(&mut |panel| {
            let image = panel.image().filter(|image| image.colour == axis);
            let cells =
                image.into_iter().flat_map(|i| (0..i.values.len()).filter_map(|k| i.cell(k)));
            let shades = panel.series().filter_map(|s| s.shades.as_ref());
            let points = shades.filter(|s| s.0 == axis).flat_map(|s| s.1.iter().copied());
            let points = points.filter(|&value| gap(value, false).is_none());
            let ends = data.into_iter().flat_map(|(low, high): (f64, f64)| [low, high]);
            data = extent(cells.chain(points).chain(ends));
        });
        self.colours[axis].limits(data)
    }
}

fn push_to_last(block: &mut PanelBlock, mark: Mark) {
    match block.items.last_mut() {
        Some(Node::Panel(panel)) => panel.marks.push(mark),
        Some(Node::Block(inner)) => push_to_last(inner, mark),
        None => {}
    }
}

fn object(what: &str, text: &str) -> Result<Value> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Error::invalid(what, "a JSON object", text)),
        Err(e) => Err(Error::invalid(what, "a JSON object", format!("{text} ({e})"))),
    }
}

/// Merges `patch` into `target`: objects key by key, all else replaced.
pub(super) fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch,
    }
}
