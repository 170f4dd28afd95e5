//! Rustc's messages about a cell, in the cell's own lines.

use serde_json::Value;

use super::alignment::Alignment;
use super::drawing::{self, Mark};
use super::{hint, palette};
use crate::eval::diagnostics::{Compilation, OTHER_CRATE};

/// Lints that say nothing about a notebook: names are used in later cells, or are short because the
/// work is exploratory.
const NATURAL: [&str; 12] = [
    "dead_code",
    "non_snake_case",
    "non_upper_case_globals",
    "private_bounds",
    "private_interfaces",
    "redundant_semicolons",
    "unused_assignments",
    "unused_imports",
    "unused_macro_rules",
    "unused_macros",
    "unused_mut",
    "unused_variables",
];

/// What rustc adds to explain itself, not the code.
const ASIDES: [&str; 6] = [
    "`#[",
    "this error originates in",
    "this warning originates in",
    "requested on the command line",
    "the full type name has been written",
    "consider using `--verbose`",
];

/// Errors that often follow from others: a type that is not known.
const FOLLOWING: [&str; 3] = ["[E0282]", "[E0283]", "[E0284]"];

/// Suggestions of one kind that are listed.
const ALTERNATIVES: usize = 5;

/// A message, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// The message with its code, as a headline.
    pub(crate) headline: String,
    /// The whole of it, drawn.
    pub(crate) text: String,
    /// Whether its main place is in the cell.
    in_cell: bool,
    /// Whether any of its places is.
    touches_cell: bool,
}

/// The errors of the last compilation that failed, preferably over something in the cell. Errors
/// that others lead to come last.
pub(crate) fn errors(compilations: &[Compilation], code: &str) -> Vec<Diagnostic> {
    let failed = compilations.iter().rev().filter(|compilation| !compilation.succeeded);
    let all: Vec<Vec<Diagnostic>> = failed
        .map(|compilation| of_level("error", compilation, code))
        .filter(|errors| !errors.is_empty())
        .collect();
    let in_cell = |errors: &&Vec<Diagnostic>| errors.iter().any(|error| error.touches_cell);
    let mut found = match all.iter().find(in_cell) {
        Some(errors) => errors.iter().filter(|error| error.touches_cell).cloned().collect(),
        None => all.first().cloned().unwrap_or_default(),
    };
    found.sort_by_key(|error| FOLLOWING.iter().any(|code| error.headline.ends_with(code)));
    found
}

/// The warnings about this cell of the compilation that ran.
pub(crate) fn warnings(compilations: &[Compilation], code: &str) -> Vec<Diagnostic> {
    let ran = compilations.iter().rev().find(|compilation| compilation.succeeded);
    let mut found = ran.map_or_else(Vec::new, |ran| of_level("warning", ran, code));
    found.retain(|warning| warning.in_cell);
    found
}

fn of_level(level: &str, compilation: &Compilation, code: &str) -> Vec<Diagnostic> {
    let alignment = Alignment::new(&compilation.source, code);
    let mut found: Vec<Diagnostic> = Vec::new();
    for message in compilation.messages.iter().filter(|message| message["level"] == level) {
        let reader = Reader { alignment: &alignment, message };
        found.extend(reader.read().filter(|diagnostic| !found.contains(diagnostic)));
    }
    found
}

/// Text of rustc without names and places that only the kernel knows.
pub(crate) fn plain_names(text: &str) -> String {
    let mut parts = text.split("@src/lib.rs:");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // Up to the brace that ends `{closure@src/lib.rs:9:38: 9:41}`.
        plain.push_str(part.find('}').map_or(part, |end| &part[end..]));
    }
    plain
        .replace("eigenlens_notebook::prelude::", "")
        .replace("eigenlens_notebook::", "eigenlens::")
        .replace("`evcxr_variable_store`", "the end of the cell")
        .replace("EvcxrUserCodeError", "CellError")
}

struct Reader<'a> {
    alignment: &'a Alignment<'a>,
    message: &'a Value,
}

impl Reader<'_> {
    fn read(&self) -> Option<Diagnostic> {
        let message = plain_names(text(&self.message["message"]));
        let code = self.message["code"]["code"].as_str();
        let of_summary = ["aborting due to", "For more information", "Some errors have"];
        let spans = list(&self.message["spans"]);
        if spans.is_empty() && of_summary.iter().any(|start| message.starts_with(start))
            || code.is_some_and(|code| NATURAL.contains(&code))
        {
            return None;
        }
        let is_error = self.message["level"] == "error";
        let name = if is_error { "error" } else { "warning" };
        let badge = if is_error { palette::error(name) } else { palette::warning(name) };
        let mut lines = vec![format!("{badge} {}", palette::bold(&message))];
        if let Some(code) = code {
            lines[0].push_str(&format!(" [{code}]"));
        }
        let marks: Vec<Mark> = spans.iter().filter_map(|span| self.mark(span)).collect();
        let touches_cell = marks.iter().any(|mark| mark.number.is_some());
        let in_cell = marks.iter().any(|mark| mark.number.is_some() && mark.primary);
        lines.extend(drawing::draw(&marks));
        if marks.is_empty() {
            lines.extend(self.elsewhere(spans));
        }
        for child in list(&self.message["children"]) {
            lines.extend(self.child(child));
        }
        lines.extend(hint::for_code(code, &message).map(|hint| help(&hint)));
        let headline = match code {
            Some(code) => format!("{message} [{code}]"),
            None => message,
        };
        Some(Diagnostic { headline, text: lines.join("\n"), in_cell, touches_cell })
    }

    /// The place of a span that the cell, now or earlier, has written.
    fn mark(&self, span: &Value) -> Option<Mark> {
        let number = |key: &str| span[key].as_u64().and_then(|n| usize::try_from(n).ok());
        let here =
            self.message[OTHER_CRATE].is_null() && text(&span["file_name"]).ends_with("src/lib.rs");
        let own = || {
            let (first, last) = (number("line_start")?, number("line_end")?);
            // What evcxr writes around an expression may be in the span too.
            let written = (first..=last).find(|&line| self.alignment.place(line).is_some());
            let line = written.unwrap_or(first);
            let (code, shown, shift) = match self.alignment.place(line) {
                Some(place) => {
                    (self.alignment.cell(place.line)?, Some(place.line + 1), place.shift)
                }
                None if self.alignment.is_item(line) => (self.alignment.generated(line)?, None, 0),
                None => return None,
            };
            let column = |key: &str| number(key)?.checked_add_signed(shift)?.checked_sub(1);
            let start = if line == first {
                column("column_start")?
            } else {
                code.chars().take_while(|c| c.is_whitespace()).count()
            };
            let end =
                if line == last { column("column_end")? } else { code.trim_end().chars().count() };
            Some(Mark {
                number: shown,
                code: code.to_owned(),
                start,
                end,
                label: plain_names(text(&span["label"])),
                primary: span["is_primary"] == true,
            })
        };
        here.then(own).flatten().or_else(|| {
            let call = &span["expansion"]["span"];
            let mut mark = if call.is_object() { self.mark(call)? } else { return None };
            mark.label = plain_names(text(&span["label"]));
            mark.primary = span["is_primary"] == true;
            Some(mark)
        })
    }

    /// Where an error is that is not in any cell.
    fn elsewhere(&self, spans: &[Value]) -> Option<String> {
        let span = spans.iter().find(|span| span["is_primary"] == true)?;
        let name = self.message[OTHER_CRATE].as_str()?;
        let line = text(&span["text"][0]["text"]);
        Some(format!(
            " --> {}:{} of the crate {name}\n{line}",
            text(&span["file_name"]),
            span["line_start"]
        ))
    }

    fn child(&self, child: &Value) -> Vec<String> {
        let message = plain_names(text(&child["message"]));
        if ASIDES.iter().any(|aside| message.starts_with(aside)) {
            return Vec::new();
        }
        let spans = list(&child["spans"]);
        let suggested: Vec<&Value> =
            spans.iter().filter(|span| span["suggested_replacement"].is_string()).collect();
        let mut lines = Vec::new();
        if child["level"] == "help" {
            lines.push(help(&message));
            lines.extend(self.suggestions(&suggested));
        } else {
            lines.push(format!("{}: {}", palette::bold(text(&child["level"])), indent(&message)));
            let marks: Vec<Mark> = spans.iter().filter_map(|span| self.mark(span)).collect();
            lines.extend(drawing::draw(&marks));
        }
        lines
    }

    /// The code after each suggestion.
    fn suggestions(&self, spans: &[&Value]) -> Vec<String> {
        let replacement = |span: &Value| text(&span["suggested_replacement"]).to_owned();
        let imports: Vec<String> = spans
            .iter()
            .map(|span| plain_imports(replacement(span).trim()))
            .filter(|line| line.starts_with("use "))
            .collect();
        let mut lines = if !imports.is_empty() {
            imports
        } else if spans.windows(2).any(|pair| pair[0]["byte_start"] == pair[1]["byte_start"]) {
            spans.iter().flat_map(|span| self.edited(&[span])).collect()
        } else {
            self.edited(spans)
        };
        lines.dedup();
        let more = lines.len().saturating_sub(ALTERNATIVES);
        lines.truncate(ALTERNATIVES);
        if more > 0 {
            lines.push(format!("… and {more} more"));
        }
        lines.iter().map(|line| format!("    {line}")).collect()
    }

    /// The lines of the cell that `spans` change, changed.
    fn edited(&self, spans: &[&Value]) -> Vec<String> {
        let mut edits: Vec<(Mark, &str)> = Vec::new();
        for span in spans {
            // A change over several lines cannot be shown in one.
            match self.mark(span).filter(|_| span["line_start"] == span["line_end"]) {
                Some(mark) => edits.push((mark, text(&span["suggested_replacement"]))),
                None => return Vec::new(),
            }
        }
        let mut lines: Vec<(Option<usize>, String)> = Vec::new();
        // From the right, so that the columns to the left stay what they are.
        edits.sort_by_key(|(mark, _)| std::cmp::Reverse(mark.start));
        for (mark, replacement) in edits {
            let at = match lines.iter().position(|(number, _)| *number == mark.number) {
                Some(at) => at,
                None => {
                    lines.push((mark.number, mark.code.clone()));
                    lines.len() - 1
                }
            };
            let code = &mut lines[at].1;
            let byte = |column: usize| code.char_indices().nth(column).map_or(code.len(), |c| c.0);
            let range = byte(mark.start)..byte(mark.end.max(mark.start));
            code.replace_range(range, replacement);
        }
        lines.sort();
        lines.iter().map(|(_, code)| plain_names(code.trim()).replace('\n', "\n    ")).collect()
    }
}

/// A suggested import, by the name that a cell gives the library.
fn plain_imports(line: &str) -> String {
    line.replace("eigenlens_notebook::", "eigenlens::")
}

fn help(message: &str) -> String {
    format!("{}: {}", palette::bold("help"), indent(message))
}

fn indent(message: &str) -> String {
    message.replace('\n', "\n      ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SOURCE: &str = "#![allow(unused_imports, unused_mut, dead_code)]\n\
                          use eigenlens::prelude::*;\n\
                          fn earlier(n: i32) {}\n\
                          struct EvcxrUserCodeError {}\n\
                          let _ = (|| {\n\
                          let a = 1;\n\
                          (\n\
                          Instant::now()\n\
                          ).evcxr_display();\n";
    const CODE: &str = "let a = 1;\nInstant::now()";

    fn span(line: usize, columns: (usize, usize), label: &str, primary: bool) -> Value {
        json!({
            "file_name": "src/lib.rs", "line_start": line, "line_end": line,
            "column_start": columns.0, "column_end": columns.1, "byte_start": line * 100,
            "label": label, "is_primary": primary, "expansion": null,
        })
    }

    fn message(level: &str, code: &str, text: &str, spans: Value, children: Value) -> Value {
        json!({
            "level": level, "message": text, "code": {"code": code}, "spans": spans,
            "children": children,
        })
    }

    fn compilation(succeeded: bool, messages: Vec<Value>) -> [Compilation; 1] {
        [Compilation { source: SOURCE.to_owned(), succeeded, messages }]
    }

    fn unstyled(text: &str) -> String {
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, styled)) = rest.split_once("\u{1b}[") {
            plain.push_str(before);
            rest = styled.split_once('m').map_or("", |(_, after)| after);
        }
        plain + rest
    }

    #[test]
    fn a_missing_import_is_named_with_its_line_and_what_to_write() {
        let mut suggestion = span(2, (1, 1), "", true);
        suggestion["suggested_replacement"] = json!("use std::time::Instant;\n");
        let help = json!([{"level": "help", "message": "consider importing this struct", "spans": [suggestion], "children": []}]);
        let error = message(
            "error",
            "E0433",
            "failed to resolve: use of undeclared type `Instant`",
            json!([span(8, (1, 8), "use of undeclared type `Instant`", true)]),
            help,
        );
        let found = errors(&compilation(false, vec![error]), CODE);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].headline,
            "failed to resolve: use of undeclared type `Instant` [E0433]"
        );
        assert_eq!(
            unstyled(&found[0].text),
            "error failed to resolve: use of undeclared type `Instant` [E0433]\n \
             --> cell:2:1 (line 2 of this cell)\n  \
             |\n\
             2 | Instant::now()\n  \
             | ^^^^^^^ use of undeclared type `Instant`\n\
             help: consider importing this struct\n    use std::time::Instant;"
        );
    }

    #[test]
    fn warnings_never_come_before_errors_and_errors_in_the_cell_come_first() {
        let warning =
            message("warning", "unused_parens", "w", json!([span(6, (1, 4), "", true)]), json!([]));
        let other =
            message("error", "E0001", "in an item", json!([span(3, (1, 3), "", true)]), json!([]));
        let own =
            message("error", "E0002", "in the cell", json!([span(6, (1, 4), "", true)]), json!([]));
        let found = errors(&compilation(false, vec![warning, other.clone(), own]), CODE);
        let headlines: Vec<&str> = found.iter().map(|error| error.headline.as_str()).collect();
        assert_eq!(headlines, ["in the cell [E0002]"]);
        let alone = errors(&compilation(false, vec![other]), CODE);
        assert!(unstyled(&alone[0].text).contains("an earlier cell"), "{}", alone[0].text);
    }

    #[test]
    fn an_unknown_type_comes_after_what_it_follows_from() {
        let error =
            |code: &str| message("error", code, "e", json!([span(6, (1, 4), "", true)]), json!([]));
        let found = errors(&compilation(false, vec![error("E0282"), error("E0425")]), CODE);
        assert_eq!(found[0].headline, "e [E0425]");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn warnings_are_those_about_this_cell_that_a_notebook_wants() {
        let warning = |code: &str, line: usize| {
            message("warning", code, code, json!([span(line, (1, 4), "", true)]), json!([]))
        };
        let all = vec![
            warning("unused_must_use", 6),
            warning("unused_variables", 6),
            warning("unused_must_use", 3),
            warning("unused_must_use", 5),
        ];
        let found = warnings(&compilation(true, all), CODE);
        assert_eq!(found.len(), 1);
        assert!(unstyled(&found[0].text).starts_with("warning unused_must_use"));
    }

    #[test]
    fn a_suggestion_shows_the_line_as_it_would_be() {
        let mut first = span(6, (9, 9), "", true);
        first["suggested_replacement"] = json!("Some(");
        let mut second = span(6, (10, 10), "", true);
        second["suggested_replacement"] = json!(")");
        second["byte_start"] = json!(610);
        let help = json!([{"level": "help", "message": "try wrapping", "spans": [first, second], "children": []}]);
        let error = message(
            "error",
            "E0308",
            "mismatched types",
            json!([span(6, (9, 10), "", true)]),
            help,
        );
        let text = unstyled(&errors(&compilation(false, vec![error]), CODE)[0].text);
        assert!(text.ends_with("help: try wrapping\n    let a = Some(1);"), "{text}");
    }

    #[test]
    fn names_of_the_kernels_own_crates_are_not_shown() {
        assert_eq!(
            plain_names(
                "expected `eigenlens_notebook::prelude::Tensor`, found `eigenlens_notebook::Error`"
            ),
            "expected `Tensor`, found `eigenlens::Error`"
        );
        assert_eq!(plain_names("`Map<_, {closure@src/lib.rs:9:38: 9:41}>`"), "`Map<_, {closure}>`");
    }
}
