//! What a figure is made of: panels in blocks, marks in panels.

use std::sync::Arc;

use serde_json::Value;

use super::bins::{BinnedSeries, Bins};
use super::gaps::cell_gap;
use super::palette::Look;
use super::scale::Scale;
use super::space::Space;

/// A line of at most as many points has a dot at each.
const MARKED: usize = 24;

/// One pair of axes and what is drawn on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Panel {
    pub(crate) title: Option<String>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    /// Plotting area wanted, in pixels.
    pub(crate) size: (f64, f64),
    /// Whether what is in three dimensions is seen from one side and cannot be turned.
    pub(crate) flat: bool,
    /// One unit is as long along x as along y.
    pub(crate) equal: bool,
    /// Whether the line y = x is drawn.
    pub(crate) diagonal: bool,
    pub(crate) legend_title: Option<String>,
    /// What a histogram counts.
    pub(crate) samples: Vec<BinnedSeries>,
    pub(crate) bins: Bins,
}

/// One axis of a panel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Axis {
    pub(crate) title: Option<String>,
    /// Names of the positions 0, 1, 2, …
    pub(crate) labels: Option<Vec<String>>,
    pub(crate) log: bool,
    pub(crate) range: Option<(f64, f64)>,
    pub(crate) hide_ticks: bool,
    /// The x axis above the panel instead of below.
    pub(crate) on_top: bool,
    /// Only whole numbers make sense on this axis.
    pub(crate) whole: bool,
}

/// What is drawn.
#[derive(Debug, Clone)]
pub(crate) enum Mark {
    Image(Image),
    Series(Series),
    Space(Space),
    /// A trace of the plotly crate, as JSON.
    Plotly(Value),
}

/// A matrix as coloured cells, row 0 at the top.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) values: Arc<[f32]>,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Index into the figure's colour axes.
    pub(crate) colour: usize,
    /// Colours of the cells, in place of values.
    pub(crate) rgb: Option<Arc<[[u8; 3]]>>,
    /// Whether the cells hold their numbers.
    pub(crate) numbers: bool,
}

impl Image {
    /// The value of a cell; `None` where it is masked or not finite.
    pub(crate) fn cell(&self, i: usize) -> Option<f64> {
        let value = *self.values.get(i)?;
        cell_gap(value).is_none().then_some(f64::from(value))
    }
}

/// Points, joined or not, or bars.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) style: Style,
    pub(crate) x: Vec<f64>,
    pub(crate) y: Vec<f64>,
    /// Colour, dash and symbol where they are not given by the order of the series.
    pub(crate) look: Option<Look>,
    /// One hover text a point.
    pub(crate) texts: Option<Vec<String>>,
    /// One number a point, shown on this colour axis.
    pub(crate) shades: Option<(usize, Vec<f64>)>,
    /// How wide a bar is along x, if that is not left to the page.
    pub(crate) bar: Option<f64>,
    /// Whether points of a short line have dots.
    pub(crate) dotted: bool,
    /// The group of the figure's points that tell which these are, if they are such.
    pub(crate) told: Option<usize>,
    /// An interval around each point of a line, drawn as an area.
    pub(crate) band: Option<Envelope>,
    /// Whether the band shows an amount of its own, which is drawn with more ink.
    pub(crate) filled: bool,
    /// An interval around each point or bar, drawn as an upright stroke.
    pub(crate) error_bars: Option<Envelope>,
}

/// Where a band or an error bar begins and ends above each point.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Envelope {
    pub(super) low: Vec<f64>,
    pub(super) high: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Line,
    /// A line that keeps its height up to the next point.
    Steps,
    Points,
    Bars,
}

impl Series {
    pub(crate) fn new(style: Style, name: impl Into<String>, x: Vec<f64>, y: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            style,
            x,
            y,
            look: None,
            texts: None,
            shades: None,
            bar: None,
            dotted: true,
            told: None,
            band: None,
            filled: false,
            error_bars: None,
        }
    }

    /// A colour of its own, with dash and symbol of the first series.
    pub(crate) fn ink(self, ink: &'static str) -> Self {
        self.looks(ink, 0)
    }

    /// A colour of its own, with dash and symbol of the `form`-th series.
    pub(crate) fn looks(mut self, ink: &'static str, form: usize) -> Self {
        self.look = Some(Look { ink, ..Look::of(form) });
        self
    }

    /// An interval around each point of a line: where they begin, and where they end.
    pub(crate) fn banded(mut self, (low, high): (Vec<f64>, Vec<f64>)) -> Self {
        self.band = Some(Envelope { low, high });
        self
    }

    /// An area of its own from `low` up to `high` at each point of a line.
    pub(crate) fn area(self, ends: (Vec<f64>, Vec<f64>)) -> Self {
        Self { filled: true, ..self.banded(ends) }
    }

    /// An error bar at each point: where they begin, and where they end.
    pub(crate) fn whiskers(mut self, (low, high): (Vec<f64>, Vec<f64>)) -> Self {
        self.error_bars = Some(Envelope { low, high });
        self
    }

    /// The points that have a place on axes `x` and `y`, with their index.
    pub(crate) fn drawn<'a>(
        &'a self,
        x: &'a Axis,
        y: &'a Axis,
    ) -> impl Iterator<Item = (usize, f64, f64)> + 'a {
        let whole = move |i: &usize| self.gap(*i, x, y).is_none();
        (0..self.y.len()).filter(whole).map(|i| (i, self.x[i], self.y[i]))
    }

    /// The values that its band and its error bars reach.
    pub(super) fn interval_ends(&self) -> impl Iterator<Item = f64> {
        let intervals = self.band.iter().chain(&self.error_bars);
        intervals.flat_map(|own| own.low.iter().chain(&own.high).copied())
    }

    /// Which points of a line have dots: all of a short line, and those between two gaps, which
    /// would not be seen otherwise.
    pub(crate) fn dots(&self, x: &Axis, y: &Axis) -> Vec<usize> {
        let gap = |i: usize| i >= self.y.len() || self.gap(i, x, y).is_some();
        let alone = |i: usize| (i == 0 || gap(i - 1)) && gap(i + 1);
        let short = self.y.len() <= MARKED;
        let dotted = |i: &usize| !gap(*i) && (short || alone(*i));
        match self.style {
            Style::Line if self.dotted => (0..self.y.len()).filter(dotted).collect(),
            _ => Vec::new(),
        }
    }
}

/// A panel or a block of panels.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Panel(Box<Panel>),
    Block(PanelBlock),
}

/// Nodes in rows of `columns`.
#[derive(Debug, Clone, Default)]
pub(crate) struct PanelBlock {
    pub(crate) title: Option<String>,
    pub(crate) items: Vec<Node>,
    pub(crate) columns: usize,
    /// Panels of one kind: ticks and axis titles at the outer panels only, zoom in step.
    pub(crate) facets: bool,
    /// Colour axis whose bar stands to the right.
    pub(crate) bar: Option<usize>,
    /// Least room before, width, and room after every column, shared with blocks above and below.
    pub(crate) least: Vec<[f64; 3]>,
}

impl PanelBlock {
    pub(crate) fn of(panels: Vec<Panel>, columns: usize) -> Self {
        let items = panels.into_iter().map(|p| Node::Panel(Box::new(p))).collect();
        Self { items, columns, ..Self::default() }
    }

    /// Calls `visit` for every panel, in reading order.
    pub(crate) fn each_panel<'a>(&'a self, visit: &mut impl FnMut(&'a Panel)) {
        for item in &self.items {
            match item {
                Node::Panel(panel) => visit(panel),
                Node::Block(block) => block.each_panel(visit),
            }
        }
    }

    pub(crate) fn each_panel_mut(&mut self, visit: &mut impl FnMut(&mut Panel)) {
        for item in &mut self.items {
            match item {
                Node::Panel(panel) => visit(panel),
                Node::Block(block) => block.each_panel_mut(visit),
            }
        }
    }

    pub(crate) fn each_block_mut(&mut self, visit: &mut impl FnMut(&mut PanelBlock)) {
        visit(self);
        for item in &mut self.items {
            if let Node::Block(block) = item {
                block.each_block_mut(visit);
            }
        }
    }
}

impl Panel {
    pub(crate) fn image(&self) -> Option<&Image> {
        self.marks.iter().find_map(|mark| match mark {
            Mark::Image(image) => Some(image),
            _ => None,
        })
    }

    pub(crate) fn series(&self) -> impl Iterator<Item = &Series> {
        self.marks.iter().filter_map(|mark| match mark {
            Mark::Series(series) => Some(series),
            _ => None,
        })
    }

    pub(crate) fn series_mut(&mut self) -> impl Iterator<Item = &mut Series> {
        self.marks.iter_mut().filter_map(|mark| match mark {
            Mark::Series(series) => Some(series),
            _ => None,
        })
    }

    pub(crate) fn spaces(&self) -> impl Iterator<Item = &Space> {
        self.marks.iter().filter_map(|mark| match mark {
            Mark::Space(space) => Some(space),
            _ => None,
        })
    }

    /// The series with their looks, in order.
    pub(crate) fn looks(&self) -> impl Iterator<Item = (&Series, Look)> {
        self.series().enumerate().map(|(i, s)| (s, s.look.unwrap_or(Look::of(i))))
    }

    /// Name, look and form of what a legend has to tell apart.
    pub(crate) fn names(&self) -> Vec<(&str, Look, Style)> {
        let series = self.looks().map(|(s, look)| (s.name.as_str(), look, s.style));
        let spaces = self.spaces().map(|space| {
            (space.name.as_str(), Look { ink: space.ink, ..Look::of(0) }, Style::Line)
        });
        series.chain(spaces).filter(|(name, ..)| !name.is_empty()).collect()
    }

    /// Whether a legend tells the series apart.
    pub(crate) fn has_legend(&self) -> bool {
        self.names().len() > 1
    }

    /// What stands above the legend: the title chosen, or a word where the names are bare numbers.
    pub(crate) fn legend_heading(&self) -> Option<&str> {
        let numbers = || self.names().iter().all(|(name, ..)| name.parse::<f64>().is_ok());
        match &self.legend_title {
            Some(title) => Some(title),
            None => (self.has_legend() && numbers()).then_some("series"),
        }
    }
}

/// A colour scale that several panels share.
#[derive(Debug, Clone)]
pub(crate) struct ColourAxis {
    pub(crate) scale: Option<Scale>,
    pub(crate) midpoint: Option<f64>,
    pub(crate) range: Option<(f64, f64)>,
    pub(crate) title: Option<String>,
    pub(crate) bar: bool,
}

impl Default for ColourAxis {
    fn default() -> Self {
        Self { scale: None, midpoint: None, range: None, title: None, bar: true }
    }
}

impl ColourAxis {
    /// The scale in use: the one chosen, else a diverging one around a midpoint.
    pub(crate) fn scale(&self) -> Scale {
        self.scale.unwrap_or(if self.midpoint.is_some() { Scale::RdBu } else { Scale::Viridis })
    }

    /// Lowest and highest value of the scale, given those of the data.
    pub(crate) fn limits(&self, data: Option<(f64, f64)>) -> (f64, f64) {
        let (low, high) = self.range.or(data).unwrap_or((0.0, 1.0));
        match (self.range, self.midpoint) {
            (None, Some(middle)) => {
                let reach = (high - middle).abs().max((low - middle).abs());
                let reach = if reach > 0.0 { reach } else { 1.0 };
                (middle - reach, middle + reach)
            }
            _ if low == high => (low - 0.5, high + 0.5),
            _ => (low, high),
        }
    }
}
