//! What can be set on the axes, colours and facets of a figure.

use std::fmt::Display;

use super::cell_numbers::{APART, DIGITS, SMALLEST};
use super::figure::Figure;
use super::gaps::{drawable, gap};
use super::imshow::fit_facets;
use super::panel::{Axis, Mark, Panel};
use super::scale::Scale;
use super::values::IntoValues;
use crate::{Error, Result};

/// What can have labels along an axis.
const NAMED: &str = "used on an image, or along x where points stand at 0, 1, 2, …";

impl Figure {
    /// The title of every x axis; by default as the chart says, else none.
    #[must_use]
    pub fn x_title(self, title: impl Into<String>) -> Self {
        let title = title.into();
        self.panels(|panel| panel.x.title = Some(title.clone()))
    }

    /// The title of every y axis; by default as the chart says, else none.
    #[must_use]
    pub fn y_title(self, title: impl Into<String>) -> Self {
        let title = title.into();
        self.panels(|panel| panel.y.title = Some(title.clone()))
    }

    /// Names of the positions along x: of an image's columns, of a bar chart's groups. They may
    /// repeat, as tokens do.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one name a position in every panel.
    pub fn x_labels(self, labels: impl IntoIterator<Item = impl Display>) -> Result<Self> {
        self.labels(
            "x_labels",
            labels,
            |panel| &mut panel.x,
            |panel| match panel.image() {
                Some(image) => Some(image.columns),
                None => panel.series().map(|s| s.x.len()).max().filter(|_| panel.x.whole),
            },
        )
    }

    /// Names of an image's rows, from the top.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one name a row in every panel, and every panel an image.
    pub fn y_labels(self, labels: impl IntoIterator<Item = impl Display>) -> Result<Self> {
        self.labels(
            "y_labels",
            labels,
            |panel| &mut panel.y,
            |panel| panel.image().map(|image| image.rows),
        )
    }

    fn labels(
        self,
        what: &str,
        labels: impl IntoIterator<Item = impl Display>,
        axis: fn(&mut Panel) -> &mut Axis,
        count: fn(&Panel) -> Option<usize>,
    ) -> Result<Self> {
        let labels: Vec<String> = labels.into_iter().map(|l| l.to_string()).collect();
        let mut wanted = Ok(());
        self.root.each_panel(&mut |panel| match count(panel) {
            Some(n) if n == labels.len() => {}
            Some(n) => {
                wanted = Err(Error::shape(what, format!("{n} labels"), labels.len()));
            }
            None => wanted = Err(Error::invalid(what, NAMED, "another figure")),
        });
        wanted?;
        Ok(self.panels(|panel| axis(panel).labels = Some(labels.clone())))
    }

    /// Where the points of every series stand along x, in place of 0, 1, 2, … and their labels.
    ///
    /// # Errors
    /// [`Error::Shape`] unless every series has as many points, [`Error::Invalid`] if no value is
    /// finite.
    pub fn x(mut self, values: impl IntoValues) -> Result<Self> {
        let values = values.into_values()?;
        drawable("x", &values)?;
        let mut wrong = None;
        self.root.each_panel_mut(&mut |panel| {
            (panel.x.whole, panel.x.labels) = (false, None);
            if panel.series().next().is_none() {
                wrong = Some(0);
            }
            for series in panel.series_mut() {
                if series.y.len() == values.len() {
                    series.x.clone_from(&values);
                } else {
                    wrong = Some(series.y.len());
                }
            }
        });
        match wrong {
            Some(n) => Err(Error::shape("x", format!("{n} values, one a point"), values.len())),
            None => Ok(self),
        }
    }

    /// What every x axis covers.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `low < high`, both finite, and positive on a logarithmic axis.
    pub fn x_range(self, low: f64, high: f64) -> Result<Self> {
        let range = ordered("x_range", low, high)?;
        self.panels(|panel| panel.x.range = Some(range)).on_log_axes()
    }

    /// What every y axis covers.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `low < high`, both finite, and positive on a logarithmic axis.
    pub fn y_range(self, low: f64, high: f64) -> Result<Self> {
        let range = ordered("y_range", low, high)?;
        self.panels(|panel| panel.y.range = Some(range)).on_log_axes()
    }

    /// Logarithmic x axes. Points that are not positive have no place there: they are left out, and
    /// the figure says how many.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no value is positive, or for an image.
    pub fn log_x(self) -> Result<Self> {
        self.positive("x", |panel| panel.series().flat_map(|s| s.x.iter().copied()).collect())?;
        self.panels(|panel| panel.x.log = true).on_log_axes()
    }

    /// Logarithmic y axes. Points that are not positive have no place there: they are left out, and
    /// the figure says how many.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no value is positive, or for an image.
    pub fn log_y(self) -> Result<Self> {
        self.positive("y", |panel| panel.series().flat_map(|s| s.y.iter().copied()).collect())?;
        self.panels(|panel| panel.y.log = true).on_log_axes()
    }

    /// The same scale on both axes of every panel: one unit is as long along x as along y.
    /// By default each axis has its own.
    #[must_use]
    pub fn equal_axes(self) -> Self {
        self.panels(|panel| panel.equal = true)
    }

    /// The line y = x, dashed, on axes that cover the same range (unless
    /// [`x_range`](Self::x_range) or [`y_range`](Self::y_range) says otherwise): for what was
    /// predicted against what was measured; none by default. With [`equal_axes`](Self::equal_axes) it rises at 45°.
    ///
    /// ```
    /// use eigenlens::plot::scatter;
    /// scatter([0.1, 0.5, 0.9], [0.2, 0.4, 1.0])?.equal_axes().diagonal().show();
    /// # Ok::<(), eigenlens::Error>(())
    /// ```
    #[must_use]
    pub fn diagonal(self) -> Self {
        self.panels(|panel| {
            let charted = panel.series().next().is_some();
            panel.diagonal = charted;
        })
    }

    /// A title above the legend. Without one, names that are bare numbers have "series" there.
    #[must_use]
    pub fn legend_title(self, title: impl Into<String>) -> Self {
        let title = title.into();
        self.panels(|panel| panel.legend_title = Some(title.clone()))
    }

    /// Writes every cell's number into it, in black or white, as `text_auto` of plotly express does.
    /// Panels become wide enough for that if the page is; cells too small for numbers stay without.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a figure without images.
    pub fn cell_numbers(mut self) -> Result<Self> {
        let mut images = 0;
        self.root.each_panel_mut(&mut |panel| {
            for mark in &mut panel.marks {
                let Mark::Image(image) = mark else { continue };
                image.numbers = true;
                images += 1;
                let cell = image.widest_number(DIGITS[0]) + APART;
                panel.size.0 = panel.size.0.max(cell * image.columns as f64);
                panel.size.1 = panel.size.1.max(2.0 * SMALLEST * image.rows as f64);
            }
        });
        match images {
            0 => Err(Error::invalid("cell_numbers", "used on an image", "another figure")),
            _ => Ok(self),
        }
    }

    /// Refuses a range that a logarithmic axis cannot show.
    fn on_log_axes(self) -> Result<Self> {
        let mut wrong = None;
        self.root.each_panel(&mut |panel| {
            for axis in [&panel.x, &panel.y].into_iter().filter(|axis| axis.log) {
                wrong = axis.range.map(|range| range.0).filter(|&low| low <= 0.0).or(wrong);
            }
        });
        match wrong {
            Some(low) => Err(Error::invalid("the range of a logarithmic axis", "positive", low)),
            None => Ok(self),
        }
    }

    fn positive(&self, axis: &str, values: fn(&Panel) -> Vec<f64>) -> Result<()> {
        let (mut image, mut any, mut largest) = (false, false, f64::NEG_INFINITY);
        self.root.each_panel(&mut |panel| {
            image |= panel.image().is_some();
            for value in values(panel) {
                any |= gap(value, true).is_none();
                largest = largest.max(value);
            }
        });
        if image {
            let what = format!("a logarithmic {axis} axis");
            return Err(Error::invalid(what, "used on a line, bar or scatter chart", "an image"));
        }
        if !any && largest > f64::NEG_INFINITY {
            let what = format!("{axis} on a logarithmic axis");
            let expected =
                "positive for at least one point; use a linear axis, or the size of the values";
            return Err(Error::invalid(what, expected, format!("{largest} as the largest")));
        }
        Ok(())
    }

    /// The x axis above the panels: for matrices that are read from the top left. By default it is
    /// below.
    #[must_use]
    pub fn axis_on_top(self) -> Self {
        self.panels(|panel| panel.x.on_top = true)
    }

    /// No numbers or labels along the axes: for pictures. By default there are some.
    #[must_use]
    pub fn hide_ticks(self) -> Self {
        self.panels(|panel| (panel.x.hide_ticks, panel.y.hide_ticks) = (true, true))
    }

    /// The plotting area of every panel, each side at least 20. Panels shrink if the figure would be
    /// wider than 900; [`width`](Self::width) lifts that limit. By default the chart says it.
    #[must_use]
    pub fn panel_size(self, width: u32, height: u32) -> Self {
        let size = (f64::from(width.max(20)), f64::from(height.max(20)));
        self.panels(|panel| panel.size = size)
    }

    /// A title above every panel, in reading order; `\n` begins a new line.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one title a panel.
    pub fn facet_titles(self, titles: impl IntoIterator<Item = impl Display>) -> Result<Self> {
        let titles: Vec<String> = titles.into_iter().map(|t| t.to_string()).collect();
        let mut count = 0;
        self.root.each_panel(&mut |_| count += 1);
        if titles.len() != count {
            return Err(Error::shape("facet_titles", format!("{count} titles"), titles.len()));
        }
        let mut titles = titles.into_iter();
        Ok(self.panels(|panel| panel.title = titles.next()))
    }

    /// How many panels stand side by side before a new row begins.
    ///
    /// # Errors
    /// [`Error::Invalid`] for 0.
    pub fn facet_col_wrap(mut self, columns: usize) -> Result<Self> {
        if columns == 0 {
            return Err(Error::invalid("facet_col_wrap", "at least 1", columns));
        }
        self.root.columns = columns.min(self.root.items.len().max(1));
        fit_facets(&mut self.root);
        Ok(self)
    }

    /// The value in the middle of the colour scale, which then reaches equally far to both sides; none
    /// by default.
    /// Unless a [`scale`](Self::scale) is chosen it is [`Scale::RdBu`]. NaN takes the midpoint away.
    #[must_use]
    pub fn midpoint(mut self, middle: f64) -> Self {
        for colour in &mut self.colours {
            colour.midpoint = Some(middle).filter(|m| m.is_finite());
        }
        self
    }

    /// The colour scale; [`Scale::Viridis`] by default, or [`Scale::RdBu`] with a midpoint.
    #[must_use]
    pub fn scale(mut self, scale: Scale) -> Self {
        for colour in &mut self.colours {
            colour.scale = Some(scale);
        }
        self
    }

    /// The values at both ends of the colour scale; values beyond them take the end's colour.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `low < high`, both finite, or without a colour scale.
    pub fn color_range(mut self, low: f64, high: f64) -> Result<Self> {
        let range = ordered("color_range", low, high)?;
        if self.colours.is_empty() {
            let expected = "used on an image or on points with `color_by`";
            return Err(Error::invalid("color_range", expected, "a figure without a colour scale"));
        }
        for colour in &mut self.colours {
            colour.range = Some(range);
        }
        Ok(self)
    }

    /// A title above the colour bar; none by default.
    #[must_use]
    pub fn color_title(mut self, title: impl Into<String>) -> Self {
        let title = title.into();
        for colour in &mut self.colours {
            colour.title = Some(title.clone());
        }
        self
    }

    /// No colour bar; by default there is one.
    #[must_use]
    pub fn hide_color_bar(mut self) -> Self {
        for colour in &mut self.colours {
            colour.bar = false;
        }
        self
    }

    fn panels(mut self, mut change: impl FnMut(&mut Panel)) -> Self {
        self.root.each_panel_mut(&mut change);
        self
    }
}

fn ordered(what: &str, low: f64, high: f64) -> Result<(f64, f64)> {
    if low < high && low.is_finite() && high.is_finite() {
        Ok((low, high))
    } else {
        Err(Error::invalid(what, "two finite numbers, the lower first", format!("{low}, {high}")))
    }
}
