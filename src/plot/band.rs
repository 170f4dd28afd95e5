//! Intervals around lines.

use serde_json::{Value, json};

use super::figure::Figure;
use super::palette::{Look, see_through};
use super::panel::{Interval, Panel, Series, Style};
use super::plotly_text::numbered;
use super::values::IntoValues;
use super::vector::PathStep;
use crate::{Error, Result};

/// How much of what is behind a band is covered.
const OPACITY: f64 = 0.2;

impl Figure {
    /// Puts a band around the `series`-th line, from `low` to `high` at each of its points: an
    /// interval of confidence. It has the line's colour and lets what is behind it through.
    ///
    /// ```
    /// use eigenlens::plot::line;
    /// line([1.0, 0.5, 0.2])?.band(0, [0.9, 0.4, 0.1], [1.1, 0.6, 0.3])?.show();
    /// # Ok::<(), eigenlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if the figure has no such line, or if `low` is above `high` at a point;
    /// [`Error::Shape`] unless there are as many numbers as points. Where one is not finite, the band
    /// has a gap.
    pub fn band(
        mut self,
        series: usize,
        low: impl IntoValues,
        high: impl IntoValues,
    ) -> Result<Self> {
        let interval = Interval { low: low.into_values()?, high: high.into_values()? };
        let (mut lines, mut points) = (0, None);
        self.root.each_panel_mut(&mut |panel| {
            for line in panel.series_mut().filter(|own| own.style == Style::Line) {
                if lines == series {
                    points = Some(line.y.len());
                    line.band = Some(interval.clone());
                }
                lines += 1;
            }
        });
        let Some(points) = points else {
            let expected = format!("below {lines}, the lines of the figure");
            return Err(Error::invalid("the line of `band`", expected, series));
        };
        for (what, ends) in [("`low` of band", &interval.low), ("`high` of band", &interval.high)] {
            if ends.len() != points {
                return Err(Error::shape(
                    what,
                    format!("{points} values, one a point"),
                    ends.len(),
                ));
            }
        }
        let mut ends = interval.low.iter().zip(&interval.high);
        if let Some(at) = ends.position(|(low, high)| low > high) {
            let found = format!("{} above {} at point {at}", interval.low[at], interval.high[at]);
            return Err(Error::invalid("`low` of band", "not above `high`", found));
        }
        Ok(self)
    }
}

/// The corners of a band's parts between gaps: to the right along the upper end and back along the
/// lower.
fn outlines(series: &Series, panel: &Panel) -> Vec<Vec<(f64, f64)>> {
    let Some(Interval { low, high }) = &series.band else { return Vec::new() };
    let fits = |value: f64, log: bool| value.is_finite() && (!log || value > 0.0);
    let (x_log, y_log) = (panel.x.log, panel.y.log);
    let is_drawn =
        |i: &usize| fits(series.x[*i], x_log) && fits(low[*i], y_log) && fits(high[*i], y_log);
    let all: Vec<usize> = (0..series.x.len()).collect();
    let runs = all.chunk_by(|a, b| is_drawn(a) == is_drawn(b)).filter(|run| is_drawn(&run[0]));
    let outline = |run: &[usize]| {
        let above = run.iter().map(|i| (series.x[*i], high[*i]));
        above.chain(run.iter().rev().map(|i| (series.x[*i], low[*i]))).collect()
    };
    runs.map(outline).collect()
}

/// The bands of a panel as traces.
pub(super) fn traces(panel: &Panel, i: usize) -> Vec<Value> {
    let band = |(series, look): (&Series, Look)| {
        let outlines = outlines(series, panel);
        let (mut x, mut y): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
        for corner in outlines.iter().enumerate().flat_map(|(part, outline)| {
            let gap = (part > 0).then_some(None);
            gap.into_iter().chain(outline.iter().map(Some))
        }) {
            x.push(corner.map_or(Value::Null, |corner| json!(corner.0)));
            y.push(corner.map_or(Value::Null, |corner| json!(corner.1)));
        }
        (!x.is_empty()).then(|| {
            json!({
                "type": "scatter", "mode": "lines", "fill": "toself", "hoverinfo": "skip",
                "showlegend": false, "x": x, "y": y, "line": {"width": 0},
                "fillcolor": see_through(look.ink, OPACITY),
                "xaxis": numbered("x", i), "yaxis": numbered("y", i),
            })
        })
    };
    panel.looks().filter_map(band).collect()
}

/// The band of a series in a still picture, with its colour.
pub(super) fn steps(
    series: &Series,
    panel: &Panel,
    ink: &str,
    place: impl Fn(f64, f64) -> (f64, f64),
) -> Option<(Vec<PathStep>, String)> {
    let mut steps = Vec::new();
    for outline in outlines(series, panel) {
        for (at, (x, y)) in outline.into_iter().enumerate() {
            let (x, y) = place(x, y);
            steps.push(if at == 0 { PathStep::Move(x, y) } else { PathStep::Line(x, y) });
        }
        steps.push(PathStep::Close);
    }
    (!steps.is_empty()).then(|| (steps, see_through(ink, OPACITY)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::line;

    #[test]
    fn a_band_goes_round_its_line_and_widens_the_axis() {
        let figure = line(vec![("a", vec![1.0, 2.0, 3.0]), ("b", vec![0.0, 0.0, 0.0])]).unwrap();
        let figure = figure.band(0, [0.5, 1.5, 2.5], [1.5, 2.5, 9.0]).unwrap();
        let json: Value = serde_json::from_str(&figure.to_json()).unwrap();
        let band = &json["data"][2];
        assert_eq!(band["fill"], "toself");
        assert_eq!(band["x"], json!([0.0, 1.0, 2.0, 2.0, 1.0, 0.0]));
        assert_eq!(band["y"], json!([1.5, 2.5, 9.0, 2.5, 1.5, 0.5]));
        assert_eq!(band["fillcolor"], "rgba(0,114,178,0.2)");
        let mut top = 0.0;
        figure.root.each_panel(&mut |panel| top = panel.y_extent().1);
        assert!(top > 9.0, "{top}");
        assert!(figure.to_svg().contains("0.2"), "{}", figure.to_svg());
    }

    #[test]
    fn a_band_has_gaps_where_an_end_is_missing() {
        let figure = line([1.0, 2.0, 3.0, 4.0]).unwrap();
        let figure = figure.band(0, [0.0, f64::NAN, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0]).unwrap();
        let json: Value = serde_json::from_str(&figure.to_json()).unwrap();
        assert_eq!(json["data"][1]["x"], json!([0.0, 0.0, null, 2.0, 3.0, 3.0, 2.0]));
    }

    #[test]
    fn bands_that_cannot_be_are_named() {
        let figure = || line([1.0, 2.0]).unwrap();
        let message = |result: Result<Figure>| result.unwrap_err().to_string();
        assert!(message(figure().band(1, [0.0, 0.0], [1.0, 1.0])).contains("below 1, the lines"));
        assert!(message(figure().band(0, [0.0], [1.0, 1.0])).contains("2 values, one a point"));
        let crossed = message(figure().band(0, [0.0, 3.0], [1.0, 1.0]));
        assert!(crossed.contains("3 above 1 at point 1"), "{crossed}");
    }
}
