//! Which line of a cell a line of the crate is that evcxr made of it.
//!
//! Evcxr copies a cell statement by statement, each on lines of its own, into a function, and its
//! items to the top. So lines are found by their text; where a text occurs more than once, its
//! neighbours decide.

/// How many neighbours on each side are looked at.
const NEIGHBOURS: usize = 40;

/// A generated crate beside the cell it was made of.
#[derive(Debug)]
pub(crate) struct Alignment<'a> {
    generated: Vec<&'a str>,
    cell: Vec<&'a str>,
    items: usize,
}

/// A line of the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its number, from 0.
    pub(crate) line: usize,
    /// What is to be added to a column of the generated line.
    pub(crate) shift: isize,
}

impl<'a> Alignment<'a> {
    /// Of a generated crate, `source`, and the code of the cell.
    pub(crate) fn new(source: &'a str, code: &'a str) -> Self {
        let generated: Vec<&str> = source.lines().collect();
        let own = |line: &&str| {
            line.trim() == "struct EvcxrUserCodeError {}"
                || line.trim() == "mod evcxr_internal_runtime {"
                || line.starts_with("pub extern \"C\" fn run_user_code_")
        };
        let items = generated.iter().position(own).unwrap_or(generated.len());
        Self { generated, cell: code.lines().collect(), items }
    }

    /// The line of the cell that generated line `number`, from 1, is a copy of.
    pub(crate) fn place(&self, number: usize) -> Option<Place> {
        let at = number.checked_sub(1)?;
        let text = self.generated.get(at)?.trim();
        if text.is_empty() {
            return None;
        }
        let candidates = |matches: &dyn Fn(&str) -> bool| -> Vec<usize> {
            (0..self.cell.len()).filter(|&line| matches(self.cell[line])).collect()
        };
        let mut found = candidates(&|line| line.trim() == text);
        if found.is_empty() {
            found = candidates(&|line| line.contains(text));
        }
        // The first of those that fit equally well.
        let line = found.into_iter().rev().max_by_key(|&line| self.agreement(at, line))?;
        Some(Place { line, shift: self.shift(at, line) })
    }

    /// Whether generated line `number`, from 1, is of the items: functions, types, imports.
    pub(crate) fn is_item(&self, number: usize) -> bool {
        number > 1 && number <= self.items
    }

    /// The text of generated line `number`, from 1.
    pub(crate) fn generated(&self, number: usize) -> Option<&'a str> {
        self.generated.get(number.checked_sub(1)?).copied()
    }

    /// The text of the cell's line `line`, from 0.
    pub(crate) fn cell(&self, line: usize) -> Option<&'a str> {
        self.cell.get(line).copied()
    }

    /// How many lines around the two agree without a gap.
    fn agreement(&self, at: usize, line: usize) -> usize {
        let filled = |text: &&&str| !text.trim().is_empty();
        let agree = |(a, b): &(&&str, &&str)| b.trim() == a.trim() || b.contains(a.trim());
        let before = self.generated[..at].iter().rev().filter(filled);
        let before = before.zip(self.cell[..line].iter().rev().filter(filled));
        let after = self.generated[at + 1..].iter().filter(filled);
        let after = after.zip(self.cell[line + 1..].iter().filter(filled));
        before.take(NEIGHBOURS).take_while(agree).count()
            + after.take(NEIGHBOURS).take_while(agree).count()
    }

    fn shift(&self, at: usize, line: usize) -> isize {
        let cell = self.cell[line];
        let indent = |text: &str| text.chars().take_while(|c| c.is_whitespace()).count() as isize;
        let text = self.generated[at];
        if cell.trim() == text.trim() {
            return indent(cell) - indent(text);
        }
        // Statements that share the line are copied to lines before this one.
        let mut parts = vec![text.trim()];
        for earlier in self.generated[..at].iter().rev().map(|text| text.trim()) {
            if earlier.is_empty() || earlier == "(" {
                continue;
            }
            if !cell.contains(earlier) {
                break;
            }
            parts.push(earlier);
        }
        let mut from = 0;
        let mut start = 0;
        for part in parts.into_iter().rev() {
            let Some(found) = cell[from..].find(part) else {
                start = cell.find(text.trim()).unwrap_or(0);
                break;
            };
            start = from + found;
            from = start + part.len();
        }
        cell[..start].chars().count() as isize - indent(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(source: &str, code: &str, number: usize) -> Option<usize> {
        Alignment::new(source, code).place(number).map(|place| place.line)
    }

    #[test]
    fn equal_lines_are_told_apart_by_their_neighbours() {
        let code = "let a = f()?;\nlet a = f()?;\nlet b = 1;\nlet a = f()?;\n";
        let source = format!("wrapper {{\n{code}store(a);\n");
        let found: Vec<_> = (1..=6).map(|number| line(&source, code, number)).collect();
        assert_eq!(found, [None, Some(0), Some(1), Some(2), Some(3), None]);
    }

    #[test]
    fn indentation_that_evcxr_moves_does_not_matter() {
        // A statement takes the space behind it along.
        let source = "{\nlet a = 1;\n  \nf(a)?;\n";
        let code = "let a = 1;\n  f(a)?;";
        let place = Alignment::new(source, code).place(4);
        assert_eq!(place, Some(Place { line: 1, shift: 2 }));
    }

    #[test]
    fn statements_that_share_a_line_keep_their_columns() {
        let code = "let a = 1; let b = a; a";
        let source = "{\nlet a = 1; \nlet b = a; \n(\na\n).show();\n";
        let alignment = Alignment::new(source, code);
        assert_eq!(alignment.place(2), Some(Place { line: 0, shift: 0 }));
        assert_eq!(alignment.place(3), Some(Place { line: 0, shift: 11 }));
        assert_eq!(alignment.place(5), Some(Place { line: 0, shift: 22 }));
    }

    #[test]
    fn items_are_those_before_evcxrs_own_code() {
        let source = "#![allow(x)]\nstruct A;\n   struct EvcxrUserCodeError {}\n";
        let alignment = Alignment::new(source, "");
        let items: Vec<bool> = (1..=4).map(|number| alignment.is_item(number)).collect();
        assert_eq!(items, [false, true, false, false]);
    }
}
