//! What went wrong in a cell, as the front end shows it.

use evcxr::{CompilationError, Error, Theme};
use jupyter_protocol::ReplyError;

use super::bindings::Fate;
use super::impls::Impls;
use super::references;
use super::sink::{Panic, Run};

const RED: &str = "\u{1b}[1;31m";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// Decides between success and the several ways to fail. `source` gives the crate that evcxr
/// compiled for the cell.
pub(crate) fn judge(
    result: Result<(), Error>,
    run: Run,
    stopped: bool,
    code: &str,
    fate: &Fate,
    source: impl FnOnce() -> Option<String>,
) -> Result<(), ReplyError> {
    if let Some(how) = &run.exited {
        return Err(process_lost(how, stopped));
    }
    if stopped && !run.began {
        return Err(reply(
            "Interrupted",
            "Stopped while compiling. All variables are kept.",
            vec![],
        ));
    }
    match result {
        Err(Error::CompilationErrors(errors)) => return Err(compilation(errors, code, source().as_deref())),
        Err(Error::SubprocessTerminated(how)) => return Err(process_lost(&how, stopped)),
        Err(other) => {
            let text = other.to_string();
            let advice = references::advice(&text, source().as_deref());
            return Err(reply("Error", &text, advice.into_iter().collect()));
        }
        Ok(()) => {}
    }
    if let Some(panic) = &run.panic {
        return Err(panicked(panic, code, fate, source));
    }
    if run.stopped || stopped && run.error.is_some() {
        let words = format!("Stopped at a safe point. {}", fate.words());
        return Err(reply("Interrupted", &words, run.error.into_iter().collect()));
    }
    if stopped {
        let words = format!(
            "Stop was pressed, but the code reached no safe point and ran to its end. {}",
            fate.words()
        );
        return Err(reply("Interrupted", &words, vec![]));
    }
    match run.error {
        Some(text) => Err(reply("Error", &text, vec![fate.words()])),
        None => Ok(()),
    }
}

/// The evaluator could not be prepared.
pub(crate) fn not_ready(error: &anyhow::Error) -> ReplyError {
    let help = "`eigenlens doctor` says what is wrong with the installation; `eigenlens setup` \
                mends most of it. Then restart the kernel.";
    reply(
        "NotReady",
        &format!("the kernel could not start its evaluator: {error:#}"),
        vec![help.to_owned()],
    )
}

/// Evcxr or rust-analyzer panicked.
pub(crate) fn evaluator_crashed() -> ReplyError {
    let words = "the compiler front end of the kernel crashed on this cell";
    reply(
        "KernelError",
        words,
        vec!["Rewrite the cell, or restart the kernel if the next cell fails too.".to_owned()],
    )
}

/// The evaluator's thread has ended.
pub(crate) fn evaluator_gone() -> ReplyError {
    reply("KernelError", "the evaluator is gone; restart the kernel", vec![])
}

/// `:opt` would take the library out of the cells' manifest.
pub(crate) fn no_opt() -> ReplyError {
    let words = "`:opt` is not available here: the library is always fully optimised, and cells at \
                 level 2";
    reply("NotAvailable", words, vec![])
}

fn process_lost(how: &str, stopped: bool) -> ReplyError {
    let (name, words) = if stopped {
        (
            "Interrupted",
            "Stopped by ending the evaluation process: all variables are lost.".to_owned(),
        )
    } else {
        (
            "ProcessLost",
            format!("The evaluation process ended: {}. All variables are lost.", how.trim()),
        )
    };
    let kept =
        "Functions, types, imports and dependencies are kept; run the cells with `let` again.";
    reply(name, &words, vec![kept.to_owned()])
}

fn panicked(
    panic: &Panic,
    code: &str,
    fate: &Fate,
    source: impl FnOnce() -> Option<String>,
) -> ReplyError {
    let at = if panic.file == "src/lib.rs" {
        cell_line(panic.line, code, source)
    } else if panic.file.is_empty() {
        None
    } else {
        Some(format!("in {} {}:{}", owner(&panic.file), short(&panic.file), panic.line))
    };
    let mut lines: Vec<String> = at.into_iter().collect();
    lines.push(fate.words());
    reply("Panic", &panic.message, lines)
}

/// Names the crate that a source file belongs to.
fn owner(file: &str) -> String {
    let parts: Vec<&str> = file.split(['/', '\\']).collect();
    // Registry sources are laid out as `registry/src/INDEX/NAME-VERSION/src/…`.
    if let Some(at) = parts.iter().position(|part| *part == "registry")
        && let Some(name) = parts.get(at + 3)
    {
        return format!("the crate {name},");
    }
    if file.contains("/rustc/") || file.contains("/library/") {
        return "the standard library,".to_owned();
    }
    "the library eigenlens,".to_owned()
}

fn short(file: &str) -> &str {
    file.rfind("src/").map_or(file, |at| &file[at..])
}

/// The line of the cell that stands on line `line` of the crate compiled for it.
fn cell_line(line: u32, code: &str, source: impl FnOnce() -> Option<String>) -> Option<String> {
    let source = source()?;
    let text = source.lines().nth(line.checked_sub(1)? as usize)?.trim();
    let number = code.lines().position(|candidate| {
        let candidate = candidate.trim();
        !candidate.is_empty() && text.contains(candidate.trim_end_matches(';'))
    })?;
    Some(format!("on line {} of this cell:  {}", number + 1, code.lines().nth(number)?.trim()))
}

fn compilation(errors: Vec<CompilationError>, code: &str, source: Option<&str>) -> ReplyError {
    let errors = references::sorted(errors);
    let mut traceback = Vec::new();
    for error in &errors {
        let report = error
            .is_from_user_code()
            .then(|| error.build_report("cell".to_owned(), code.to_owned(), Theme::Light))
            .flatten();
        let mut text = Vec::new();
        let drawn = report.is_some_and(|report| {
            let source = ("cell".to_owned(), ariadne::Source::from(code.to_owned()));
            report.write(source, &mut text).is_ok()
        });
        if drawn {
            traceback.push(Impls::hide(String::from_utf8_lossy(&text).trim_end()));
        } else {
            traceback.push(format!("{RED}error{PLAIN}: {}", error.message()));
            traceback.extend(spans(error, code));
        }
        traceback.extend(error.help().iter().map(|help| format!("{BOLD}help{PLAIN}: {help}")));
        let advice = references::advice(&error.message(), source);
        let advice = advice.or_else(|| crowded(error));
        let hint = advice.or_else(|| error.evcxr_extra_hint().map(str::to_owned));
        traceback.extend(hint.map(|hint| format!("{BOLD}hint{PLAIN}: {hint}")));
    }
    let evalue = errors.first().map_or_else(
        || "the cell does not compile".to_owned(),
        |error| match error.code() {
            Some(number) => format!("{} [{number}]", error.message()),
            None => error.message(),
        },
    );
    ReplyError { ename: "CompilationError".to_owned(), evalue, traceback }
}

/// What to do where an item of an earlier cell is in the way.
fn crowded(error: &CompilationError) -> Option<String> {
    let words = "an `impl` of an earlier cell has it too. Change it there and run that cell again;                  where that does not help, put the type and its `impl` into one cell and restart                  the kernel.";
    matches!(error.code(), Some("E0119" | "E0592")).then(|| words.to_owned())
}

/// The places of an error in words, for code that the drawn report cannot show.
fn spans(error: &CompilationError, code: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for message in error.spanned_messages() {
        if let Some(span) = &message.span {
            let text = code.lines().nth(span.start_line.saturating_sub(1)).unwrap_or_default();
            lines.push(format!("  line {}: {}", span.start_line, text.trim()));
        }
        if !message.label.is_empty() {
            lines.push(format!("  {}", message.label));
        }
    }
    lines
}

fn reply(name: &str, value: &str, details: Vec<String>) -> ReplyError {
    let mut traceback = vec![format!("{RED}{name}{PLAIN}: {value}")];
    traceback.extend(details);
    ReplyError { ename: name.to_owned(), evalue: value.to_owned(), traceback }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panic(file: &str) -> Panic {
        Panic { message: "boom".into(), file: file.into(), line: 2 }
    }

    #[test]
    fn a_panic_names_whose_code_it_was_in() {
        let at =
            |file: &str| panicked(&panic(file), "", &Fate::default(), || None).traceback.join("\n");
        assert!(
            at("somewhere/eigenlens/src/toy.rs").contains("the library eigenlens, src/toy.rs:2")
        );
        let registry = "x/registry/src/index-1/candle-core-0.11.1/src/tensor.rs";
        assert!(at(registry).contains("the crate candle-core-0.11.1, src/tensor.rs:2"));
    }

    #[test]
    fn a_panic_in_the_cell_shows_its_line() {
        let source = || Some("generated\nlet x = v[7];\n".to_owned());
        let code = "let v = vec![1];\nlet x = v[7];";
        let reply = panicked(&panic("src/lib.rs"), code, &Fate::default(), source);
        assert!(reply.traceback[1].contains("line 2 of this cell:  let x = v[7];"));
        assert_eq!((reply.ename.as_str(), reply.evalue.as_str()), ("Panic", "boom"));
    }

    #[test]
    fn stop_says_what_became_of_the_variables() {
        let kept = Run { began: true, stopped: true, ..Run::default() };
        let reply = judge(Ok(()), kept, true, "", &Fate::default(), || None).unwrap_err();
        assert!(reply.evalue.contains("kept"));
        let killed = Run { began: true, exited: Some("killed".into()), ..Run::default() };
        let reply = judge(Ok(()), killed, true, "", &Fate::default(), || None).unwrap_err();
        assert!(reply.evalue.contains("lost"));
    }
}
