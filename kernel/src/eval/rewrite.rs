//! Changes to the crate that evcxr generates for a cell, made just before it is compiled.
//!
//! A line stays a line: evcxr tells by line numbers whose code a compiler's message is about. The
//! user's own lines are never changed, even if they look like generated ones.
//!
//! - The conversion by which `?` returns an error tells the library the error and, through
//!   `#[track_caller]`, its line; evcxr would print the text to standard error, where it cannot be
//!   told from the user's own.
//! - The last expression goes through [`eigenlens::notebook::cell`], so that an `Err` fails the
//!   cell and an `Ok` shows what it holds.
//! - Lines by which generated code talks to evcxr begin with a character that printed text does not
//!   contain, so that a cell may print such a line.
//!
//! [`eigenlens::notebook::cell`]: ../../../src/notebook/cell.rs

use std::path::Path;

/// The cell's crate, in the folder in which evcxr calls cargo.
pub(crate) const SOURCE: &str = "src/lib.rs";

const MANIFEST: &str = "Cargo.toml";
/// The line in the manifest without which a cell cannot call the library.
const LIBRARY: &str = "[dependencies.eigenlens]";

const CONVERSION: &str = "From<T> for EvcxrUserCodeError {";
const CONVERT: &str = "fn from(error: T) -> Self {";
const RUNTIME: &str = "mod evcxr_internal_runtime {";
const ENTRY: &str = "pub extern \"C\" fn run_user_code_";
const EXPORTED: &str = "#[unsafe(no_mangle)]";
const DISPLAY: &str = ").evcxr_display();";
const PANICKED: &str = "    println!(\"EVCXR_PANIC_NOTIFICATION\");";
const MESSAGES: [&str; 2] = ["\"EVCXR_VARIABLE_CHANGED_TYPE:\"", "\"EVCXR_ERROR_OCCURRED\""];

const TRAITS: &str = "use ::eigenlens::notebook::{DebugDisplay as _, cell::{CellValue as _, \
                      PassOn as _, ShowItself as _, TellDebug as _, TellDisplay as _, TellError as _}};";
const SHOW: &str = ").eigenlens_cell_value().open().tell().open().tell().open().tell()\
                    .shown(|value| (*value).evcxr_display());";

/// Changes the source in the current folder, if it is a cell's that has the library.
pub(crate) fn rewrite_cell() {
    let manifest = std::fs::read_to_string(MANIFEST).unwrap_or_default();
    let Ok(source) = std::fs::read_to_string(SOURCE) else { return };
    let changed = rewrite(&source, manifest.contains(LIBRARY));
    if changed != source {
        // A cell that could not be changed is compiled as it is.
        let _ = std::fs::write(Path::new(SOURCE), changed);
    }
}

/// The source as it is to be compiled, line for line.
fn rewrite(source: &str, has_library: bool) -> String {
    let mut lines: Vec<String> = source.split('\n').map(str::to_owned).collect();
    let find = |lines: &[String], wanted: &dyn Fn(&str) -> bool| {
        lines.iter().position(|line| wanted(line.trim()))
    };
    if let Some(at) = find(&lines, &|line| line == RUNTIME) {
        for line in lines.iter_mut().skip(at).take(20) {
            for message in MESSAGES {
                *line = line.replace(message, &message.replace("EVCXR_", "\\u{1e}EVCXR_"));
            }
        }
    }
    let panicked = |pair: &[String]| pair[0] == PANICKED && pair[1] == "}}";
    if let Some(at) = lines.windows(2).rposition(panicked) {
        lines[at] = lines[at].replace("EVCXR_", "\\u{1e}EVCXR_");
    }
    if has_library {
        if let Some(at) = find(&lines, &|line| line.ends_with(CONVERSION)) {
            report_returned_errors(&mut lines[at..]);
        }
        show_last_expression(&mut lines);
    }
    lines.join("\n")
}

/// `lines` begin with evcxr's implementation of `From` for its own error.
fn report_returned_errors(lines: &mut [String]) {
    let Some([convert, print]) = lines.get_mut(1..3) else { return };
    let Some(format) = print
        .trim()
        .strip_prefix("eprintln!(\"")
        .and_then(|rest| rest.strip_suffix("\", error);"))
        .map(str::to_owned)
    else {
        return;
    };
    if convert.trim() == CONVERT {
        *convert = format!("#[track_caller] {CONVERT}");
        let alternate = if format == "{}" { "{:#}" } else { &format };
        *print = format!(
            "::eigenlens::notebook::cell::returned(&format!(\"{format}\", error), \
             &format!(\"{alternate}\", error));"
        );
    }
}

fn show_last_expression(lines: &mut [String]) {
    let entry = lines
        .windows(2)
        .rposition(|pair| pair[0].starts_with(EXPORTED) && pair[1].starts_with(ENTRY));
    let display = lines.iter().rposition(|line| line == DISPLAY);
    if let (Some(entry), Some(display)) = (entry, display)
        && entry < display
    {
        lines[entry] = format!("{TRAITS} {EXPORTED}");
        SHOW.clone_into(&mut lines[display]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What evcxr 0.22 generates for `let n = f()?;` and `n`, in its essential lines.
    const CELL: &str = r#"#![allow(unused_imports, unused_mut, dead_code)]
use eigenlens::prelude::*;

            struct EvcxrUserCodeError {}
            impl<T: std::fmt::Display> From<T> for EvcxrUserCodeError {
                fn from(error: T) -> Self {
                    eprintln!("{}", error);
                    println!("{}", evcxr_internal_runtime::USER_ERROR_OCCURRED);
                    EvcxrUserCodeError {}
                }
            }
        
mod evcxr_internal_runtime {
pub const VARIABLE_CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";
pub const USER_ERROR_OCCURRED: &str = "EVCXR_ERROR_OCCURRED";
}
#[unsafe(no_mangle)]
pub extern "C" fn run_user_code_3(
match std::panic::catch_unwind(
  std::panic::AssertUnwindSafe(||{
let _ = (|| -> std::result::Result<(), EvcxrUserCodeError> {
let n = f()?;
println!("EVCXR_PANIC_NOTIFICATION");
(
n
).evcxr_display();
Ok(())})();
})) { 
  Ok(_) => {}
  Err(_) => {
    println!("EVCXR_PANIC_NOTIFICATION");
}}
evcxr_variable_store
}
"#;

    #[test]
    fn generated_lines_change_and_the_users_do_not() {
        let changed = rewrite(CELL, true);
        assert_eq!(changed.lines().count(), CELL.lines().count());
        let line = |start: &str| {
            let found: Vec<&str> =
                changed.lines().filter(|line| line.trim().starts_with(start)).collect();
            assert_eq!(found.len(), 1, "{start}: {found:?}");
            found[0].trim().to_owned()
        };
        assert_eq!(line("#[track_caller]"), format!("#[track_caller] {CONVERT}"));
        assert!(line("::eigenlens::notebook::cell::returned").contains("{:#}"));
        assert!(line("pub const USER_ERROR").contains(r#""\u{1e}EVCXR_ERROR_OCCURRED""#));
        assert!(line("pub const VARIABLE_CH").contains(r#""\u{1e}EVCXR_VARIABLE_CHANGED_TYPE:""#));
        assert_eq!(line(").eigenlens_cell_value()"), SHOW);
        assert!(line("use ::eigenlens").ends_with(EXPORTED));
        assert_eq!(line(r#"println!("\u{1e}"#), r#"println!("\u{1e}EVCXR_PANIC_NOTIFICATION");"#);
        assert_eq!(line(r#"println!("EVCXR"#), r#"println!("EVCXR_PANIC_NOTIFICATION");"#);
        assert_eq!(rewrite(&changed, true), changed, "once is enough");
    }

    #[test]
    fn other_formats_of_errors_are_kept() {
        let changed = rewrite(&CELL.replace("eprintln!(\"{}\"", "eprintln!(\"{:?}\""), true);
        assert!(changed.contains("returned(&format!(\"{:?}\", error), &format!(\"{:?}\", error))"));
    }

    #[test]
    fn without_the_library_only_the_marks_are_set() {
        let changed = rewrite(CELL, false);
        assert!(changed.contains("eprintln!(\"{}\", error);"));
        assert!(changed.contains(DISPLAY));
        assert!(changed.contains(r"\u{1e}EVCXR_PANIC_NOTIFICATION"));
    }
}
