//! What a figure tells of the values that it leaves out: counted, and told below it.

use std::fmt::Write as _;

use super::figure::Figure;
use super::gaps::{Gap, cell_gap, gap};
use super::panel::{Axis, Mark, Panel, Series};
use super::point_texts::Thinned;
use crate::text::thousands;

/// More series than this are counted together.
const NAMED: usize = 3;

/// How many values are left out, and why.
#[derive(Debug, Clone, Copy, Default)]
struct GapTally {
    total: usize,
    counts: [usize; 4],
}

impl GapTally {
    fn add(&mut self, gap: Option<Gap>) {
        self.total += 1;
        if let Some(gap) = gap {
            self.counts[gap as usize] += 1;
        }
    }

    fn any(&self) -> bool {
        self.counts != [0; 4]
    }

    fn merge(mut self, other: Self) -> Self {
        self.total += other.total;
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self
    }

    /// One sentence a reason; `things` is what was counted: "values of train".
    fn sentences(&self, things: &str, left: &str) -> Vec<String> {
        let reasons = [
            (Gap::NotFinite, format!("not finite and left {left}")),
            (Gap::Masked, format!("masked and left {left}")),
            (Gap::NotPositive, "not positive: no place on a logarithmic axis".to_owned()),
            (Gap::Outside, "outside the range of the bins".to_owned()),
        ];
        let mut sentences = Vec::new();
        for (gap, reason) in reasons {
            let count = self.counts[gap as usize];
            if count > 0 {
                let verb = if count == 1 { "is" } else { "are" };
                sentences.push(format!("{count} of {} {things} {verb} {reason}", self.total));
            }
        }
        sentences
    }
}

/// What is told below a figure about the values that it leaves out, a sentence each.
pub(super) fn notes(figure: &Figure) -> Vec<String> {
    let (mut cells, mut series) = (GapTally::default(), Vec::new());
    figure.root.each_panel(&mut |panel| {
        for sample in &panel.samples {
            let range = panel.bin_range();
            let mut tally = GapTally::default();
            for &value in sample.values.iter() {
                let outside = value < range.0 || value > range.1;
                tally.add(gap(value, false).or(outside.then_some(Gap::Outside)));
            }
            series.push((sample.name.clone(), tally));
        }
        if !panel.samples.is_empty() {
            return;
        }
        for mark in &panel.marks {
            match mark {
                Mark::Image(image) => {
                    image.values.iter().for_each(|&value| cells.add(cell_gap(value)));
                }
                Mark::Series(values) => {
                    series.push((values.name.clone(), of_series(values, panel)))
                }
                Mark::Plotly(trace) => series.push((String::new(), of_trace(trace))),
                Mark::Space(_) => {}
            }
        }
    });
    let mut notes = cells.sentences("cells", "blank");
    series.retain(|(_, tally)| tally.any());
    if series.len() <= NAMED && series.iter().all(|(name, _)| !name.is_empty()) {
        for (name, tally) in series {
            notes.extend(tally.sentences(&format!("values of {name}"), "out"));
        }
    } else {
        let all = series.into_iter().fold(GapTally::default(), |all, (_, tally)| all.merge(tally));
        notes.extend(all.sentences("values", "out"));
    }
    notes.extend(figure.thinned.map(|Thinned { shown, all }| {
        let (shown, all) = (thousands(shown), thousands(all));
        format!("{shown} of {all} points are shown; save_html writes all")
    }));
    notes
}

fn of_series(series: &Series, panel: &Panel) -> GapTally {
    let mut tally = GapTally::default();
    (0..series.y.len()).for_each(|i| tally.add(series.gap(i, &panel.x, &panel.y)));
    tally
}

/// The numbers of a trace of the plotly crate become null where they are not finite.
fn of_trace(trace: &serde_json::Value) -> GapTally {
    let mut tally = GapTally::default();
    for key in ["x", "y", "z"] {
        count_nulls(&trace[key], &mut tally);
    }
    tally
}

fn count_nulls(value: &serde_json::Value, tally: &mut GapTally) {
    let Some(items) = value.as_array() else { return };
    for item in items {
        if item.is_array() {
            count_nulls(item, tally);
        } else {
            tally.add(item.is_null().then_some(Gap::NotFinite));
        }
    }
}

impl Series {
    /// Why point `i` is not drawn, if it is not.
    pub(super) fn gap(&self, i: usize, x: &Axis, y: &Axis) -> Option<Gap> {
        let shade = self.shades.as_ref().and_then(|(_, values)| gap(values[i], false));
        gap(self.x[i], x.log).or(gap(self.y[i], y.log)).or(shade)
    }
}

/// Breaks sentences into lines of at most `characters`.
pub(super) fn wrap(text: &str, characters: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut length = 0;
        for word in paragraph.split_whitespace() {
            let more = word.chars().count();
            if length > 0 && length + 1 + more > characters {
                lines.push(std::mem::take(&mut line));
                length = 0;
            }
            let gap = if length > 0 { " " } else { "" };
            let _ = write!(line, "{gap}{word}");
            length += gap.len() + more;
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_break_at_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a\nunbreakable", 3), ["a", "unbreakable"]);
    }
}
