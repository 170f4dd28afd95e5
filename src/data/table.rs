//! Tables: named columns of numbers or text, shown in notebooks, read from and written to CSV.

use std::cmp::Ordering;
use std::fmt;
use std::path::Path;

use crate::display::{MimeBundle, ShownColumn, ShownTable, rows_to_show};
use crate::store::replace;
use crate::{Error, Result};

/// Rows that are shown before the middle of a table is left out.
const MAX_ROWS_SHOWN: usize = 40;
/// Characters of a cell that are shown.
const MAX_CELL_CHARACTERS: usize = 80;

/// A number or a text in a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A number; NaN stands for a missing one.
    Number(f64),
    /// A text.
    Text(String),
}

macro_rules! cells {
    ($variant:ident: $($t:ty => $convert:expr),* $(,)?) => {$(
        impl From<$t> for Cell {
            fn from(value: $t) -> Self {
                Self::$variant(($convert)(value))
            }
        }
    )*};
}
cells!(Number: f64 => |v| v, f32 => f64::from, u8 => f64::from, u32 => f64::from, i32 => f64::from,
    i64 => |v| v as f64, u64 => |v| v as f64, usize => |v| v as f64,
    &f64 => |v: &f64| *v, &f32 => |v: &f32| f64::from(*v), &u32 => |v: &u32| f64::from(*v),
    &usize => |v: &usize| *v as f64);
cells!(Text: String => |v| v, &str => |v: &str| v.to_owned(), &String => |v: &String| v.clone(),
    bool => |v: bool| v.to_string());

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(value) if value.is_nan() => Ok(()),
            Self::Number(value) => {
                let size = value.abs();
                match value.fract() == 0.0 && size < 1e15 {
                    true => write!(f, "{value}"),
                    false if !(1e-3..1e9).contains(&size) => write!(f, "{value:.3e}"),
                    false => write!(f, "{value:.4}"),
                }
            }
        }
    }
}

/// Named columns of one length. A cell that ends in a table shows it.
///
/// ```
/// use eigenlens::prelude::*;
/// # fn main() -> Result<()> {
/// let table = Table::new()
///     .column("token", ["the", "cat", "sat"])?
///     .column("score", [0.5, 2.25, 1.0])?
///     .sort_by("score", true)?;
/// assert_eq!(table.texts("token")?, ["cat", "sat", "the"]);
/// assert_eq!(table.numbers("score")?, [2.25, 1.0, 0.5]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    columns: Vec<(String, Vec<Cell>)>,
}

impl Table {
    /// A table without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// This table with one more column.
    ///
    /// # Errors
    /// If the column has another length than the others, or a name that is taken.
    pub fn column<C: Into<Cell>>(
        mut self,
        name: impl Into<String>,
        cells: impl IntoIterator<Item = C>,
    ) -> Result<Self> {
        let (name, cells) = (name.into(), cells.into_iter().map(Into::into).collect::<Vec<_>>());
        if self.columns.iter().any(|(taken, _)| *taken == name) {
            return Err(Error::invalid("the name of a column", "one that is not taken", name));
        }
        if !self.columns.is_empty() && cells.len() != self.len() {
            let expected = format!("{} cells, as the other columns have", self.len());
            return Err(Error::invalid(format!("the column `{name}`"), expected, cells.len()));
        }
        self.columns.push((name, cells));
        Ok(self)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, |(_, cells)| cells.len())
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names of the columns.
    pub fn names(&self) -> Vec<String> {
        self.columns.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Names and cells of the columns.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, &[Cell])> {
        self.columns.iter().map(|(name, cells)| (&**name, &**cells))
    }

    fn cells(&self, name: &str) -> Result<&[Cell]> {
        match self.columns.iter().find(|(column, _)| column == name) {
            Some((_, cells)) => Ok(cells),
            None => {
                let expected = format!("one of {}", self.names().join(", "));
                Err(Error::invalid("the column", expected, name))
            }
        }
    }

    /// The numbers of a column, ready for a chart; missing ones are NaN.
    ///
    /// # Errors
    /// If there is no such column, or if it holds text.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let number = |(row, cell): (usize, &Cell)| match cell {
            Cell::Number(value) => Ok(*value),
            Cell::Text(text) => {
                let found = format!("{text:?} in row {row}");
                Err(Error::invalid(format!("the column `{name}`"), "all numbers", found))
            }
        };
        self.cells(name)?.iter().enumerate().map(number).collect()
    }

    /// The texts of a column; numbers as they are shown.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn texts(&self, name: &str) -> Result<Vec<String>> {
        Ok(self.cells(name)?.iter().map(Cell::to_string).collect())
    }

    /// The rows in the order of a column, the smallest first or, if `descending`, the largest. Equal
    /// ones keep their order and missing numbers come last.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn sort_by(&self, name: &str, descending: bool) -> Result<Self> {
        let cells = self.cells(name)?;
        let mut rows: Vec<usize> = (0..self.len()).collect();
        let turn = |order: Ordering| if descending { order.reverse() } else { order };
        rows.sort_by(|&a, &b| match (&cells[a], &cells[b]) {
            (Cell::Number(a), Cell::Number(b)) if !a.is_nan() && !b.is_nan() => {
                turn(a.total_cmp(b))
            }
            (Cell::Number(a), Cell::Number(b)) => a.is_nan().cmp(&b.is_nan()),
            (Cell::Text(a), Cell::Text(b)) => turn(a.cmp(b)),
            (Cell::Number(_), Cell::Text(_)) => Ordering::Less,
            (Cell::Text(_), Cell::Number(_)) => Ordering::Greater,
        });
        Ok(self.rows(&rows))
    }

    /// The first `count` rows, or all if there are fewer.
    #[must_use]
    pub fn head(&self, count: usize) -> Self {
        self.rows(&(0..count.min(self.len())).collect::<Vec<_>>())
    }

    fn rows(&self, rows: &[usize]) -> Self {
        let pick = |cells: &[Cell]| rows.iter().map(|&row| cells[row].clone()).collect();
        let columns = self.columns.iter().map(|(name, cells)| (name.clone(), pick(cells)));
        Self { columns: columns.collect() }
    }

    /// The table in a CSV file with a first line of names, or in a TSV file if the path ends in `.tsv`.
    /// A column in which every cell is a number or empty holds numbers; digits with a leading zero,
    /// such as `007`, are text.
    ///
    /// ```no_run
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// let scores = Table::read_csv("scores.csv")?;
    /// line([("loss", scores.numbers("loss")?)])?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read, is empty, is not UTF-8, or has a line of another length than the
    /// first; the error names the line.
    pub fn read_csv(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read(path).map_err(Error::io("read", path))?;
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&text);
        let delimiter = delimiter(path);
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text);
        let wrong = |reason: csv::Error| {
            Error::format(path, "UTF-8 lines of as many cells as the first", reason.to_string())
                .caused_by(reason)
        };
        let names: Vec<String> = reader.headers().map_err(wrong)?.iter().map(Into::into).collect();
        if names.is_empty() {
            return Err(Error::format(path, "a first line with the names of columns", "none"));
        }
        let mut columns = vec![Vec::new(); names.len()];
        for record in reader.records() {
            let record = record.map_err(wrong)?;
            for (column, cell) in columns.iter_mut().zip(&record) {
                column.push(cell.to_owned());
            }
        }
        let mut table = Self::new();
        for (name, cells) in names.into_iter().zip(columns) {
            table = match cells.iter().map(|cell| number(cell)).collect::<Option<Vec<f64>>>() {
                Some(numbers) if numbers.iter().any(|value| !value.is_nan()) => {
                    table.column(name, numbers)?
                }
                _ => table.column(name, cells)?,
            };
        }
        Ok(table)
    }

    /// Writes the table as CSV, or as TSV if the path ends in `.tsv`, with all digits of its numbers. The
    /// file is replaced at the end, or left as it was.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_csv(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter(path)).from_writer(vec![]);
        let exact = |cell: &Cell| match cell {
            Cell::Number(value) if value.is_nan() => String::new(),
            Cell::Number(value) => value.to_string(),
            Cell::Text(text) => text.clone(),
        };
        let failed = |reason: csv::Error| Error::io("write", path)(std::io::Error::other(reason));
        writer.write_record(self.columns.iter().map(|(name, _)| name)).map_err(failed)?;
        for row in 0..self.len() {
            let cells = self.columns.iter().map(|(_, cells)| exact(&cells[row]));
            writer.write_record(cells).map_err(failed)?;
        }
        let bytes =
            writer.into_inner().map_err(|reason| Error::io("write", path)(reason.into_error()))?;
        replace(path, |part| std::fs::write(part, &bytes))
    }

    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.bundle().show_as_result();
    }

    /// Shows the table from the middle of a cell.
    pub fn show(&self) {
        self.bundle().show();
    }

    fn bundle(&self) -> MimeBundle {
        let shown = self.shown();
        shown.bundle(shown.text())
    }

    fn shown(&self) -> ShownTable {
        let column = |(name, cells): &(String, Vec<Cell>)| match cells
            .iter()
            .all(|cell| matches!(cell, Cell::Number(_)))
        {
            true => ShownColumn::right(name).css("text-align:right"),
            false => ShownColumn::left(name).css("text-align:left"),
        };
        let mut shown = ShownTable::new(self.columns.iter().map(column));
        for row in rows_to_show(self.len(), MAX_ROWS_SHOWN) {
            match row {
                Some(row) => shown
                    .push(self.columns.iter().map(|(_, cells)| shortened(&cells[row].to_string()))),
                None => {
                    shown.push_gap(Some(format!("… {} rows …", self.len() - MAX_ROWS_SHOWN)));
                }
            }
        }
        match self.len() > MAX_ROWS_SHOWN {
            true => shown.note(format!("{} rows", self.len())),
            false => shown,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown().text())
    }
}

fn delimiter(path: &Path) -> u8 {
    match path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tsv")) {
        true => b'\t',
        false => b',',
    }
}

/// A cell as a number, NaN for an empty one; nothing for text.
fn number(cell: &str) -> Option<f64> {
    let cell = cell.trim();
    let digits = cell.trim_start_matches(['-', '+']);
    let is_padded = digits.len() > 1 && digits.starts_with('0') && !digits[1..].starts_with('.');
    match cell {
        "" => Some(f64::NAN),
        _ if is_padded => None,
        _ => cell.parse().ok(),
    }
}

fn shortened(text: &str) -> String {
    let line = text.replace('\n', "⏎");
    match line.char_indices().nth(MAX_CELL_CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> Table {
        let table = Table::new().column("name", ["b, c", "a \"q\"", "line\nbreak"]).unwrap();
        table.column("x", [0.1, f64::NAN, -2.0]).unwrap()
    }

    #[test]
    fn a_table_comes_back_from_csv_and_tsv_to_the_last_digit() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["t.csv", "t.tsv"] {
            let path = folder.path().join(name);
            scores().save_csv(&path)?;
            let read = Table::read_csv(&path)?;
            assert_eq!(read.texts("name")?, scores().texts("name")?);
            let x = read.numbers("x")?;
            assert_eq!((x[0], x[1].is_nan(), x[2]), (0.1, true, -2.0));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no part file is left");
        Ok(())
    }

    #[test]
    fn what_is_a_number_is_decided_by_the_whole_column() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, "\u{feff}id,n,mixed,none\n007,1e3,1,\n012,,a,\n").unwrap();
        let table = Table::read_csv(&path)?;
        assert_eq!(table.texts("id")?, ["007", "012"]);
        assert_eq!(table.numbers("n")?[0], 1000.0);
        let error = table.numbers("mixed").unwrap_err().to_string();
        assert!(error.contains("`mixed`") && error.contains("row 0"), "{error}");
        assert_eq!(table.texts("none")?, ["", ""]);
        Ok(())
    }

    #[test]
    fn bad_files_and_columns_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, "a,b\n1,2\n3\n").unwrap();
        let error = Table::read_csv(&path).unwrap_err().to_string();
        assert!(error.contains("t.csv") && error.contains("line: 3"), "{error}");
        std::fs::write(&path, "").unwrap();
        assert!(Table::read_csv(&path).unwrap_err().to_string().contains("names of columns"));
        std::fs::write(&path, b"a\n\xff\n").unwrap();
        assert!(Table::read_csv(&path).unwrap_err().to_string().contains("UTF-8"));
        assert!(Table::read_csv(folder.path().join("no.csv")).is_err());
        let error = scores().column("y", [1]).unwrap_err().to_string();
        assert!(error.contains("`y`") && error.contains("3 cells"), "{error}");
        assert!(scores().column("x", [1, 2, 3]).is_err());
        assert!(scores().numbers("z").unwrap_err().to_string().contains("name, x"));
    }

    #[test]
    fn a_long_table_shows_its_ends_and_lines_up() -> Result<()> {
        let table =
            Table::new().column("n", 0..100)?.column("sign", (0..100).map(|i| i % 2 == 0))?;
        let text = table.to_string();
        assert_eq!(text.lines().count(), MAX_ROWS_SHOWN + 2);
        assert!(text.starts_with(" n  sign\n 0  true\n") && text.contains("… 60 rows …"), "{text}");
        assert!(table.shown().html().contains("<p>100 rows</p>"));
        let sorted = table.sort_by("n", true)?.head(2);
        assert_eq!(sorted.numbers("n")?, [99.0, 98.0]);
        assert!(scores().shown().html().contains("a &quot;q&quot;"));
        assert_eq!(scores().sort_by("x", true)?.texts("x")?, ["0.1000", "-2", ""]);
        Ok(())
    }
}
