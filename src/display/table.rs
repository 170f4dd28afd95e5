//! Headings and rows as text and as HTML, for every type that is shown as a table.

use crate::text::escape;

use super::MimeBundle;

/// The mark in place of rows that are left out.
const GAP: &str = "…";

/// A table as it is shown: cells are texts already, and rows may be left out.
///
/// A column has one alignment in text; in HTML the front end aligns it, unless it has a style.
#[derive(Debug, Default)]
pub(crate) struct ShownTable {
    columns: Vec<ShownColumn>,
    rows: Vec<ShownRow>,
    caption: String,
    note: String,
}

/// A column of a [`ShownTable`].
#[derive(Debug)]
pub(crate) struct ShownColumn {
    heading: String,
    is_left: bool,
    is_heading: bool,
    css: &'static str,
}

/// A cell of a [`ShownTable`]: a text, and its HTML if that is more than the text.
#[derive(Debug, Clone)]
pub(crate) struct ShownCell {
    text: String,
    html: Option<String>,
}

#[derive(Debug)]
enum ShownRow {
    Cells(Vec<ShownCell>),
    /// Rows that are left out, and the line that tells so in text, if it is not a row of [`GAP`].
    Gap(Option<String>),
}

impl ShownColumn {
    /// A column of words.
    pub(crate) fn left(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), is_left: true, is_heading: false, css: "" }
    }

    /// A column of numbers.
    pub(crate) fn right(heading: impl Into<String>) -> Self {
        Self { is_left: false, ..Self::left(heading) }
    }

    /// The same column, whose cells name their rows.
    pub(crate) fn naming_rows(self) -> Self {
        Self { is_heading: true, ..self }
    }

    /// The same column with a style in HTML, such as `text-align:right`.
    pub(crate) fn css(self, css: &'static str) -> Self {
        Self { css, ..self }
    }
}

impl<T: ToString> From<T> for ShownCell {
    fn from(text: T) -> Self {
        Self { text: text.to_string(), html: None }
    }
}

impl ShownCell {
    /// A cell that HTML shows as `html`, which is trusted.
    pub(crate) fn with_html(text: impl Into<String>, html: impl Into<String>) -> Self {
        Self { text: text.into(), html: Some(html.into()) }
    }

    /// A cell of code, such as a token.
    pub(crate) fn code(text: &str) -> Self {
        Self::with_html(text, format!("<code>{}</code>", escape(text)))
    }

    fn html(&self) -> String {
        self.html.clone().unwrap_or_else(|| escape(&self.text))
    }
}

/// Numbers of the rows to show of a table of `len` rows: all, or the first and last ones of at most
/// `most` with `None` between them.
pub(crate) fn rows_to_show(len: usize, most: usize) -> Vec<Option<usize>> {
    if len <= most {
        return (0..len).map(Some).collect();
    }
    let half = most / 2;
    (0..half).map(Some).chain([None]).chain((len - half..len).map(Some)).collect()
}

impl ShownTable {
    /// A table without rows.
    pub(crate) fn new(columns: impl IntoIterator<Item = ShownColumn>) -> Self {
        Self { columns: columns.into_iter().collect(), ..Self::default() }
    }

    /// Sets the line above the table in HTML.
    pub(crate) fn caption(self, caption: impl Into<String>) -> Self {
        Self { caption: caption.into(), ..self }
    }

    /// Sets the line below the table in HTML.
    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// Adds a row, a cell for each column.
    pub(crate) fn push<C: Into<ShownCell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(ShownRow::Cells(cells.into_iter().map(Into::into).collect()));
    }

    /// Adds the place of rows that are left out; `line` stands there in text.
    pub(crate) fn push_gap(&mut self, line: Option<String>) {
        self.rows.push(ShownRow::Gap(line));
    }

    /// The table with `text` for front ends that show no HTML.
    pub(crate) fn bundle(&self, text: impl Into<String>) -> MimeBundle {
        MimeBundle::text(text).html(self.html())
    }

    fn has_headings(&self) -> bool {
        self.columns.iter().any(|column| !column.heading.is_empty())
    }

    /// Lines whose columns are as wide as their longest cell, two spaces apart.
    pub(crate) fn text(&self) -> String {
        let headings: Vec<ShownCell> =
            self.columns.iter().map(|column| ShownCell::from(&column.heading)).collect();
        let gap = vec![ShownCell::from(GAP); self.columns.len()];
        let mut lines = Vec::new();
        if self.has_headings() {
            lines.push(Ok(headings.as_slice()));
        }
        lines.extend(self.rows.iter().map(|row| match row {
            ShownRow::Cells(cells) => Ok(cells.as_slice()),
            ShownRow::Gap(None) => Ok(gap.as_slice()),
            ShownRow::Gap(Some(line)) => Err(line),
        }));
        let width = |at: usize| {
            let cells = lines.iter().flatten().filter_map(|cells| cells.get(at));
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &[ShownCell]| {
            let cells = cells.iter().zip(&widths).zip(&self.columns);
            let cells = cells.map(|((ShownCell { text, .. }, &width), column)| {
                if column.is_left { format!("{text:<width$}") } else { format!("{text:>width$}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let lines: Vec<String> =
            lines.iter().map(|row| row.map_or_else(String::clone, line)).collect();
        lines.join("\n")
    }

    /// A `<table>`, without a head if no column has a heading.
    pub(crate) fn html(&self) -> String {
        let cell = |tag: &str, column: &ShownColumn, html: String| match column.css {
            "" => format!("<{tag}>{html}</{tag}>"),
            css => format!("<{tag} style=\"{css}\">{html}</{tag}>"),
        };
        let row = |row: &ShownRow| {
            let gap = |_: &ShownColumn| GAP.to_owned();
            let cells: Vec<String> = match row {
                ShownRow::Cells(cells) => cells.iter().map(ShownCell::html).collect(),
                ShownRow::Gap(_) => self.columns.iter().map(gap).collect(),
            };
            let cells = self.columns.iter().zip(cells).map(|(column, html)| {
                cell(if column.is_heading { "th" } else { "td" }, column, html)
            });
            format!("<tr>{}</tr>", cells.collect::<String>())
        };
        let mut html = String::new();
        if !self.caption.is_empty() {
            html.push_str(&format!("<div>{}</div>", escape(&self.caption)));
        }
        html.push_str("<table>");
        if self.has_headings() {
            let heading = |column| cell("th", column, escape(&column.heading));
            let headings: String = self.columns.iter().map(heading).collect();
            html.push_str(&format!("<thead><tr>{headings}</tr></thead>"));
        }
        let rows: String = self.rows.iter().map(row).collect();
        html.push_str(&format!("<tbody>{rows}</tbody></table>"));
        if !self.note.is_empty() {
            html.push_str(&format!("<p>{}</p>", escape(&self.note)));
        }
        html
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ShownTable {
        let columns = [ShownColumn::left("token").css("text-align:left"), ShownColumn::right("n")];
        let mut table = ShownTable::new(columns).caption("a < b").note("2 rows");
        table.push([ShownCell::code("<s>"), ShownCell::from(1)]);
        table.push_gap(None);
        table.push(["λ", "200"]);
        table
    }

    #[test]
    fn columns_line_up_in_text() {
        assert_eq!(table().text(), "token    n\n<s>      1\n…        …\nλ      200");
        let mut table = ShownTable::new([ShownColumn::right("n"), ShownColumn::left("word")]);
        table.push(["10", "a"]);
        table.push_gap(Some("… 3 rows …".to_owned()));
        assert_eq!(table.text(), " n  word\n10  a\n… 3 rows …");
    }

    #[test]
    fn html_is_escaped_and_styled() {
        let expected = "<div>a &lt; b</div><table><thead><tr><th style=\"text-align:left\">token</th>\
            <th>n</th></tr></thead><tbody><tr><td style=\"text-align:left\"><code>&lt;s&gt;</code>\
            </td><td>1</td></tr><tr><td style=\"text-align:left\">…</td><td>…</td></tr>\
            <tr><td style=\"text-align:left\">λ</td><td>200</td></tr></tbody></table>\
            <p>2 rows</p>";
        assert_eq!(table().html(), expected);
        let names = ShownColumn::left("").naming_rows();
        let mut headless = ShownTable::new([names, ShownColumn::right("")]);
        headless.push(["a", "1"]);
        let expected = "<table><tbody><tr><th>a</th><td>1</td></tr></tbody></table>";
        assert_eq!(headless.html(), expected);
        assert_eq!(headless.text(), "a  1");
    }

    #[test]
    fn a_long_table_shows_its_ends() {
        assert_eq!(rows_to_show(3, 4), [Some(0), Some(1), Some(2)]);
        assert_eq!(rows_to_show(9, 4), [Some(0), Some(1), None, Some(7), Some(8)]);
    }
}
