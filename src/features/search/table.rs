//! The table of a ranking.

use std::fmt;

use super::ranking::Search;
use super::row::{LeftOut, SearchRow};
use crate::display::{ShownColumn, ShownTable};
use crate::text::thousands;

/// Rows that are printed.
const SHOWN: usize = 20;

impl Search {
    fn refined(&self) -> usize {
        self.rows().iter().filter(|row| row.refined).count()
    }

    fn table(&self) -> ShownTable {
        let right = ["M", "S, bits", "by chance", "(1 − M) S", "at least"].map(ShownColumn::right);
        let columns = [
            ShownColumn::right("rank"),
            ShownColumn::left("cloud"),
            ShownColumn::right("points"),
            ShownColumn::left("components"),
        ];
        let mut table = ShownTable::new(columns.into_iter().chain(right)).note(self.closing());
        for (rank, row) in self.rows().iter().filter(|row| row.refined).take(SHOWN).enumerate() {
            let SearchRow { name, points, plane, score, score_at_least, null, .. } = row;
            table.push([
                (rank + 1).to_string(),
                name.clone(),
                thousands(*points),
                format!("{}, {}", plane.first + 1, plane.first + 2),
                format!("{:.3}", plane.mixture),
                format!("{:.3}", plane.separability),
                null.map(|null| format!("{null:.3}")).unwrap_or_default(),
                format!("{score:.3}"),
                format!("{score_at_least:.3}"),
            ]);
        }
        table
    }

    /// What was looked at and what was not.
    fn closing(&self) -> String {
        let LeftOut { not_seen, too_few, not_refined, score_at_most } = *self.left_out();
        let mut words = format!("{} of {} clouds refined", self.refined(), self.clouds);
        if not_refined + not_seen > 0 {
            words += &format!("; no other scores above {score_at_most:.3} bits");
        }
        if not_seen > 0 {
            words += &format!(" ({not_seen} were not looked at when the time was up)");
        }
        if too_few > 0 {
            words += &format!("; {too_few} have too few points or features");
        }
        words + &format!("; the first {} are certain", self.certain())
    }

    /// Shows a table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.table().bundle(self.to_string()).show_as_result();
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.table().text(), self.closing())
    }
}
