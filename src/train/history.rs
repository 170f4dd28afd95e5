//! Metrics of a fit, a row an epoch.

use std::fmt;

use crate::data::Table;
use crate::display::{ShownColumn, ShownTable, rows_to_show};
use crate::{Error, Result};

/// Rows of a table before its middle is left out.
const SHOWN: usize = 40;
/// The line below the rows of a fit that Stop ended.
const STOPPED: &str = "stopped early";

/// What a fit reports: one row of metrics for every epoch (or step) that it completed.
///
/// ```
/// use eigenlens::train::History;
/// # fn main() -> eigenlens::Result<()> {
/// let mut history = History::new("epoch", &["train_loss", "val_acc"]);
/// history.push(&[0.7, 0.81])?;
/// history.push(&[0.4, 0.90])?;
/// assert_eq!(history.column("val_acc")?, [0.81, 0.90]);
/// assert_eq!(history.column("epoch")?, [1.0, 2.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    names: Vec<String>,
    rows: Vec<Vec<f64>>,
    /// Whether Stop ended the fit before its last epoch. The model keeps what it had learnt.
    pub interrupted: bool,
}

impl History {
    /// An empty history whose rows are counted in `unit` ("epoch", "step"), from 1, and hold
    /// `metrics`.
    pub fn new(unit: &str, metrics: &[&str]) -> Self {
        let names = std::iter::once(unit).chain(metrics.iter().copied());
        Self { names: names.map(str::to_owned).collect(), rows: Vec::new(), interrupted: false }
    }

    /// Adds the metrics of the next epoch.
    ///
    /// # Errors
    /// Another number of metrics than the history has.
    pub fn push(&mut self, metrics: &[f64]) -> Result<()> {
        if metrics.len() + 1 != self.names.len() {
            let expected = format!("{} numbers", self.names.len() - 1);
            return Err(Error::invalid("a row of the history", expected, metrics.len()));
        }
        let mut row = vec![(self.rows.len() + 1) as f64];
        row.extend_from_slice(metrics);
        self.rows.push(row);
        Ok(())
    }

    /// Completed epochs.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no epoch was completed.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Names of the columns; the first counts the rows.
    pub fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// One column, a number a row, ready for a line plot.
    ///
    /// # Errors
    /// A name that is no column; the error lists those there are.
    pub fn column(&self, name: &str) -> Result<Vec<f64>> {
        let at = self.names.iter().position(|own| own == name).ok_or_else(|| {
            Error::invalid("the column", format!("one of {}", self.names.join(", ")), name)
        })?;
        Ok(self.rows.iter().map(|row| row[at]).collect())
    }

    /// The last value of a column.
    ///
    /// # Errors
    /// A name that is no column, or a history without rows.
    pub fn last(&self, name: &str) -> Result<f64> {
        self.column(name)?.last().copied().ok_or_else(|| Error::NotFound {
            what: format!("the last {name}"),
            hint: format!("The fit was stopped before its first {} ended.", self.names[0]),
        })
    }

    /// The history as a table, which can be sorted and saved as CSV.
    ///
    /// # Errors
    /// None that the user can cause.
    pub fn table(&self) -> Result<Table> {
        let mut names = self.names.iter().enumerate();
        names.try_fold(Table::new(), |table, (at, name)| {
            table.column(name, self.rows.iter().map(|row| row[at]))
        })
    }

    /// All rows, the count first.
    pub(crate) fn rows(&self) -> &[Vec<f64>] {
        &self.rows
    }

    /// Shows the history as a table: what a notebook cell ending in it does.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn cells(&self, row: &[f64]) -> Vec<String> {
        let number = |(column, value): (usize, &f64)| match (column, value.abs()) {
            (0, _) => format!("{value}"),
            (_, size) if size != 0.0 && size < 1e-3 => format!("{value:.2e}"),
            _ => format!("{value:.4}"),
        };
        row.iter().enumerate().map(number).collect()
    }

    /// All rows of a short history, the first and last of a long one.
    fn shown(&self) -> ShownTable {
        let mut shown = ShownTable::new(self.names.iter().map(ShownColumn::right));
        for row in rows_to_show(self.rows.len(), SHOWN) {
            match row {
                Some(row) => shown.push(self.cells(&self.rows[row])),
                None => shown.push_gap(None),
            }
        }
        if self.interrupted { shown.note(STOPPED) } else { shown }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown().text())?;
        if self.interrupted { write!(f, "\n{STOPPED}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_lines_up() {
        let mut history = History::new("epoch", &["loss"]);
        assert!(history.last("loss").unwrap_err().to_string().contains("first epoch"));
        history.push(&[12.5]).unwrap();
        history.push(&[2e-5]).unwrap();
        history.interrupted = true;
        let expected = "epoch     loss\n    1  12.5000\n    2  2.00e-5\nstopped early";
        assert_eq!(history.to_string(), expected);
        assert!(history.shown().html().contains("<td>12.5000</td>"));
        assert_eq!((history.len(), history.last("loss").unwrap()), (2, 2e-5));
        assert_eq!(history.table().unwrap().numbers("loss").unwrap(), [12.5, 2e-5]);
    }

    #[test]
    fn the_middle_of_a_long_table_is_left_out() {
        let mut history = History::new("step", &["loss"]);
        (0..100).for_each(|step| history.push(&[f64::from(step)]).unwrap());
        let text = history.to_string();
        assert_eq!(text.lines().count(), SHOWN + 2);
        assert!(text.contains("  20") && text.contains('…') && !text.contains("  50"));
    }

    #[test]
    fn unknown_columns_and_short_rows_are_refused() {
        let mut history = History::new("epoch", &["loss"]);
        assert!(history.column("acc").unwrap_err().to_string().contains("epoch, loss"));
        assert!(history.push(&[]).is_err());
    }
}
