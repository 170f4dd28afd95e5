//! Lines of code with marks below them, as rustc draws them.

use super::palette::bold;

/// A marked piece of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The line's number in the cell, from 1; `None` for a line of an earlier cell.
    pub(crate) number: Option<usize>,
    /// The line.
    pub(crate) code: String,
    /// The first marked character, from 0.
    pub(crate) start: usize,
    /// The character after the last.
    pub(crate) end: usize,
    /// What is said about it.
    pub(crate) label: String,
    /// Whether this is where the trouble is, and not a place that has to do with it.
    pub(crate) primary: bool,
}

/// Draws the lines of `marks`: a header with the place of the first primary mark, then each line
/// once with its marks below. Nothing without marks.
pub(crate) fn draw(marks: &[Mark]) -> Vec<String> {
    let Some(first) = marks.iter().find(|mark| mark.primary).or_else(|| marks.first()) else {
        return Vec::new();
    };
    let header = match first.number {
        Some(number) => {
            let column = first.start + 1;
            format!(" --> cell:{number}:{column} (line {number} of this cell)")
        }
        None => " --> an earlier cell".to_owned(),
    };
    let mut groups: Vec<Vec<&Mark>> = Vec::new();
    for mark in marks {
        let same =
            |group: &&mut Vec<&Mark>| group[0].number == mark.number && group[0].code == mark.code;
        match groups.iter_mut().find(same) {
            Some(group) => group.push(mark),
            None => groups.push(vec![mark]),
        }
    }
    // Lines of earlier cells last.
    groups.sort_by_key(|group| group[0].number.unwrap_or(usize::MAX));
    let number = |group: &[&Mark]| group[0].number.map_or_else(String::new, |n| n.to_string());
    let width = groups.iter().map(|group| number(group).len()).max().unwrap_or(0).max(1);
    let margin = format!("{:width$} |", "");
    let mut lines = vec![header, margin.clone()];
    let mut before: Option<usize> = None;
    for group in &groups {
        let this = group[0].number;
        if let (Some(before), Some(this)) = (before, this)
            && this > before + 1
        {
            lines.push("...".to_owned());
        }
        if this.is_none() && first.number.is_some() {
            lines.push(format!("{:width$}::: in an earlier cell", ""));
        }
        before = this;
        let code = group[0].code.replace('\t', TAB);
        lines.push(format!("{:>width$} | {}", number(group), code.trim_end()));
        lines.extend(below(group).iter().map(|row| format!("{margin} {}", bold(row))));
    }
    lines
}

const TAB: &str = "    ";

/// The rows below a line: the underlines, and the labels that hang from them.
fn below(marks: &[&Mark]) -> Vec<String> {
    let mut placed: Vec<(usize, usize, &Mark)> = marks
        .iter()
        .map(|mark| {
            let start = columns(&mark.code, mark.start);
            (start, columns(&mark.code, mark.end).max(start + 1), *mark)
        })
        .collect();
    placed.sort_by_key(|&(start, end, mark)| (std::cmp::Reverse(start), end, mark.primary));
    let mut row = Row::default();
    // Primary marks are drawn over the others.
    for primary in [false, true] {
        for &(start, end, _) in placed.iter().filter(|(_, _, mark)| mark.primary == primary) {
            row.fill(start..end, if primary { '^' } else { '-' });
        }
    }
    let mut hanging: Vec<(usize, String)> = placed
        .iter()
        .filter(|(_, _, mark)| !mark.label.is_empty())
        .map(|&(start, _, mark)| (start, mark.label.replace('\n', " ")))
        .collect();
    let underline_end = placed.iter().map(|&(_, end, _)| end).max().unwrap_or(0);
    let inline = placed
        .first()
        .is_some_and(|&(_, end, mark)| end == underline_end && !mark.label.is_empty());
    let mut first = row.text();
    if inline {
        first = format!("{first} {}", hanging.remove(0).1);
    }
    let mut rows = vec![first];
    for at in 0..hanging.len() {
        let (start, label) = &hanging[at];
        let mut row = Row::default();
        if at == 0 {
            let mut stems = Row::default();
            hanging.iter().for_each(|(start, _)| stems.fill(*start..start + 1, '|'));
            rows.push(stems.text());
        }
        hanging[at + 1..].iter().for_each(|(start, _)| row.fill(*start..start + 1, '|'));
        rows.push(row.text_then(*start, label));
    }
    rows
}

#[derive(Debug, Default)]
struct Row(Vec<char>);

impl Row {
    fn fill(&mut self, range: std::ops::Range<usize>, with: char) {
        if self.0.len() < range.end {
            self.0.resize(range.end, ' ');
        }
        self.0[range].fill(with);
    }

    fn text(&self) -> String {
        self.0.iter().collect()
    }

    /// The row up to column `at`, and `label` from there.
    fn text_then(&self, at: usize, label: &str) -> String {
        let before: String = self.0.iter().take(at).collect();
        format!("{before:at$}{label}")
    }
}

/// The columns that the first `count` characters of `code` take.
fn columns(code: &str, count: usize) -> usize {
    code.chars().take(count).map(width).sum()
}

fn width(character: char) -> usize {
    match character {
        '\t' => TAB.len(),
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: usize, code: &str, range: (usize, usize), label: &str, primary: bool) -> Mark {
        Mark {
            number: Some(number),
            code: code.to_owned(),
            start: range.0,
            end: range.1,
            label: label.to_owned(),
            primary,
        }
    }

    fn drawn(marks: &[Mark]) -> String {
        draw(marks).join("\n").replace("\u{1b}[1m", "").replace("\u{1b}[0m", "")
    }

    #[test]
    fn two_labels_of_a_line_hang_below_each_other() {
        let code = "let y: String = λ;";
        let marks = [
            mark(2, code, (7, 13), "expected due to this", false),
            mark(2, code, (16, 17), "expected `String`, found integer", true),
        ];
        assert_eq!(
            drawn(&marks),
            " --> cell:2:17 (line 2 of this cell)\n  \
             |\n\
             2 | let y: String = λ;\n  \
             |        ------   ^ expected `String`, found integer\n  \
             |        |\n  \
             |        expected due to this"
        );
    }

    #[test]
    fn lines_between_are_left_out_and_numbers_are_aligned() {
        let marks = [
            mark(12, "b + a", (4, 5), "here", true),
            mark(9, "let a = 1;", (4, 5), "a is this", false),
        ];
        assert_eq!(
            drawn(&marks),
            " --> cell:12:5 (line 12 of this cell)\n   \
             |\n \
             9 | let a = 1;\n   \
             |     - a is this\n\
             ...\n\
             12 | b + a\n   \
             |     ^ here"
        );
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let marks = [mark(1, "f(\"中文\", x)", (8, 9), "x", true)];
        assert!(drawn(&marks).contains("\n  |           ^ x"), "{}", drawn(&marks));
    }

    #[test]
    fn an_empty_mark_is_still_visible() {
        assert!(drawn(&[mark(1, "f()", (3, 3), "missing", true)]).ends_with("   ^ missing"));
    }
}
