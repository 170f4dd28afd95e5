//! Points that tell where they come from: texts that all panels of a figure share.
//!
//! A text a point, in each of several panels, would make a notebook many times as large as its
//! numbers do. Here a text stands once in the figure, in plotly's template for traces: the i-th trace
//! of a type takes the (i mod groups)-th template. So panels have their groups in the same order, and
//! no other traces of that type among them.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use super::figure::Figure;
use super::panel::Mark;
use super::point_texts::{HoverText, Thinned, ToldPoints};

fn pick<T: Clone>(values: &[T], shown: &[u32]) -> Vec<T> {
    shown.iter().filter_map(|at| values.get(*at as usize).cloned()).collect()
}

impl Figure {
    /// The figure as a notebook shows it, with no more points than each group is to show.
    pub(super) fn thinned(&self) -> Cow<'_, Self> {
        let is_whole = |own: &ToldPoints| own.shown.len() == own.texts.len();
        if self.told.iter().all(is_whole) {
            return Cow::Borrowed(self);
        }
        let mut thin = self.clone();
        let groups = std::mem::take(&mut thin.told);
        thin.root.each_panel_mut(&mut |panel| {
            for mark in &mut panel.marks {
                match mark {
                    Mark::Series(series) => {
                        let Some(own) = series.told.and_then(|group| groups.get(group)) else {
                            continue;
                        };
                        series.x = pick(&series.x, &own.shown);
                        series.y = pick(&series.y, &own.shown);
                        if let Some((_, shades)) = &mut series.shades {
                            *shades = pick(shades, &own.shown);
                        }
                    }
                    Mark::Space(space) => {
                        if let Some(own) = space.told.and_then(|group| groups.get(group)) {
                            space.places = pick(&space.places, &own.shown);
                        }
                    }
                    Mark::Image(_) | Mark::Plotly(_) => {}
                }
            }
        });
        let all = groups.iter().map(|own| own.texts.len()).sum();
        let shown = groups.iter().map(|own| own.shown.len()).sum();
        thin.thinned = Some(Thinned { shown, all });
        thin.told = groups
            .into_iter()
            .map(|own| {
                let texts: Arc<[HoverText]> = pick(&own.texts, &own.shown).into();
                ToldPoints { shown: (0..texts.len() as u32).collect(), texts }
            })
            .collect();
        Cow::Owned(thin)
    }

    /// The figure as a part of another: what is shown of its points, with texts of their own.
    pub(super) fn with_own_texts(&self) -> Self {
        let mut own = self.thinned().into_owned();
        let groups = std::mem::take(&mut own.told);
        own.root.each_panel_mut(&mut |panel| {
            for series in panel.series_mut() {
                if let Some(group) = series.told.take().and_then(|group| groups.get(group)) {
                    series.texts = Some(group.texts.iter().map(HoverText::plain).collect());
                }
            }
            for mark in &mut panel.marks {
                if let Mark::Space(space) = mark {
                    space.told = None;
                }
            }
        });
        own
    }

    /// Plotly's templates for the traces whose points tell, if there are such.
    pub(super) fn templates(&self) -> Option<Value> {
        let (mut flat, mut deep) = (false, false);
        self.root.each_panel(&mut |panel| {
            flat |= panel.series().any(|series| series.told.is_some());
            deep |= panel.spaces().any(|space| space.told.is_some());
        });
        if self.told.is_empty() || !(flat || deep) {
            return None;
        }
        let group = |own: &ToldPoints| json!({"hovertext": own.texts.iter().map(HoverText::html).collect::<Vec<_>>()});
        let groups: Vec<Value> = self.told.iter().map(group).collect();
        let kind = if deep { "scatter3d" } else { "scatter" };
        Some(json!({"data": {kind: groups}}))
    }
}

#[cfg(test)]
mod tests {
    use super::super::panel::{Panel, PanelBlock, Series, Style};
    use super::*;

    fn told(count: usize, shown: &[u32], word: &str) -> ToldPoints {
        let text = |i| HoverText {
            before: format!("{i} < "),
            bold: word.to_owned(),
            after: " & more".to_owned(),
        };
        ToldPoints { texts: (0..count).map(text).collect(), shown: shown.into() }
    }

    /// Two panels of two groups.
    fn figure() -> Figure {
        let panel = || {
            let series = |group: usize, count: usize| {
                let x: Vec<f64> = (0..count).map(|i| i as f64).collect();
                let points = Series::new(Style::Points, "", x.clone(), x);
                Mark::Series(Series { told: Some(group), ..points })
            };
            Panel {
                marks: vec![series(0, 5), series(1, 3)],
                size: (90.0, 90.0),
                ..Panel::default()
            }
        };
        let mut figure = Figure::of(PanelBlock::of(vec![panel(), panel()], 2), Vec::new());
        figure.told = vec![told(5, &[0, 2, 4], "<b>"), told(3, &[1], "Monday")];
        figure
    }

    #[test]
    fn texts_stand_once_and_are_escaped() {
        let json: Value = serde_json::from_str(&figure().to_json()).unwrap();
        let groups = json["layout"]["template"]["data"]["scatter"].as_array().unwrap();
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0]["hovertext"].as_array().unwrap().len(), 3);
        assert_eq!(groups[0]["hovertext"][1], "2 &lt; <b>&lt;b&gt;</b> &amp; more");
        assert_eq!(groups[1]["hovertext"][0], "1 &lt; <b>Monday</b> &amp; more");
        // Each panel's traces come in the order of the groups.
        let traces = json["data"].as_array().unwrap();
        assert_eq!(traces.len(), 4);
        for (at, trace) in traces.iter().enumerate() {
            assert_eq!(trace["x"].as_array().unwrap().len(), [3, 1][at % 2]);
            assert!(trace.get("hovertext").is_none(), "not again in a trace");
            assert!(trace["hovertemplate"].as_str().unwrap().starts_with("%{hovertext}<br>"));
        }
        assert_eq!(traces[0]["x"], json!([0.0, 2.0, 4.0]));
        assert_eq!(figure().to_json().matches("Monday").count(), 1);
        assert!(figure().to_string().contains("4 of 8 points are shown"), "{}", figure());
    }

    #[test]
    fn a_file_has_all_points() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloud.html");
        figure().save_html(&path).unwrap();
        let html = std::fs::read_to_string(path).unwrap();
        let start = html.find("const figure = ").unwrap();
        let json = html[start..].lines().next().unwrap();
        assert!(json.contains("[0.0,1.0,2.0,3.0,4.0]") && json.matches("Monday").count() == 3);
        assert!(!json.contains("points are shown"));
    }

    #[test]
    fn parts_of_a_grid_have_texts_of_their_own() {
        let both = crate::plot::beside([figure(), figure()]).unwrap();
        assert!(both.told.is_empty());
        let json: Value = serde_json::from_str(&both.to_json()).unwrap();
        assert!(json["layout"].get("template").is_none());
        assert_eq!(json["data"][1]["hovertext"], json!(["1 &lt; «Monday» &amp; more"]));
    }
}
