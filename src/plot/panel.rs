//! What a figure is made of: panels in blocks, marks in panels.

use std::sync::Arc;

use serde_json::Value;

use super::scale::{SERIES, Scale};
use super::space::Space;
use super::values::extent;

/// One pair of axes and what is drawn on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Panel {
    pub(super) title: Option<String>,
    pub(super) marks: Vec<Mark>,
    pub(super) x: Axis,
    pub(super) y: Axis,
    /// Plotting area wanted, in pixels.
    pub(super) size: (f64, f64),
    /// Whether what is in three dimensions is seen from one side and cannot be turned.
    pub(super) flat: bool,
}

/// One axis of a panel.
#[derive(Debug, Clone, Default)]
pub(super) struct Axis {
    pub(super) title: Option<String>,
    /// Names of the positions 0, 1, 2, …
    pub(super) labels: Option<Vec<String>>,
    pub(super) log: bool,
    pub(super) range: Option<(f64, f64)>,
    pub(super) hide_ticks: bool,
    /// The x axis above the panel instead of below.
    pub(super) on_top: bool,
    /// Only whole numbers make sense on this axis.
    pub(super) whole: bool,
}

/// What is drawn.
#[derive(Debug, Clone)]
pub(super) enum Mark {
    Image(Image),
    Series(Series),
    Space(Space),
    /// A trace of the plotly crate, as JSON.
    Plotly(Value),
}

/// A matrix as coloured cells, row 0 at the top.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) values: Arc<[f32]>,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Index into the figure's colour axes.
    pub(super) colour: usize,
    /// Colours of the cells, in place of values.
    pub(super) rgb: Option<Arc<[[u8; 3]]>>,
}

/// Points, joined or not, or bars.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) style: Style,
    pub(super) x: Vec<f64>,
    pub(super) y: Vec<f64>,
    /// Colour where it is not given by the order of the series.
    pub(super) ink: Option<&'static str>,
    /// One hover text a point.
    pub(super) texts: Option<Vec<String>>,
    /// One number a point, shown on this colour axis.
    pub(super) shades: Option<(usize, Vec<f64>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Line,
    Points,
    Bars,
}

impl Series {
    pub(super) fn new(style: Style, name: impl Into<String>, x: Vec<f64>, y: Vec<f64>) -> Self {
        Self { name: name.into(), style, x, y, ink: None, texts: None, shades: None }
    }

    pub(super) fn ink(mut self, ink: &'static str) -> Self {
        self.ink = Some(ink);
        self
    }
}

/// A panel or a block of panels.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Panel(Box<Panel>),
    Block(Block),
}

/// Nodes in rows of `columns`.
#[derive(Debug, Clone, Default)]
pub(super) struct Block {
    pub(super) title: Option<String>,
    pub(super) items: Vec<Node>,
    pub(super) columns: usize,
    /// Panels of one kind: ticks and axis titles at the outer panels only, zoom in step.
    pub(super) facets: bool,
    /// Colour axis whose bar stands to the right.
    pub(super) bar: Option<usize>,
}

impl Block {
    pub(super) fn of(panels: Vec<Panel>, columns: usize) -> Self {
        let items = panels.into_iter().map(|p| Node::Panel(Box::new(p))).collect();
        Self { items, columns, ..Self::default() }
    }

    /// Calls `visit` for every panel, in reading order.
    pub(super) fn each_panel<'a>(&'a self, visit: &mut impl FnMut(&'a Panel)) {
        for item in &self.items {
            match item {
                Node::Panel(panel) => visit(panel),
                Node::Block(block) => block.each_panel(visit),
            }
        }
    }

    pub(super) fn each_panel_mut(&mut self, visit: &mut impl FnMut(&mut Panel)) {
        for item in &mut self.items {
            match item {
                Node::Panel(panel) => visit(panel),
                Node::Block(block) => block.each_panel_mut(visit),
            }
        }
    }

    pub(super) fn each_block_mut(&mut self, visit: &mut impl FnMut(&mut Block)) {
        visit(self);
        for item in &mut self.items {
            if let Node::Block(block) = item {
                block.each_block_mut(visit);
            }
        }
    }
}

impl Panel {
    pub(super) fn image(&self) -> Option<&Image> {
        self.marks.iter().find_map(|mark| match mark {
            Mark::Image(image) => Some(image),
            _ => None,
        })
    }

    pub(super) fn series(&self) -> impl Iterator<Item = &Series> {
        self.marks.iter().filter_map(|mark| match mark {
            Mark::Series(series) => Some(series),
            _ => None,
        })
    }

    pub(super) fn series_mut(&mut self) -> impl Iterator<Item = &mut Series> {
        self.marks.iter_mut().filter_map(|mark| match mark {
            Mark::Series(series) => Some(series),
            _ => None,
        })
    }

    pub(super) fn spaces(&self) -> impl Iterator<Item = &Space> {
        self.marks.iter().filter_map(|mark| match mark {
            Mark::Space(space) => Some(space),
            _ => None,
        })
    }

    /// Name and colour of what a legend has to tell apart.
    pub(super) fn names(&self) -> Vec<(&str, &'static str)> {
        let series = self.series().enumerate();
        let series =
            series.map(|(i, s)| (s.name.as_str(), s.ink.unwrap_or(SERIES[i % SERIES.len()])));
        let spaces = self.spaces().filter(|s| !s.name.is_empty());
        series.chain(spaces.map(|s| (s.name.as_str(), s.ink))).collect()
    }

    /// Whether a legend tells the series apart.
    pub(super) fn has_legend(&self) -> bool {
        self.names().iter().filter(|(name, _)| !name.is_empty()).count() > 1
    }

    /// What the x axis covers.
    pub(super) fn x_extent(&self) -> (f64, f64) {
        if let Some(image) = self.image() {
            return (-0.5, image.columns as f64 - 0.5);
        }
        if let Some(range) = self.x.range {
            return range;
        }
        let (low, high) =
            extent(self.series().flat_map(|s| s.x.iter().copied())).unwrap_or((0.0, 1.0));
        if self.series().any(|s| s.style == Style::Bars) {
            let air = 0.6 * self.bar_pitch();
            (low - air, high + air)
        } else if low == high || self.series().any(|s| s.style == Style::Points) {
            widen(low, high, self.x.log)
        } else {
            (low, high)
        }
    }

    /// Least distance between bars of one series along x.
    pub(super) fn bar_pitch(&self) -> f64 {
        let mut pitch = f64::INFINITY;
        for series in self.series().filter(|s| s.style == Style::Bars) {
            let mut x = series.x.clone();
            x.sort_by(f64::total_cmp);
            let gaps = x.windows(2).map(|pair| pair[1] - pair[0]).filter(|&gap| gap > 0.0);
            pitch = gaps.fold(pitch, f64::min);
        }
        if pitch.is_finite() { pitch } else { 1.0 }
    }

    /// What the y axis covers, from bottom to top for series.
    pub(super) fn y_extent(&self) -> (f64, f64) {
        if let Some(image) = self.image() {
            return (image.rows as f64 - 0.5, -0.5);
        }
        if let Some(range) = self.y.range {
            return range;
        }
        let (low, high) =
            extent(self.series().flat_map(|s| s.y.iter().copied())).unwrap_or((0.0, 1.0));
        let bars = self.series().any(|s| s.style == Style::Bars) && !self.y.log;
        if !bars {
            return widen(low, high, self.y.log);
        }
        let (wide_low, wide_high) = widen(low.min(0.0), high.max(0.0), false);
        (if low >= 0.0 { 0.0 } else { wide_low }, if high <= 0.0 { 0.0 } else { wide_high })
    }
}

/// A range with 5 % of air at both ends.
fn widen(low: f64, high: f64, log: bool) -> (f64, f64) {
    if log {
        let (low, high) = (low.ln(), high.ln());
        let air = ((high - low) * 0.05).max(0.05);
        return ((low - air).exp(), (high + air).exp());
    }
    let air = match high - low {
        d if d > 0.0 => d * 0.05,
        _ => (high.abs() * 0.1).max(0.5),
    };
    (low - air, high + air)
}

/// A colour scale that several panels share.
#[derive(Debug, Clone)]
pub(super) struct ColourAxis {
    pub(super) scale: Option<Scale>,
    pub(super) midpoint: Option<f64>,
    pub(super) range: Option<(f64, f64)>,
    pub(super) title: Option<String>,
    pub(super) bar: bool,
}

impl Default for ColourAxis {
    fn default() -> Self {
        Self { scale: None, midpoint: None, range: None, title: None, bar: true }
    }
}

impl ColourAxis {
    /// The scale in use: the one chosen, else a diverging one around a midpoint.
    pub(super) fn scale(&self) -> Scale {
        self.scale.unwrap_or(if self.midpoint.is_some() { Scale::RdBu } else { Scale::Viridis })
    }

    /// Lowest and highest value of the scale, given those of the data.
    pub(super) fn limits(&self, data: Option<(f64, f64)>) -> (f64, f64) {
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
