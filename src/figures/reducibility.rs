//! Why points in the plane are reducible, or not.

use std::f64::consts::LN_2;

use crate::Result;
use crate::geometry::Reducibility;
use crate::plot::{Figure, IntoValues, Mark, Node, Panel, PanelBlock, SERIES, Series, Style};

/// Bars of the histogram.
const BARS: usize = 100;
/// Side of the plotting area with the points, and height of the others.
const SIDE: f64 = 260.0;
const CLOUD: &str = SERIES[0];
/// The axes of least information, and the information.
const AXES: &str = SERIES[2];
/// The curve with its bias taken away, and that of bins of equal width.
const CORRECTED: &str = SERIES[3];
const EQUAL: &str = SERIES[6];
/// The band, and where it is in the histogram.
const BAND: &str = SERIES[4];

impl Reducibility {
    /// Draws three panels: the points with the best band (orange red) and the axes of least information
    /// (green, dashed); the histogram of the points across the band, in units of their root mean square
    /// distance from its middle; and below them the mutual information of the coordinates at every rotation.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if a curve cannot be read.
    pub fn plot(&self) -> Result<Figure> {
        let points = PanelBlock::of(vec![self.cloud(), self.across()], 2);
        let curves = PanelBlock::of(vec![self.information()?], 1);
        let items = vec![Node::Block(points), Node::Block(curves)];
        Ok(Figure::of(PanelBlock { items, columns: 1, ..PanelBlock::default() }, Vec::new()))
    }

    fn cloud(&self) -> Panel {
        let [x, y] = self.coordinates();
        let ends = |values: &[f64]| {
            values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| {
                (low.min(v), high.max(v))
            })
        };
        let (wide, tall) = (ends(x), ends(y));
        let half = (wide.1 - wide.0).max(tall.1 - tall.0) * 0.54;
        let middle = [(wide.0 + wide.1) / 2.0, (tall.0 + tall.1) / 2.0];
        let points = Series::new(Style::Points, "", x.to_vec(), y.to_vec()).ink(CLOUD);
        let mut marks = vec![Mark::Series(points)];
        let angle = self.separability().angle();
        let mean = [x, y].map(|values| values.iter().sum::<f64>() / values.len() as f64);
        for turn in [angle, angle + std::f64::consts::FRAC_PI_2] {
            marks.push(segment(mean, turn, half, AXES, 1));
        }
        let band = self.mixture().best();
        for side in [-1.0, 1.0] {
            // A line n·x = s, from its point nearest to the middle of the panel.
            let [n, m] = band.normal;
            let s = side * band.half_width() - band.offset;
            let away = s - n * middle[0] - m * middle[1];
            let foot = [middle[0] + away * n, middle[1] + away * m];
            marks.push(segment(
                foot,
                m.atan2(n) + std::f64::consts::FRAC_PI_2,
                1.5 * half,
                BAND,
                0,
            ));
        }
        let mut panel = Panel { marks, size: (SIDE, SIDE), ..Panel::default() };
        panel.title = Some("best band, least dependent axes".into());
        panel.x.range = Some((middle[0] - half, middle[0] + half));
        panel.y.range = Some((middle[1] - half, middle[1] + half));
        panel.x.title = Some("dimension 1".into());
        panel.y.title = Some("dimension 2".into());
        panel
    }

    fn across(&self) -> Panel {
        let band = self.mixture().best();
        let [x, y] = self.coordinates();
        let places: Vec<f64> = x.iter().zip(y).map(|(&x, &y)| band.place([x, y])).collect();
        let low = places.iter().copied().fold(-band.epsilon, f64::min);
        let high = places.iter().copied().fold(band.epsilon, f64::max);
        let width = (high - low) / BARS as f64;
        let mut counts = vec![0.0; BARS];
        for place in &places {
            counts[(((place - low) / width) as usize).min(BARS - 1)] += 1.0;
        }
        let centres = (0..BARS).map(|i| low + (i as f64 + 0.5) * width).collect();
        let top = counts.iter().copied().fold(1.0, f64::max) * 1.06;
        let mut marks =
            vec![Mark::Series(Series::new(Style::Bars, "", centres, counts).ink(CLOUD))];
        for side in [-band.epsilon, band.epsilon] {
            let edge = Series::new(Style::Line, "", vec![side, side], vec![0.0, top]).ink(BAND);
            marks.push(Mark::Series(Series { dotted: false, ..edge }));
        }
        let mut panel = Panel { marks, size: (SIDE, SIDE), ..Panel::default() };
        panel.title = Some(format!(
            "mixture index {:.3}, best band {:.3}",
            self.mixture().index(),
            band.fraction
        ));
        panel.y.range = Some((0.0, top));
        panel.x.title = Some("place across the band, in σ".into());
        panel.y.title = Some("points".into());
        panel
    }

    fn information(&self) -> Result<Panel> {
        let bits = |nats: candle_core::Tensor| -> Result<Vec<f64>> {
            Ok(nats.into_values()?.iter().map(|v| v / LN_2).collect())
        };
        let degrees = |angles: candle_core::Tensor| -> Result<Vec<f64>> {
            Ok(angles.into_values()?.iter().map(|angle| angle.to_degrees()).collect())
        };
        let (fixed, equal) = (self.separability(), self.separability_equal_width());
        let size = |bins: usize| format!("{bins} × {bins} bins");
        let line = |name: String, x: Vec<f64>, y: Vec<f64>, ink, form| {
            Mark::Series(Series::new(Style::Line, name, x, y).looks(ink, form))
        };
        let angles = degrees(fixed.angles()?)?;
        let corrected = bits(fixed.corrected_curve()?)?;
        let marks = vec![
            line(size(fixed.binning().bins), angles.clone(), bits(fixed.curve()?)?, AXES, 0),
            line("bias-corrected".into(), angles, corrected, CORRECTED, 1),
            line(
                size(equal.binning().bins),
                degrees(equal.angles()?)?,
                bits(equal.curve()?)?,
                EQUAL,
                2,
            ),
            Mark::Series(
                Series::new(
                    Style::Points,
                    "least",
                    vec![fixed.angle().to_degrees()],
                    vec![fixed.index()],
                )
                .ink(AXES),
            ),
        ];
        let mut panel = Panel { marks, size: (2.0 * SIDE, 0.75 * SIDE), ..Panel::default() };
        let all = panel.series().flat_map(|series| series.y.iter().copied());
        let (low, high) =
            all.fold((0f64, 0.01f64), |(low, high), bits| (low.min(bits), high.max(bits)));
        panel.title = Some(format!("separability index {:.3} bits", fixed.index()));
        panel.x.range = Some((0.0, 360.0));
        panel.y.range = Some((1.08 * low, 1.08 * high));
        panel.x.title = Some("rotation, degrees".into());
        panel.y.title = Some("mutual information, bits".into());
        Ok(panel)
    }
}

/// A line through `at` along `angle`, `half` to both sides, with the dashes of series `form`.
fn segment(at: [f64; 2], angle: f64, half: f64, ink: &'static str, form: usize) -> Mark {
    let (sin, cos) = angle.sin_cos();
    let ends = [-half, half];
    let x = ends.map(|t| at[0] + t * cos).to_vec();
    let y = ends.map(|t| at[1] + t * sin).to_vec();
    let line = Series::new(Style::Line, "", x, y).looks(ink, form);
    Mark::Series(Series { dotted: false, ..line })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Cloud, MixtureOptions};

    #[test]
    fn three_panels_show_band_and_least_angle() {
        let points = Cloud::Lines.points(500, 0).unwrap();
        let options = MixtureOptions { steps: 200, directions: 600, ..MixtureOptions::default() };
        let result = Reducibility::with(&points, &options).unwrap();
        let figure = result.plot().unwrap();
        let mut panels = Vec::new();
        figure.root.each_panel(&mut |panel| panels.push(panel));
        assert_eq!(panels.len(), 3);
        // Every point of the two lines is ε from the middle of the band.
        let band = result.mixture().best();
        let red: Vec<&Series> =
            panels[0].series().filter(|s| s.look.is_some_and(|look| look.ink == BAND)).collect();
        for line in &red {
            for (&x, &y) in line.x.iter().zip(&line.y) {
                assert!((band.place([x, y]).abs() - band.epsilon).abs() < 1e-9);
            }
        }
        assert_eq!(red.len(), 2);
        let bars = panels[1].series().next().unwrap();
        assert_eq!(bars.y.iter().sum::<f64>(), 500.0);
        let least = panels[2].series().last().unwrap();
        assert!((least.y[0] - result.separability().index()).abs() < 1e-12);
        assert!(figure.to_svg().contains("separability index"));
    }
}
