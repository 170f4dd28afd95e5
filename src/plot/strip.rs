//! Groups of values side by side: every value a point, and a box from quartile to quartile.

use super::figure::Figure;
use super::gaps::gap;
use super::palette::SERIES;
use super::panel::{Mark, Panel, Series, Style};
use super::values::IntoSeries;
use crate::{Error, Result};

/// Plotting area: height, width of a place, and least and largest width of all.
const HEIGHT: f64 = 300.0;
const PLACE: f64 = 110.0;
const WIDTHS: (f64, f64) = (260.0, 700.0);
/// How much of a place its groups take, and how much of a group its box and its points.
const GROUPS: f64 = 0.84;
const BOX: f64 = 0.86;
const POINTS: f64 = 0.6;
/// Fewer values than this have no box: their quartiles would be the values.
const BOXED: usize = 4;
/// The golden ratio spreads points evenly, however many there are.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// A value of a group, with what it tells under the mouse.
#[derive(Debug, Clone)]
pub(crate) struct StripPoint {
    pub(crate) value: f64,
    pub(crate) text: String,
}

/// A group at each place, in a colour and a symbol of their own.
#[derive(Debug, Clone)]
pub(crate) struct StripSeries {
    pub(crate) name: String,
    /// A group a place.
    pub(crate) groups: Vec<Vec<StripPoint>>,
}

/// Draws groups of values side by side: every value is a point, and of four values or more a box
/// reaches from the first to the third quartile, with a line at the median.
///
/// Takes pairs of name and numbers, or what else [`line()`](super::line()) takes; groups may differ
/// in size. Points of a group are spread in width so that they do not hide each other: where a point
/// is within its column says nothing.
///
/// ```
/// use eigenlens::plot::strip;
/// strip([("trained", vec![0.7, 0.8, 0.9]), ("random", vec![0.1, 0.2])])?.y_title("R²").show();
/// # Ok::<(), eigenlens::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] if no value is finite. Values that are not finite are left out.
pub fn strip(groups: impl IntoSeries) -> Result<Figure> {
    let groups = groups.into_series()?;
    let places = groups.iter().map(|(name, _)| name.clone()).collect();
    let group = |(name, values): (String, Vec<f64>)| -> Vec<StripPoint> {
        let point = |value| StripPoint { value, text: name.clone() };
        values.into_iter().map(point).collect()
    };
    let groups = groups.into_iter().map(group).collect();
    strips(places, vec![StripSeries { name: String::new(), groups }])
}

/// Draws several groups at each place, a colour and a symbol for the same group everywhere.
///
/// # Errors
/// [`Error::Invalid`] if no value is finite; [`Error::Shape`] unless every series has a group a place.
pub(crate) fn strips(places: Vec<String>, all: Vec<StripSeries>) -> Result<Figure> {
    if let Some(wrong) = all.iter().find(|series| series.groups.len() != places.len()) {
        let expected = format!("{} groups, one a place", places.len());
        return Err(Error::shape(&wrong.name, expected, wrong.groups.len()));
    }
    let width = GROUPS / all.len().max(1) as f64;
    let middle = |order: usize| (order as f64 + 0.5) * width - GROUPS / 2.0;
    let (mut boxes, mut points) = (Vec::new(), Vec::new());
    for (order, series) in all.into_iter().enumerate() {
        let (mut x, mut y, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        let ink = SERIES[order % SERIES.len()];
        for (place, group) in series.groups.into_iter().enumerate() {
            let centre = place as f64 + middle(order);
            let group: Vec<StripPoint> =
                group.into_iter().filter(|point| gap(point.value, false).is_none()).collect();
            let values: Vec<f64> = group.iter().map(|point| point.value).collect();
            boxes.extend(outline(centre, BOX * width / 2.0, values).map(|own| own.ink(ink)));
            for (at, point) in group.into_iter().enumerate() {
                let spread = (at as f64 * GOLDEN + 0.5).fract() - 0.5;
                x.push(centre + spread * POINTS * width);
                y.push(point.value);
                texts.push(point.text);
            }
        }
        if !y.is_empty() {
            let own = Series::new(Style::Points, series.name, x, y).looks(ink, order);
            points.push(Series { texts: Some(texts), ..own });
        }
    }
    if points.is_empty() {
        let expected = "at least one finite value";
        return Err(Error::invalid("the groups of a strip chart", expected, "none"));
    }
    let wide = (PLACE * places.len() as f64).clamp(WIDTHS.0, WIDTHS.1);
    let marks = boxes.into_iter().chain(points).map(Mark::Series).collect();
    let mut panel = Panel { marks, size: (wide, HEIGHT), ..Panel::default() };
    panel.x.whole = true;
    panel.x.range = Some((-0.5, places.len() as f64 - 0.5));
    panel.x.labels = Some(places);
    Ok(Figure::single(panel))
}

/// A box around `centre` from the first to the third quartile, with the median, in one stroke.
fn outline(centre: f64, half: f64, mut values: Vec<f64>) -> Option<Series> {
    if values.len() < BOXED {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let [low, median, high] = [0.25, 0.5, 0.75].map(|share| quantile(&values, share));
    let (left, right) = (centre - half, centre + half);
    let x = vec![left, right, right, left, left, right, right];
    let y = vec![median, median, high, high, low, low, median];
    let text =
        format!("median {median:.4}, quartiles {low:.4} and {high:.4}, of {} values", values.len());
    let texts = Some(vec![text; x.len()]);
    let line = Series::new(Style::Line, "", x, y);
    Some(Series { texts, dotted: false, ..line })
}

/// The quantile of sorted values, linear between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plot::tests::{json_of, message};

    #[test]
    fn every_value_is_a_point_within_its_column() -> Result<()> {
        let many: Vec<f64> = (0..50).map(f64::from).collect();
        let figure = strip([("a", many), ("b", vec![3.0, f64::NAN, 1.0])])?.y_title("R²");
        let json = json_of(&figure);
        // A box of the larger group, and the points of both.
        let data = json["data"].as_array().unwrap();
        assert_eq!(data.len(), 2);
        let x: Vec<f64> = serde_json::from_value(data[1]["x"].clone()).unwrap();
        let y: Vec<f64> = serde_json::from_value(data[1]["y"].clone()).unwrap();
        assert_eq!((x.len(), y[50], y[51]), (52, 3.0, 1.0));
        assert!(x[..50].iter().all(|x| x.abs() < 0.3), "{x:?}");
        assert!(x[50..].iter().all(|x| (x - 1.0).abs() < 0.3), "{x:?}");
        assert_eq!(data[1]["hovertext"][51], "b");
        assert_eq!(data[1]["hovertemplate"], "%{hovertext}<br>R² %{y:.4~g}<extra></extra>");
        assert_eq!(json["layout"]["xaxis"]["range"], json!([-0.5, 1.5]));
        let svg = figure.to_svg();
        assert!(svg.contains(">a<") && svg.contains(">b<"));
        Ok(())
    }

    #[test]
    fn a_box_goes_from_quartile_to_quartile() {
        let own = outline(2.0, 0.5, vec![4.0, 0.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(own.y, [2.0, 2.0, 3.0, 3.0, 1.0, 1.0, 2.0]);
        assert_eq!(own.x, [1.5, 2.5, 2.5, 1.5, 1.5, 2.5, 2.5]);
        assert_eq!(quantile(&[0.0, 10.0], 0.25), 2.5);
        assert!(outline(0.0, 0.5, vec![1.0, 2.0, 3.0]).is_none());
    }

    #[test]
    fn groups_at_one_place_stand_side_by_side() -> Result<()> {
        let group = |value| vec![StripPoint { value, text: "point".to_owned() }];
        let series = |name: &str, value| StripSeries {
            name: name.to_owned(),
            groups: vec![group(value), group(value)],
        };
        let places = vec!["x".to_owned(), "e".to_owned()];
        let json = json_of(&strips(places.clone(), vec![series("a", 1.0), series("b", 2.0)])?);
        let at = |trace: usize, point: usize| json["data"][trace]["x"][point].as_f64().unwrap();
        assert!(at(0, 0) < 0.0 && at(1, 0) > 0.0 && at(0, 1) < 1.0 && at(1, 1) > 1.0);
        assert_ne!(json["data"][0]["marker"]["symbol"], json["data"][1]["marker"]["symbol"]);
        let wrong = strips(places[..1].to_vec(), vec![series("a", 1.0)]);
        assert!(message(wrong).contains("1 groups, one a place"));
        assert!(message(strip([("a", [f64::NAN])])).contains("at least one finite value"));
        Ok(())
    }
}
