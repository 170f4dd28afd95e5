//! What each arm costs, as a table.

use std::fmt;

use super::Downstream;
use crate::display::{ShownColumn, ShownTable};
use crate::geometry::Interval;

impl Downstream {
    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn shown(&self) -> ShownTable {
        let confidence = self.rows.first().map_or(0.0, |row| row.kl.confidence);
        let band = format!("{:.0} %", 100.0 * confidence);
        let columns = [
            ShownColumn::left("in place of x").css("text-align:left"),
            ShownColumn::right("loss (nats)"),
            ShownColumn::right(&band),
            ShownColumn::right("KL (nats)"),
            ShownColumn::right("of the loss recovered"),
            ShownColumn::right(&band),
            ShownColumn::right("of the squared error"),
            ShownColumn::right("norm / error's"),
        ];
        let mut shown = ShownTable::new(columns).caption(self.heading());
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let none = || "–".to_owned();
        for row in &self.rows {
            let Interval { mean, lower, upper, .. } = row.cross_entropy;
            let recovered = row.recovered;
            shown.push([
                row.arm.to_string(),
                format!("{mean:.4}"),
                format!("{lower:.4} to {upper:.4}"),
                format!("{:.4}", row.kl.mean),
                recovered.map_or_else(none, |own| percent(own.mean)),
                recovered.map_or_else(none, |own| {
                    format!("{} to {}", percent(own.lower), percent(own.upper))
                }),
                row.r_squared_recovered.map_or_else(none, percent),
                row.norm_share.map_or_else(none, |share| format!("{share:.2}")),
            ]);
        }
        shown
    }

    fn heading(&self) -> String {
        let end = if self.interrupted { ", stopped early" } else { "" };
        let tokens = self.context_of().len();
        format!("{}, {} contexts, {tokens} tokens replaced{end}", self.name, self.contexts)
    }
}

impl fmt::Display for Downstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.heading(), self.shown().text())
    }
}
