//! What the axes of a panel cover.

use super::panel::{Panel, Series, Style};
use super::values::extent;

impl Panel {
    /// What the x axis covers.
    pub(crate) fn x_extent(&self) -> (f64, f64) {
        self.extents().0
    }

    /// What the y axis covers, from bottom to top for series.
    pub(crate) fn y_extent(&self) -> (f64, f64) {
        self.extents().1
    }

    fn extents(&self) -> ((f64, f64), (f64, f64)) {
        let (mut x, mut y) = (self.own_x_extent(), self.own_y_extent());
        if self.image().is_some() {
            return (x, y);
        }
        if self.diagonal {
            let both = (x.0.min(y.0), x.1.max(y.1));
            x = self.x.range.unwrap_or(both);
            y = self.y.range.unwrap_or(both);
        }
        if self.equal && self.x.log == self.y.log && self.size.0 > 0.0 && self.size.1 > 0.0 {
            let log = self.x.log;
            let place = |v: f64| if log { v.ln() } else { v };
            let value = |v: f64| if log { v.exp() } else { v };
            let span = |(low, high): (f64, f64)| place(high) - place(low);
            // Units per pixel: the axis with fewer is extended to both sides.
            let unit = (span(x) / self.size.0).max(span(y) / self.size.1);
            let extended = |range: (f64, f64), pixels: f64| {
                let more = (unit * pixels - span(range)) / 2.0;
                (value(place(range.0) - more), value(place(range.1) + more))
            };
            (x, y) = (extended(x, self.size.0), extended(y, self.size.1));
        }
        (x, y)
    }

    /// The ends of the line y = x within the panel; `None` where it does not pass.
    pub(crate) fn diagonal_ends(&self) -> Option<(f64, f64)> {
        let (x, y) = self.extents();
        let (low, high) = (x.0.max(y.0), x.1.min(y.1));
        (self.diagonal && low < high).then_some((low, high))
    }

    /// The coordinates of all points that are drawn.
    fn drawn(&self) -> impl Iterator<Item = (f64, f64)> {
        self.series().flat_map(|s| s.drawn(&self.x, &self.y).map(|(_, x, y)| (x, y)))
    }

    fn own_x_extent(&self) -> (f64, f64) {
        if let Some(image) = self.image() {
            return (-0.5, image.columns as f64 - 0.5);
        }
        if let Some(range) = self.x.range {
            return range;
        }
        let none = if self.x.log { (1.0, 10.0) } else { (0.0, 1.0) };
        let (low, high) = extent(self.drawn().map(|(x, _)| x)).unwrap_or(none);
        let widest = self.series().filter_map(|s| s.bar).fold(0.0, f64::max);
        if widest > 0.0 && !self.x.log {
            (low - widest / 2.0, high + widest / 2.0)
        } else if self.series().any(|s| s.style == Style::Bars) {
            let air = 0.6 * self.bar_pitch();
            (low - air, high + air)
        } else if low == high
            || self
                .series()
                .any(|s| s.style == Style::Points || !s.dots(&self.x, &self.y).is_empty())
        {
            widen(low, high, self.x.log)
        } else {
            (low, high)
        }
    }

    /// Least distance between bars of one series along x.
    pub(crate) fn bar_pitch(&self) -> f64 {
        let mut pitch = f64::INFINITY;
        for series in self.series().filter(|s| s.style == Style::Bars) {
            let mut x = series.x.clone();
            x.sort_by(f64::total_cmp);
            let gaps = x.windows(2).map(|pair| pair[1] - pair[0]).filter(|&gap| gap > 0.0);
            pitch = gaps.fold(pitch, f64::min);
        }
        if pitch.is_finite() { pitch } else { 1.0 }
    }

    fn own_y_extent(&self) -> (f64, f64) {
        if let Some(image) = self.image() {
            return (image.rows as f64 - 0.5, -0.5);
        }
        if let Some(range) = self.y.range {
            return range;
        }
        let none = if self.y.log { (1.0, 10.0) } else { (0.0, 1.0) };
        let intervals = self.series().flat_map(Series::interval_ends);
        let intervals = intervals.filter(|end| !self.y.log || *end > 0.0);
        let drawn = self.drawn().map(|(_, y)| y).chain(intervals);
        let (low, high) = extent(drawn).unwrap_or(none);
        let counts = self.series().any(|s| s.style == Style::Bars) || !self.samples.is_empty();
        if !counts || self.y.log {
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
