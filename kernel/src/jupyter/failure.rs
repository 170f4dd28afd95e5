//! What went wrong in a cell, as the front end shows it.

use evcxr::{CompilationError, Error};
use jupyter_protocol::ReplyError;

use super::alignment::Alignment;
use super::bindings::Fate;
use super::drawing::{self, Mark};
use super::sink::{Failure, Panic, Run};
use super::{diagnostic, hint, palette, references};
use crate::eval::diagnostics::Compilation;

/// Decides between success and the several ways to fail. `fate` is what became of the variables,
/// `compilations` is what rustc said about the cell.
pub(crate) fn judge(
    result: Result<(), Error>,
    run: Run,
    stopped: bool,
    code: &str,
    fate: &Fate,
    compilations: &[Compilation],
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
        Err(Error::CompilationErrors(errors)) => {
            return Err(compilation(&errors, code, compilations));
        }
        Err(Error::SubprocessTerminated(how)) => return Err(process_lost(&how, stopped)),
        Err(other) => {
            let text = diagnostic::plain_names(&other.to_string());
            let advice = references::advice(&text, compilations);
            return Err(reply("Error", &text, advice.iter().map(|words| help(words)).collect()));
        }
        Ok(()) => {}
    }
    let line = |line: u32| {
        let ran = compilations.iter().rev().find(|compilation| compilation.succeeded)?;
        cell_line(line, code, &ran.source)
    };
    if let Some(panic) = &run.panic {
        return Err(panicked(panic, fate, line));
    }
    if run.stopped || stopped && run.failure.is_some() {
        let words = format!("Stopped at a safe point. {}", fate.words());
        let error = run.failure.map(|failure| failure.message);
        return Err(reply("Interrupted", &words, error.into_iter().collect()));
    }
    if stopped {
        let words = format!(
            "Stop was pressed, but the code reached no safe point and ran to its end. {}",
            fate.words()
        );
        return Err(reply("Interrupted", &words, vec![]));
    }
    match run.failure {
        Some(failure) => Err(returned(failure, fate, line)),
        None => Ok(()),
    }
}

/// Rustc's warnings about a cell that ran, as text to show below it.
pub(crate) fn warnings(code: &str, compilations: &[Compilation]) -> Option<String> {
    let found = diagnostic::warnings(compilations, code);
    let texts: Vec<String> = found.into_iter().map(|warning| warning.text + "\n").collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

/// An error value: one that `?` returned, or the cell's last value.
fn returned(failure: Failure, fate: &Fate, line: impl FnOnce(u32) -> Option<String>) -> ReplyError {
    let Failure { message, causes, line: number } = failure;
    let mut details: Vec<String> =
        causes.iter().map(|cause| format!("{}: {cause}", palette::bold("caused by"))).collect();
    details.extend(number.and_then(line));
    let all = std::iter::once(&message).chain(&causes);
    details.extend(all.filter_map(|text| hint::for_error(text)).next().map(|hint| help(&hint)));
    details.push(match number {
        Some(_) => fate.words(),
        None => format!("The cell's last value is an `Err`. {}", fate.words()),
    });
    reply("Error", &message, details)
}

fn help(words: &str) -> String {
    format!("{}: {words}", palette::bold("help"))
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

fn panicked(panic: &Panic, fate: &Fate, line: impl FnOnce(u32) -> Option<String>) -> ReplyError {
    let at = if panic.file == "src/lib.rs" {
        line(panic.line)
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

/// Names the line of the cell that is line `number` of the crate compiled for it.
fn cell_line(number: u32, code: &str, source: &str) -> Option<String> {
    let alignment = Alignment::new(source, code);
    let line = alignment.place(usize::try_from(number).ok()?)?.line;
    Some(format!("on line {} of this cell:  {}", line + 1, alignment.cell(line)?.trim()))
}

fn compilation(
    errors: &[CompilationError],
    code: &str,
    compilations: &[Compilation],
) -> ReplyError {
    // Evcxr words some errors itself: those of commands, and of variables that cannot be kept.
    let worded = errors.iter().any(|error| error.json.is_null());
    let found = if worded { Vec::new() } else { diagnostic::errors(compilations, code) };
    let evalue;
    let traceback = if let Some(first) = found.first() {
        evalue = first.headline.clone();
        found.into_iter().map(|error| error.text).collect()
    } else {
        let errors = references::last(errors);
        evalue = errors
            .iter()
            .find(|error| error.json.is_null() || error.level() == "error")
            .map_or_else(
                || "the cell does not compile".to_owned(),
                |error| worded_by_evcxr(error, compilations).0,
            );
        errors.iter().map(|error| drawn(error, code, compilations)).collect()
    };
    ReplyError { ename: "CompilationError".to_owned(), evalue, traceback }
}

/// An error in the words of evcxr, and what to do about it.
fn worded_by_evcxr(
    error: &CompilationError,
    compilations: &[Compilation],
) -> (String, Option<String>) {
    let message = diagnostic::plain_names(&error.message());
    let advice = references::advice(&message, compilations);
    match (references::borrower(&message), error.code()) {
        (Some(name), _) => (
            format!("the variable `{name}` borrows from another value, so it cannot be kept"),
            advice,
        ),
        (None, Some(number)) => (format!("{message} [{number}]"), advice),
        (None, None) => (message, advice),
    }
}

fn drawn(error: &CompilationError, code: &str, compilations: &[Compilation]) -> String {
    let (message, words) = worded_by_evcxr(error, compilations);
    let mut lines = vec![format!("{} {}", palette::error("error"), palette::bold(&message))];
    let marks: Vec<Mark> = error
        .spanned_messages()
        .iter()
        .filter_map(|message| {
            let span = message.span.as_ref()?;
            let line = code.lines().nth(span.start_line.checked_sub(1)?)?;
            let one_line = span.start_line == span.end_line;
            Some(Mark {
                number: Some(span.start_line),
                code: line.to_owned(),
                start: span.start_column.saturating_sub(1),
                end: if one_line {
                    span.end_column.saturating_sub(1)
                } else {
                    line.chars().count()
                },
                label: message.label.clone(),
                primary: message.is_primary,
            })
        })
        .collect();
    lines.extend(drawing::draw(&marks));
    lines.extend(words.map(|words| help(&words)));
    lines.join("\n")
}

fn reply(name: &str, value: &str, details: Vec<String>) -> ReplyError {
    let mut traceback = vec![format!("{}: {value}", palette::error(name))];
    traceback.extend(details);
    ReplyError { ename: name.to_owned(), evalue: value.to_owned(), traceback }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panic(file: &str) -> Panic {
        Panic { message: "boom".into(), file: file.into(), line: 2 }
    }

    fn ran(source: &str) -> [Compilation; 1] {
        [Compilation { source: source.to_owned(), succeeded: true, messages: vec![] }]
    }

    fn failed(failure: Failure, code: &str, source: &str) -> ReplyError {
        let fate = if failure.line.is_some() { Fate::default() } else { Fate::finished() };
        let run = Run { began: true, failure: Some(failure), ..Run::default() };
        judge(Ok(()), run, false, code, &fate, &ran(source)).unwrap_err()
    }

    #[test]
    fn a_panic_names_whose_code_it_was_in() {
        let at =
            |file: &str| panicked(&panic(file), &Fate::default(), |_| None).traceback.join("\n");
        assert!(
            at("somewhere/eigenlens/src/toy.rs").contains("the library eigenlens, src/toy.rs:2")
        );
        let registry = "x/registry/src/index-1/candle-core-0.11.1/src/tensor.rs";
        assert!(at(registry).contains("the crate candle-core-0.11.1, src/tensor.rs:2"));
    }

    #[test]
    fn a_panic_in_the_cell_shows_its_line() {
        let run = Run { panic: Some(panic("src/lib.rs")), ..Run::default() };
        let source = ran("generated\nlet x = v[7];\n");
        let code = "let v = vec![1];\nlet x = v[7];";
        let reply = judge(Ok(()), run, false, code, &Fate::default(), &source).unwrap_err();
        assert!(reply.traceback[1].contains("line 2 of this cell:  let x = v[7];"));
        assert_eq!((reply.ename.as_str(), reply.evalue.as_str()), ("Panic", "boom"));
    }

    #[test]
    fn an_error_of_a_question_mark_names_line_causes_and_help() {
        let failure = Failure {
            message: "shape mismatch in sub, lhs: [5, 2], rhs: [2]".into(),
            causes: vec!["the root".into()],
            line: Some(3),
        };
        let code = "let a = 1;\nlet b = (&x - m)?;";
        let reply = failed(failure, code, "{\nlet a = 1;\nlet b = (&x - m)?;\n");
        let text = reply.traceback.join("\n");
        assert_eq!(reply.evalue, "shape mismatch in sub, lhs: [5, 2], rhs: [2]");
        assert!(text.contains("caused by\u{1b}[0m: the root"), "{text}");
        assert!(text.contains("on line 2 of this cell:  let b = (&x - m)?;"), "{text}");
        assert!(text.contains("broadcast_sub"), "{text}");
        assert!(text.contains("those new in this cell are not"), "{text}");
    }

    #[test]
    fn an_err_as_the_last_value_loses_no_variable() {
        let failure = Failure { message: "no".into(), causes: vec![], line: None };
        let text = failed(failure, "f()", "").traceback.join("\n");
        assert!(text.contains("last value is an `Err`. All variables are kept"), "{text}");
    }

    #[test]
    fn texts_of_any_length_stay_whole() {
        let long = "x".repeat(10_000_000);
        let reply = failed(Failure { message: long.clone(), causes: vec![], line: None }, "", "");
        assert_eq!(reply.evalue, long);
        assert!(reply.traceback[0].ends_with(&long));
    }

    #[test]
    fn stop_says_what_became_of_the_variables() {
        let kept = Run { began: true, stopped: true, ..Run::default() };
        let reply = judge(Ok(()), kept, true, "", &Fate::finished(), &[]).unwrap_err();
        assert!(reply.evalue.contains("kept"));
        let killed = Run { began: true, exited: Some("killed".into()), ..Run::default() };
        let reply = judge(Ok(()), killed, true, "", &Fate::finished(), &[]).unwrap_err();
        assert!(reply.evalue.contains("lost"));
        let unseen = Run { began: true, ..Run::default() };
        let reply = judge(Ok(()), unseen, true, "", &Fate::finished(), &[]).unwrap_err();
        assert!(reply.evalue.contains("ran to its end. All variables are kept."));
        let error = Some(Failure { message: "half way".into(), ..Failure::default() });
        let ended = Run { began: true, failure: error, ..Run::default() };
        let reply = judge(Ok(()), ended, true, "", &Fate::default(), &[]).unwrap_err();
        assert_eq!(reply.ename, "Interrupted");
        assert!(reply.evalue.contains("those new in this cell are not"));
    }
}
