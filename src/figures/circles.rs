//! Words on circles: where a model has them, and what it answers when they are moved.

use candle_core::Tensor;

use crate::cyclic::{Interventions, PatchOutcome, PlaneSweep, Streams};
use crate::geometry::Interval;
use crate::plot::{Figure, Mark, Panel, PanelBlock, SERIES, Series, Style};
use crate::{Error, Result};

/// Side of the panel of a layer, and of a sweep.
const SMALL: f64 = 200.0;
const LARGE: f64 = 330.0;
/// Size of a panel with lines over layers.
const LINES: (f64, f64) = (400.0, 320.0);
/// Panels in a row.
const COLUMNS: usize = 3;
/// The line from each class to the next.
const PATH: &str = SERIES[6];

impl Streams {
    /// Draws the activations of layers on their first two principal components, a panel a layer, in
    /// a colour and a symbol for each class; a panel's title says how much of the variance they hold. A
    /// line goes through the means of the classes in their order, so that a circle is a loop that does
    /// not cross itself.
    ///
    /// # Errors
    /// No layers; as [`Streams::pca`].
    pub fn plot(&self, layers: &[usize]) -> Result<Figure> {
        if layers.is_empty() {
            return Err(Error::invalid("the layers of a figure", "at least one", "none"));
        }
        // The legend stands to the right of the last column.
        let named = layers.len().min(COLUMNS) - 1;
        let panels = layers.iter().enumerate().map(|(at, &layer)| {
            let parts = self.pca(layer, 2)?;
            let share: f64 = parts.explained.iter().sum();
            let mut panel = self.panel(&parts.scores, at == named)?;
            panel.title = Some(format!("layer {layer}, {:.0} %", 100.0 * share));
            Ok(panel)
        });
        let panels: Vec<Panel> = panels.collect::<Result<_>>()?;
        Ok(Figure::of(PanelBlock::of(panels, COLUMNS), Vec::new()))
    }

    /// Points of two coordinates by class; the classes are in the legend if they are `named`.
    fn panel(&self, scores: &Tensor, named: bool) -> Result<Panel> {
        let scores: Vec<Vec<f64>> = scores.to_vec2()?;
        let mut marks = Vec::new();
        let (mut path_x, mut path_y) = (Vec::new(), Vec::new());
        for (class, name) in self.class_names().iter().enumerate() {
            let own = self.class_of().iter().zip(&scores).filter(|(of, _)| **of == class);
            let (x, y): (Vec<f64>, Vec<f64>) = own.map(|(_, row)| (row[0], row[1])).unzip();
            if x.is_empty() {
                continue;
            }
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            path_x.push(mean(&x));
            path_y.push(mean(&y));
            let texts = vec![name.clone(); x.len()];
            let points = Series::new(Style::Points, if named { name } else { "" }, x, y);
            let points = points.looks(SERIES[class % SERIES.len()], class);
            marks.push(Mark::Series(Series { texts: Some(texts), ..points }));
        }
        path_x.extend(path_x.first().copied());
        path_y.extend(path_y.first().copied());
        let path = Series::new(Style::Line, "", path_x, path_y).ink(PATH);
        marks.insert(0, Mark::Series(Series { dotted: false, ..path }));
        Ok(Panel { marks, size: (SMALL, SMALL), equal: true, ..Panel::default() })
    }
}

impl Interventions {
    /// Draws two panels with a line for each patch over layers: the mean logit difference, and the
    /// share of changes after which the model gives the answer that was asked for. The bands are
    /// bootstraps over the words that problems start from.
    ///
    /// # Errors
    /// [`Error::Invalid`] if nothing was run.
    pub fn plot(&self) -> Result<Figure> {
        if self.outcomes().is_empty() {
            return Err(Error::invalid("the interventions", "at least one that was run", "none"));
        }
        let mut lines: Vec<(String, Vec<&PatchOutcome>)> = Vec::new();
        for outcome in self.outcomes() {
            let name = outcome.patch.to_string();
            match lines.iter_mut().find(|(other, _)| *other == name) {
                Some((_, outcomes)) => outcomes.push(outcome),
                None => lines.push((name, vec![outcome])),
            }
        }
        for (_, outcomes) in &mut lines {
            outcomes.sort_by_key(|outcome| outcome.layer);
        }
        let differences = panel_of_lines(&lines, "mean logit difference", false, |outcome| {
            outcome.difference_by_start
        });
        let successes =
            panel_of_lines(&lines, "share of new answers", true, |outcome| outcome.success);
        Ok(Figure::of(PanelBlock::of(vec![differences, successes], 2), Vec::new()))
    }
}

/// A line with a band for each patch; the patches are in the legend if they are `named`.
fn panel_of_lines(
    lines: &[(String, Vec<&PatchOutcome>)],
    title: &str,
    named: bool,
    value: impl Fn(&PatchOutcome) -> Interval,
) -> Panel {
    let marks = lines.iter().enumerate().map(|(at, (name, outcomes))| {
        let values: Vec<_> = outcomes.iter().map(|outcome| value(outcome)).collect();
        let x = outcomes.iter().map(|outcome| outcome.layer as f64).collect();
        let y = values.iter().map(|value| value.mean).collect();
        let line = Series::new(Style::Line, if named { name } else { "" }, x, y);
        let ends = values.iter().map(|value| (value.lower, value.upper)).unzip();
        Mark::Series(line.looks(SERIES[at % SERIES.len()], at).banded(ends))
    });
    let mut panel = Panel { marks: marks.collect(), size: LINES, ..Panel::default() };
    panel.x.title = Some("patched before layer".into());
    panel.x.whole = true;
    panel.y.title = Some(title.into());
    panel
}

impl PlaneSweep {
    /// Draws the model's answer at every point of the plane, and beside it the right one. The mouse
    /// over a point shows its word, and by how much the word leads.
    ///
    /// # Errors
    /// None for a sweep that was run.
    pub fn plot(&self) -> Result<Figure> {
        let margins = self.margin.iter().map(|margin| format!(", {margin:.2} ahead"));
        let answers = self.panel("what the model answers", &self.best, margins, false)?;
        let none = self.truth.iter().map(|_| String::new());
        let truth = self.panel("what is right", &self.truth, none, true)?;
        Ok(Figure::of(PanelBlock::of(vec![answers, truth], 2), Vec::new()))
    }

    fn panel(
        &self,
        title: &str,
        words: &[usize],
        notes: impl Iterator<Item = String>,
        named: bool,
    ) -> Result<Panel> {
        let points: Vec<Vec<f64>> = self.points.to_vec2()?;
        let texts: Vec<String> = words
            .iter()
            .zip(notes)
            .map(|(word, note)| self.words()[*word].clone() + &note)
            .collect();
        let marks = self.words().iter().enumerate().filter_map(|(word, name)| {
            let own: Vec<usize> = (0..points.len()).filter(|at| words[*at] == word).collect();
            if own.is_empty() && !named {
                return None;
            }
            let along = |axis: usize| own.iter().map(|at| points[*at][axis]).collect();
            let name = if named { name } else { "" };
            let dots = Series::new(Style::Points, name, along(0), along(1));
            let texts = own.iter().map(|at| texts[*at].clone()).collect();
            let dots = dots.looks(SERIES[word % SERIES.len()], word);
            Some(Mark::Series(Series { texts: Some(texts), ..dots }))
        });
        let mut panel = Panel { marks: marks.collect(), size: (LARGE, LARGE), ..Panel::default() };
        panel.equal = true;
        panel.title = Some(title.into());
        Ok(panel)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use serde_json::Value;

    use super::*;
    use crate::cyclic::{
        CircleReading, CorpusOptions, CyclicCorpus, InterveneOptions, Patch, Problems,
        PromptOptions, Role, SweepOptions,
    };
    use crate::geometry::ProbeOptions;
    use crate::model::{Config, Decoder};

    /// A model with random weights, and the weekdays of one step.
    fn model_and_problems() -> (Decoder, Problems) {
        let options = CorpusOptions { tokens: 1_000, ..CorpusOptions::weekdays() };
        let corpus = CyclicCorpus::write(&options).unwrap();
        let vocab = corpus.tokenizer().vocab();
        let config = Config { vocab, context: 16, ..Config::llama(2, 2, 8, 16) };
        let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
        let model = model.with_tokenizer(corpus.tokenizer()).unwrap();
        let prompts = PromptOptions { bos: true, ..PromptOptions::default() };
        let problems = corpus.task().problems(&model, &prompts).unwrap();
        (model, problems)
    }

    fn traces(figure: &Figure) -> Vec<Value> {
        let json: Value = serde_json::from_str(&figure.to_json()).unwrap();
        json["data"].as_array().unwrap().clone()
    }

    #[test]
    fn circles_and_their_patches_are_drawn() {
        let (model, problems) = model_and_problems();
        let streams = problems.activations(&model, Role::Start).unwrap();
        assert_eq!(streams.class_names()[6], "Sunday");
        let figure = streams.plot(&[0, 1]).unwrap();
        // A panel has a path and seven words, of which the last panel's are in the legend.
        let data = traces(&figure);
        assert_eq!(data.len(), 16);
        assert_eq!(data[0]["x"].as_array().unwrap().len(), 8, "the path is closed");
        assert_eq!(data[0]["x"][0], data[0]["x"][7]);
        assert!(data[9]["name"].as_str().unwrap().contains("Monday"), "{}", data[9]);
        assert!(streams.plot(&[]).is_err() && streams.plot(&[9]).is_err());

        let reading = CircleReading::Direct(ProbeOptions { components: Some(2) });
        let patches = vec![Patch::None, Patch::Circle];
        let options = InterveneOptions { patches, reading, ..InterveneOptions::default() };
        let found = Interventions::run(&model, &problems, &streams, &options).unwrap();
        let data = traces(&found.plot().unwrap());
        let is_circle =
            |trace: &&Value| trace["name"].as_str().is_some_and(|name| name.contains(">circle<"));
        let circle = data.iter().find(is_circle).unwrap();
        let own = found.get(1, &Patch::Circle).unwrap();
        assert_eq!(circle["y"][1].as_f64().unwrap(), own.success.mean);
        assert_eq!(circle["x"].as_array().unwrap().len(), 3, "before two layers and after");
    }

    #[test]
    fn a_sweep_has_the_right_answers_beside_it() {
        let (model, problems) = model_and_problems();
        let streams = problems.activations(&model, Role::Start).unwrap();
        let radii = vec![0.0, 1.0];
        let options = SweepOptions { radii, angles: 14, ..SweepOptions::default() };
        let sweep = PlaneSweep::run(&model, &problems, &streams, &options).unwrap();
        let data = traces(&sweep.plot().unwrap());
        let drawn = |traces: &[Value]| -> usize {
            traces.iter().map(|trace| trace["x"].as_array().map_or(0, Vec::len)).sum()
        };
        assert_eq!(drawn(&data), 2 * 28);
        let truth = &data[data.len() - 7..];
        assert!(truth[0]["name"].as_str().unwrap().contains("Monday"), "{}", truth[0]);
        assert_eq!(drawn(truth), 28);
        assert!(data[0]["hovertext"][0].as_str().unwrap().contains("ahead"), "{}", data[0]);
    }
}
