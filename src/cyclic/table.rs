//! The table of interventions.

use std::fmt;

use super::interventions::Interventions;
use crate::display::{ShownColumn, ShownTable};

impl Interventions {
    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn shown(&self) -> ShownTable {
        let confidence = self.outcomes.first().map_or(0.0, |own| own.success.confidence);
        let band = format!("{:.0} %", 100.0 * confidence);
        let columns = [
            ShownColumn::right("layer"),
            ShownColumn::left("patch"),
            ShownColumn::right("logit difference"),
            ShownColumn::right(format!("{band} by start")),
            ShownColumn::right("new answer"),
            ShownColumn::right(format!("{band} by start")),
            ShownColumn::right("within one"),
        ];
        let mut shown = ShownTable::new(columns).caption(self.heading());
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        for own in &self.outcomes {
            let (difference, success) = (own.difference_by_start, own.success);
            shown.push([
                own.layer.to_string(),
                own.patch.to_string(),
                format!("{:.2}", difference.mean),
                format!("{:.2} to {:.2}", difference.lower, difference.upper),
                percent(success.mean),
                format!("{} to {}", percent(success.lower), percent(success.upper)),
                percent(own.within_one),
            ]);
        }
        shown
    }

    fn heading(&self) -> String {
        let end = if self.interrupted { ", stopped early" } else { "" };
        format!("{}, patched at the {}{end}", self.task, self.role)
    }
}

impl fmt::Display for Interventions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.heading(), self.shown().text())
    }
}
