//! Clouds of features: their shape, and which of them are irreducible.

use crate::features::{Centring, CloudLabels, FeatureCloud};
use crate::plot::{
    ColourAxis, Figure, HoverText, Mark, Node, Panel, PanelBlock, SERIES, Series, Space, Style,
    ToldPoints, images, picture,
};
use crate::{Error, Result};

/// Side of a panel of the page, and of a plane by itself.
const SMALL: f64 = 170.0;
const LARGE: f64 = 400.0;
/// Panels in a row of the page, and beside a legend.
const COLUMNS: [usize; 2] = [4, 3];
/// Components of the page.
const COMPONENTS: usize = 5;
/// Points that a notebook shows.
const SHOWN: usize = 2_000;
/// Pixels across a dot in three dimensions.
const DOT: f64 = 3.5;
/// Labels that have a colour and a symbol each; of more, a scale has the colours.
const NAMED: usize = 12;
/// Points without a label.
const REST: &str = SERIES[6];

/// Points of one colour.
struct PointGroup {
    name: String,
    points: Vec<usize>,
    /// The label, if there is one.
    label: Option<usize>,
    /// The place of each point on a scale of labels, if there is one.
    shades: Vec<f64>,
}

impl FeatureCloud {
    /// Draws what there is to see of it in eight panels: the cosines of its decoder columns; the
    /// singular values of these, and of what is left without their mean; the share of variance of
    /// each component; and the points on components 1 and 2, 2 and 3, … , with their colours by label.
    /// The mouse over a point shows its token in its context.
    ///
    /// A notebook shows 2,000 points, spread over labels (or tokens) as all are;
    /// [`Figure::save_html`] writes all.
    ///
    /// # Errors
    /// A cluster of one feature, or fewer than two points or dimensions; a text that cannot be read.
    pub fn plot(&self) -> Result<Figure> {
        let count = COMPONENTS.min(self.members().len()).min(self.columns().dims()[1]);
        let parts = self.pca(self.at_least_a_plane(count)?)?;
        let scores: Vec<Vec<f64>> = parts.scores.to_vec2()?;
        let mut heat = images("the cosines", &self.cosines()?, 0)?;
        let mut heat = picture(heat.swap_remove(0), SMALL);
        heat.title = Some("cosines of decoder columns".into());
        let singular = |centring, title: &str| -> Result<Panel> {
            Ok(bars(&self.singular_values(centring)?, title))
        };
        let heat = PanelBlock { bar: Some(0), ..PanelBlock::of(vec![heat], 1) };
        let mut panels = vec![
            singular(Centring::None, "singular values")?,
            singular(Centring::MeanVector, "without the mean column")?,
            bars(&parts.explained, "share of variance"),
        ];
        let groups = self.groups();
        let shades = self.has_scale();
        for first in 0..count - 1 {
            let is_last = first + 2 == count;
            panels.push(plane(&scores, first, first + 1, &groups, is_last, SMALL));
        }
        let has_legend = groups.len() > 1 && !shades;
        let mut root = PanelBlock::of(panels, COLUMNS[usize::from(has_legend)]);
        root.items.insert(0, Node::Block(heat));
        root.bar = shades.then_some(1);
        let scale = ColourAxis { range: Some((-1.0, 1.0)), ..ColourAxis::default() };
        let mut colours = vec![scale];
        colours.extend(shades.then(|| self.label_scale()));
        let mut figure = Figure::of(root, colours);
        figure.told = self.told(&groups)?;
        Ok(figure.title(self.name()))
    }

    /// Draws the points on components `i` and `j`, from 0, with their colours by label and one scale on
    /// both axes.
    ///
    /// # Errors
    /// Components that are one, or more than there can be; as [`FeatureCloud::plot`].
    pub fn plane(&self, i: usize, j: usize) -> Result<Figure> {
        if i == j {
            return Err(Error::invalid("the components of a plane", "two different ones", i));
        }
        let parts = self.pca(i.max(j) + 1)?;
        let scores: Vec<Vec<f64>> = parts.scores.to_vec2()?;
        let groups = self.groups();
        let shades = self.has_scale();
        let mut panel = plane(&scores, i, j, &groups, true, LARGE);
        panel.equal = true;
        let share =
            |at: usize| format!("component {} ({:.1} %)", at + 1, 100.0 * parts.explained[at]);
        (panel.x.title, panel.y.title) = (Some(share(i)), Some(share(j)));
        let mut root = PanelBlock::of(vec![panel], 1);
        root.bar = shades.then_some(1);
        // Of the two scales of a page, the labels' is the second.
        let colours = vec![ColourAxis { bar: false, ..ColourAxis::default() }, self.label_scale()];
        let mut figure = Figure::of(root, if shades { colours } else { Vec::new() });
        figure.told = self.told(&groups)?;
        Ok(figure.title(self.name()))
    }

    /// Draws the points on components 1, 2 and 3, to be turned with the mouse, with their colours by
    /// label.
    ///
    /// # Errors
    /// Fewer than three features, points or dimensions; more labels than colours, which is eight; a
    /// text that cannot be read.
    pub fn plot_3d(&self) -> Result<Figure> {
        let scores: Vec<Vec<f64>> = self.pca(3)?.scores.to_vec2()?;
        let groups = self.groups();
        if groups.len() > SERIES.len() {
            let expected = format!("at most {}, one a colour", SERIES.len() - 1);
            return Err(Error::invalid("the labels of points in 3-d", expected, groups.len() - 1));
        }
        let marks = groups.iter().enumerate().map(|(at, group)| {
            let places = group.points.iter().map(|i| [scores[*i][0], scores[*i][1], scores[*i][2]]);
            // The rest has the grey of the seventh series, which is no label's then.
            let ink = match group.label {
                Some(label) => SERIES[if label < 6 { label } else { label + 1 } % SERIES.len()],
                None if self.labels().is_some() => REST,
                None => SERIES[0],
            };
            let dots = Space::dots(&*group.name, places.collect(), ink, DOT);
            Mark::Space(Space { told: Some(at), ..dots })
        });
        let panel = Panel { marks: marks.collect(), size: (LARGE, LARGE), ..Panel::default() };
        let mut figure = Figure::single(panel);
        figure.told = self.told(&groups)?;
        Ok(figure.title(self.name()))
    }

    /// `count`, if that makes a plane.
    fn at_least_a_plane(&self, count: usize) -> Result<usize> {
        match count {
            0 | 1 => {
                let what = format!("the cloud of {}", self.name());
                let found = format!("{} features", self.members().len());
                Err(Error::invalid(what, "at least 2 features and dimensions, for a plane", found))
            }
            count => Ok(count),
        }
    }

    /// Whether labels are told apart by a scale, because they are many.
    fn has_scale(&self) -> bool {
        self.labels().is_some_and(|labels| labels.names().len() > NAMED)
    }

    /// The colours of many labels, from the first to the last.
    fn label_scale(&self) -> ColourAxis {
        let names = self.labels().map(CloudLabels::names).unwrap_or_default();
        let title = match names {
            [first, .., last] => Some(format!("{first} – {last}")),
            _ => None,
        };
        let range = Some((0.0, names.len().saturating_sub(1).max(1) as f64));
        ColourAxis { range, title, ..ColourAxis::default() }
    }

    /// The points by label, those without one first, so that the others lie above them.
    fn groups(&self) -> Vec<PointGroup> {
        let Some(labels) = self.labels() else {
            let points = (0..self.len()).collect();
            let shades = Vec::new();
            return vec![PointGroup { name: String::new(), points, label: None, shades }];
        };
        let of = |wanted: &dyn Fn(Option<u32>) -> bool| -> Vec<usize> {
            let all = labels.of_points().iter().enumerate();
            all.filter(|(_, label)| wanted(**label)).map(|(point, _)| point).collect()
        };
        let rest = of(&|label| label.is_none());
        let group = |name: &str, points, label| PointGroup {
            name: name.to_owned(),
            points,
            label,
            shades: Vec::new(),
        };
        let mut groups = vec![group("other", rest, None)];
        if self.has_scale() {
            let points = of(&|label| label.is_some());
            let shades = labels.of_points().iter().flatten().map(|label| f64::from(*label));
            let shades = shades.collect();
            groups.push(PointGroup { shades, ..group("", points, Some(0)) });
        } else {
            groups.extend(labels.names().iter().enumerate().map(|(label, name)| {
                let points = of(&|own| own == Some(label as u32));
                group(name, points, Some(label))
            }));
        }
        groups.retain(|group| !group.points.is_empty());
        groups
    }

    /// What the points of each group tell, and which of them a notebook shows.
    fn told(&self, groups: &[PointGroup]) -> Result<Vec<ToldPoints>> {
        let ids = self.token_ids().ok();
        let share = self.len().div_ceil(SHOWN).max(1);
        let group = |group: &PointGroup| {
            let texts = group.points.iter().map(|point| self.tells(*point));
            // Every `share`-th in the order of tokens: as many of each as there are among all.
            let mut order: Vec<u32> = (0..group.points.len() as u32).collect();
            if let Some(ids) = &ids {
                order.sort_by_key(|at| ids.get(group.points[*at as usize]));
            }
            let mut shown: Vec<u32> = order.into_iter().step_by(share).collect();
            shown.sort_unstable();
            Ok(ToldPoints { texts: texts.collect::<Result<_>>()?, shown: shown.into() })
        };
        groups.iter().map(group).collect()
    }

    /// What a point tells: its words if there is a text with a tokenizer, else its number.
    fn tells(&self, point: usize) -> Result<HoverText> {
        match self.context(point) {
            Ok(window) => {
                Ok(HoverText { before: window.before, bold: window.token, after: window.after })
            }
            Err(Error::NotFound { .. }) => Ok(HoverText {
                before: format!("token {}", self.tokens()[point]),
                bold: String::new(),
                after: String::new(),
            }),
            Err(other) => Err(other),
        }
    }
}

/// The points of all groups on two components; `named` groups are in the legend.
fn plane(
    scores: &[Vec<f64>],
    i: usize,
    j: usize,
    groups: &[PointGroup],
    named: bool,
    side: f64,
) -> Panel {
    let marks = groups.iter().enumerate().map(|(at, group)| {
        let along = |axis: usize| group.points.iter().map(|p| scores[*p][axis]).collect();
        let name = if named { group.name.as_str() } else { "" };
        let points = Series::new(Style::Points, name, along(i), along(j));
        let points = Series { told: Some(at), ..points };
        Mark::Series(match group.label {
            None if groups.len() > 1 => points.ink(REST),
            Some(_) if !group.shades.is_empty() => {
                Series { shades: Some((1, group.shades.clone())), ..points }
            }
            Some(label) => points.looks(SERIES[label % SERIES.len()], label),
            None => points,
        })
    });
    let mut panel = Panel { marks: marks.collect(), size: (side, side), ..Panel::default() };
    panel.title = Some(format!("components {} and {}", i + 1, j + 1));
    panel
}

/// Values from the largest down.
fn bars(values: &[f64], title: &str) -> Panel {
    let x = (1..=values.len()).map(|i| i as f64).collect();
    let marks = vec![Mark::Series(Series::new(Style::Bars, "", x, values.to_vec()))];
    let mut panel = Panel { marks, size: (SMALL, SMALL), ..Panel::default() };
    panel.title = Some(title.into());
    panel.x.whole = true;
    panel
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use serde_json::Value;

    use super::*;
    use crate::features::CloudOptions;
    use crate::sae::Codes;

    /// A ring of `count` points of three features.
    fn ring(count: usize) -> FeatureCloud {
        let rows = (0..count).map(|i| {
            let (sin, cos) = (i as f32).sin_cos();
            vec![(0, 2.0 * cos), (1, sin), (2, 0.1 * (3.0 * i as f32).sin())]
        });
        let codes = Codes::new(3, rows).unwrap();
        let decoder = Tensor::eye(4, DType::F32, &Device::Cpu).unwrap();
        let decoder = decoder.narrow(0, 0, 3).unwrap();
        let options = CloudOptions::default();
        FeatureCloud::from_codes(&codes, &decoder, &[0, 1, 2], &options).unwrap().named("ring <1>")
    }

    fn labelled(count: usize, labels: usize) -> FeatureCloud {
        let names = (0..labels).map(|i| format!("l{i}")).collect();
        let of = (0..count).map(|i| (i % 5 != 0).then_some((i % labels) as u32)).collect();
        ring(count).with_labels(names, of).unwrap()
    }

    fn json(figure: &Figure) -> Value {
        serde_json::from_str(&figure.to_json()).unwrap()
    }

    fn of_type<'a>(json: &'a Value, kind: &str) -> Vec<&'a Value> {
        json["data"].as_array().unwrap().iter().filter(|trace| trace["type"] == kind).collect()
    }

    #[test]
    fn a_page_has_its_panels_and_each_text_once() {
        let cloud = labelled(3_000, 7);
        let figure = cloud.plot().unwrap();
        let page = json(&figure);
        assert_eq!(of_type(&page, "heatmap").len(), 1);
        assert_eq!(of_type(&page, "bar").len(), 3);
        // Two planes of three components, of the rest and seven labels each.
        let points = of_type(&page, "scatter");
        assert_eq!(points.len(), 2 * 8);
        let texts = page["layout"]["template"]["data"]["scatter"].as_array().unwrap();
        assert_eq!(texts.len(), 8);
        let mut shown = 0;
        for (at, trace) in points.iter().enumerate() {
            let group = texts[at % 8]["hovertext"].as_array().unwrap();
            assert_eq!(trace["x"].as_array().unwrap().len(), group.len(), "{at}");
            shown += group.len();
        }
        assert!(shown / 2 <= SHOWN && shown / 2 > SHOWN / 2, "{shown}");
        assert!(figure.to_string().contains("of 3,000 points are shown"), "{figure}");
        assert!(figure.to_svg().contains("ring &lt;1&gt;"));
        let names: Vec<&Value> =
            points.iter().filter(|t| t["showlegend"] == true).copied().collect();
        assert_eq!(names.len(), 8, "one legend for both planes");
    }

    #[test]
    fn many_labels_have_a_scale() {
        let page = json(&labelled(300, 40).plot().unwrap());
        let points = of_type(&page, "scatter");
        assert_eq!(points.len(), 4);
        assert_eq!(points[1]["marker"]["coloraxis"], "coloraxis2");
        assert_eq!(page["layout"]["coloraxis2"]["cmax"], 39.0);
        let plane = json(&labelled(300, 40).plane(0, 2).unwrap());
        assert_eq!(of_type(&plane, "scatter")[1]["marker"]["coloraxis"], "coloraxis2");
    }

    #[test]
    fn planes_have_one_scale_and_three_components_turn() {
        let plane = json(&ring(50).plane(0, 1).unwrap());
        assert_eq!(plane["layout"]["yaxis"]["scaleanchor"], "x");
        let title = plane["layout"]["xaxis"]["title"]["text"].as_str().unwrap();
        assert!(title.contains("component 1 (") && title.contains(" %)"), "{title}");
        let space = json(&labelled(60, 3).plot_3d().unwrap());
        assert_eq!(of_type(&space, "scatter3d").len(), 4);
        let texts = &space["layout"]["template"]["data"]["scatter3d"];
        assert_eq!(texts[0]["hovertext"][0], "token 0");
    }

    #[test]
    fn figures_that_cannot_be_are_named() {
        let message = |result: Result<Figure>| result.unwrap_err().to_string();
        assert!(message(ring(50).plane(1, 1)).contains("two different"));
        assert!(message(ring(50).plane(0, 3)).contains("at most 3"));
        assert!(message(labelled(90, 9).plot_3d()).contains("at most 7"));
        let codes = Codes::new(1, (0..9).map(|i| vec![(0, i as f32)])).unwrap();
        let decoder = Tensor::new(&[[1f32, 2.0]], &Device::Cpu).unwrap();
        let one = FeatureCloud::from_codes(&codes, &decoder, &[0], &CloudOptions::default());
        assert!(message(one.unwrap().plot()).contains("at least 2 features"));
    }
}
