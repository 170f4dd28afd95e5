//! Lines, bars and points.

use std::fmt::Display;

use super::figure::Figure;
use super::gaps::drawable;
use super::panel::{ColourAxis, Envelope, Mark, Panel, Series, Style};
use super::values::{IntoSeries, IntoValues};
use crate::{Error, Result};

/// Plotting area of a chart.
const SIZE: (f64, f64) = (600.0, 300.0);

/// Draws one curve or several, the points at x = 0, 1, 2, … unless [`Figure::x`] says otherwise.
///
/// Takes numbers (`&Vec<f32>`, a slice, a tensor `[n]`; `None` is a gap), a tensor `[series, n]`, or
/// pairs of name and numbers; names make a legend. See [`log_y`](Figure::log_y),
/// [`x_title`](Figure::x_title), [`legend_title`](Figure::legend_title).
///
/// ```
/// use eigenlens::plot::line;
/// line([("train", [0.9, 0.4, 0.2]), ("test", [1.0, 0.6, 0.5])])?.log_y()?.x_title("epoch").show();
/// # Ok::<(), eigenlens::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] if a series has no finite number. Single NaN and infinities are gaps.
pub fn line(y: impl IntoSeries) -> Result<Figure> {
    chart(y, Style::Line)
}

/// Draws bars at x = 0, 1, 2, …, named by [`Figure::x_labels`]; several series stand side by side.
///
/// Takes what [`line()`] takes.
///
/// ```
/// use eigenlens::plot::bar;
/// bar([("original", [0.96, 0.97]), ("sparse", [0.95, 0.97])])?.x_labels(["0", "1"])?.show();
/// # Ok::<(), eigenlens::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] if a series has no finite number. Single NaN and infinities are gaps.
pub fn bar(y: impl IntoSeries) -> Result<Figure> {
    chart(y, Style::Bars)
}

/// Draws points at `(x, y)`.
///
/// [`color_by`](Figure::color_by) colours them by a number, [`group_by`](Figure::group_by) by a
/// name, [`point_labels`](Figure::point_labels) names them one by one;
/// [`equal_axes`](Figure::equal_axes) and [`diagonal`](Figure::diagonal) help to compare x with y.
///
/// ```
/// use eigenlens::plot::scatter;
/// scatter([1.0, 2.0, 3.0], [1.0, 4.0, 9.0])?.group_by(["odd", "even", "odd"])?.show();
/// # Ok::<(), eigenlens::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if the lengths differ, [`Error::Invalid`] if no number is finite. Points with a
/// NaN or an infinity are left out.
pub fn scatter(x: impl IntoValues, y: impl IntoValues) -> Result<Figure> {
    let (x, y) = (x.into_values()?, y.into_values()?);
    drawable("x of scatter", &x)?;
    drawable("y of scatter", &y)?;
    if x.len() != y.len() {
        return Err(Error::shape("y of scatter", format!("{} values, as x", x.len()), y.len()));
    }
    let marks = vec![Mark::Series(Series::new(Style::Points, "", x, y))];
    Ok(Figure::single(Panel { marks, size: (460.0, 360.0), ..Panel::default() }))
}

fn chart(y: impl IntoSeries, style: Style) -> Result<Figure> {
    let series = y.into_series()?;
    if series.is_empty() {
        return Err(Error::invalid("the data of a chart", "at least one series", "none"));
    }
    let mut marks = Vec::with_capacity(series.len());
    for (name, y) in series {
        let what = if name.is_empty() { "the series".to_owned() } else { format!("series {name}") };
        drawable(&what, &y)?;
        let x = (0..y.len()).map(|i| i as f64).collect();
        marks.push(Mark::Series(Series::new(style, name, x, y)));
    }
    let mut panel = Panel { marks, size: SIZE, ..Panel::default() };
    panel.x.whole = true;
    Ok(Figure::single(panel))
}

impl Figure {
    /// Colours the points of a [`scatter`] by one number a point, with a colour bar.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one number per point, [`Error::Invalid`] if none is finite or
    /// for a figure without points. Points whose number is NaN are left out.
    pub fn color_by(mut self, values: impl IntoValues) -> Result<Self> {
        let values = values.into_values()?;
        drawable("color_by", &values)?;
        let axis = self.colours.len();
        self.one_a_point("color_by", values.len(), |series| {
            series.shades = Some((axis, values.clone()));
        })?;
        self.colours.push(ColourAxis::default());
        self.root.bar = Some(axis);
        Ok(self)
    }

    /// Names the points of a [`scatter`]; a name shows on hovering.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one name a point, [`Error::Invalid`] for a figure without
    /// points.
    pub fn point_labels(mut self, labels: impl IntoIterator<Item = impl Display>) -> Result<Self> {
        let labels: Vec<String> = labels.into_iter().map(|l| l.to_string()).collect();
        self.one_a_point("point_labels", labels.len(), |series| {
            series.texts = Some(labels.clone());
        })?;
        Ok(self)
    }

    /// Splits the points of a [`scatter`] by one name a point: a colour and a legend entry each, in
    /// order of first appearance. Comes after [`point_labels`](Self::point_labels).
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one name a point, [`Error::Invalid`] for a figure without
    /// points.
    pub fn group_by(mut self, names: impl IntoIterator<Item = impl Display>) -> Result<Self> {
        let names: Vec<String> = names.into_iter().map(|n| n.to_string()).collect();
        self.one_a_point("group_by", names.len(), |_| {})?;
        self.root.each_panel_mut(&mut |panel| {
            let marks = std::mem::take(&mut panel.marks);
            panel.marks = marks.into_iter().flat_map(|mark| split(mark, &names)).collect();
        });
        Ok(self)
    }

    /// Changes the point series, once it is sure that each has `count` points.
    fn one_a_point(
        &mut self,
        what: &str,
        count: usize,
        mut change: impl FnMut(&mut Series),
    ) -> Result<()> {
        let mut lengths = Vec::new();
        self.root.each_panel(&mut |panel| {
            lengths.extend(panel.series().filter(|s| s.style == Style::Points).map(|s| s.x.len()));
        });
        match lengths.iter().find(|&&n| n != count) {
            _ if lengths.is_empty() => {
                Err(Error::invalid(what, "used on a scatter chart", "a figure without points"))
            }
            Some(n) => Err(Error::shape(what, format!("{n} values, one a point"), count)),
            None => {
                self.root.each_panel_mut(&mut |panel| {
                    panel.series_mut().filter(|s| s.style == Style::Points).for_each(&mut change);
                });
                Ok(())
            }
        }
    }
}

/// A point series as one series a name.
fn split(mark: Mark, names: &[String]) -> Vec<Mark> {
    let Mark::Series(series) = mark else { return vec![mark] };
    if series.style != Style::Points {
        return vec![Mark::Series(series)];
    }
    let mut groups: Vec<&String> = Vec::new();
    for name in names {
        if !groups.contains(&name) {
            groups.push(name);
        }
    }
    let part = |group: &String| {
        let of = |i: &usize| &names[*i] == group;
        let members: Vec<usize> = (0..names.len()).filter(of).collect();
        let pick = |values: &[f64]| members.iter().map(|&i| values[i]).collect::<Vec<f64>>();
        let mut part = Series::new(Style::Points, group, pick(&series.x), pick(&series.y));
        part.texts = series.texts.as_ref().map(|t| members.iter().map(|&i| t[i].clone()).collect());
        part.shades = series.shades.as_ref().map(|(axis, values)| (*axis, pick(values)));
        let ends = series.error_bars.as_ref();
        part.error_bars = ends.map(|own| Envelope { low: pick(&own.low), high: pick(&own.high) });
        Mark::Series(part)
    };
    groups.into_iter().map(part).collect()
}
