//! What to do about a variable that cannot outlive its cell: references, closures, iterators.
//!
//! Evcxr says what is wrong with it; that a clone, or the owned form of the type, would do is what
//! most users do not know.

use evcxr::CompilationError;

use crate::eval::diagnostics::Compilation;

const REFERENCE: &str = "contains a reference with a non-static lifetime";

/// The variable that borrows from another value, if an error of evcxr says so.
pub(super) fn borrower(message: &str) -> Option<&str> {
    let (name, rest) = message.strip_prefix("The variable `")?.split_once('`')?;
    rest.trim_start().starts_with(REFERENCE).then_some(name)
}

/// The advice about one of evcxr's errors.
pub(super) fn advice(message: &str, compilations: &[Compilation]) -> Option<String> {
    let name = message.split('`').nth(1)?;
    let about_variable = message.starts_with("The variable `")
        || message.starts_with("Couldn't automatically determine type of variable `")
        || message.starts_with("Failed to determine type of variable `");
    if !about_variable {
        return None;
    }
    let mut sources = compilations.iter().rev().map(|compilation| &compilation.source);
    let type_name = sources.find_map(|source| type_of(name, source));
    let remedy = match type_name {
        Some(type_name) if message.contains(REFERENCE) => remedy(type_name),
        None if message.contains(REFERENCE) => {
            "end its expression in .clone(), or in .to_owned() for text and slices".to_owned()
        }
        _ if message.contains("is a closure") => return None,
        _ => "end an iterator in .collect::<Vec<_>>(); box a closure, with its type: \
              Box<dyn Fn(i32) -> i32>; give other values an explicit type"
            .to_owned(),
    };
    let braces = "if only this cell needs it, put its code into braces: `{ … }`".to_owned();
    Some(format!("to keep `{name}` for later cells, {remedy}; {braces}"))
}

/// The owned form of a borrowed type, in words.
fn remedy(type_name: &str) -> String {
    let referent = type_name.trim_start().strip_prefix('&').map(|rest| {
        let rest = rest.trim_start();
        let rest = rest.strip_prefix("'static").unwrap_or(rest).trim_start();
        rest.strip_prefix("mut ").unwrap_or(rest).trim_start()
    });
    let last = |name: &str| {
        let name = name.split('<').next().unwrap_or_default();
        name.rsplit("::").next().unwrap_or_default().trim().to_owned()
    };
    match referent {
        Some("str") => "end its expression in .to_owned(): that makes a String".to_owned(),
        Some(slice) if slice.starts_with('[') => {
            "end its expression in .to_vec(): that copies the slice".to_owned()
        }
        Some(object) if object.starts_with("dyn ") => format!("own it: Box<{object}>"),
        Some(path) if last(path) == "Path" => {
            "end its expression in .to_owned(): that makes a PathBuf".to_owned()
        }
        Some(handle) if ["Tensor", "Var", "Arc", "Rc"].contains(&last(handle).as_str()) => {
            "end its expression in .clone(): that is a handle to the same data and costs nothing"
                .to_owned()
        }
        Some(_) => "end its expression in .clone()".to_owned(),
        None if type_name.contains("iter::") || last(type_name).ends_with("Iter") => {
            "end its expression in .collect::<Vec<_>>()".to_owned()
        }
        None if type_name.contains("dyn ") => {
            "let it own what it captures: write move in front of the closure, and clone what is \
             needed later"
                .to_owned()
        }
        None if last(type_name) == "Vec" || last(type_name) == "Option" => {
            "own what is in it: .cloned() on an Option or an iterator".to_owned()
        }
        None => "store what it borrows from inside it, or end its expression in .clone() or \
                 .to_owned()"
            .to_owned(),
    }
}

/// The type that evcxr found for a variable.
fn type_of<'a>(name: &str, source: &'a str) -> Option<&'a str> {
    let end = format!(">(stringify!({name})");
    source.lines().find_map(|line| {
        let (before, _) = line.split_once(&end)?;
        let (_, type_name) = before.rsplit_once("put_variable::<")?;
        Some(type_name)
    })
}

/// Errors in the order in which a user can do something about them: that a variable cannot be kept
/// often only follows from another one.
pub(super) fn last(errors: &[CompilationError]) -> Vec<&CompilationError> {
    let mut errors: Vec<&CompilationError> = errors.iter().collect();
    errors.sort_by_key(|error| error.message().contains(REFERENCE));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(type_name: &str) -> String {
        let source =
            format!("  evcxr_variable_store.put_variable::<{type_name}>(stringify!(x), x);");
        let compilations = [Compilation { source, ..Compilation::default() }];
        advice(&format!("The variable `x` {REFERENCE} so\ncan't be persisted."), &compilations)
            .expect("advice")
    }

    #[test]
    fn the_advice_fits_the_type() {
        for (type_name, words) in [
            ("&candle_core::Tensor", ".clone(): that is a handle"),
            ("&mut Probe", ".clone()"),
            ("&str", ".to_owned(): that makes a String"),
            ("&'static str", ".to_owned()"),
            ("&[f32]", ".to_vec()"),
            ("&std::path::Path", "PathBuf"),
            ("core::slice::Iter<i32>", ".collect::<Vec<_>>()"),
            ("core::iter::Enumerate<core::slice::Iter<i32>>", ".collect::<Vec<_>>()"),
            ("Box<dyn Fn(i32) -> i32>", "move"),
            ("Vec<&str>", ".cloned()"),
        ] {
            assert!(of(type_name).contains(words), "{type_name}: {}", of(type_name));
        }
    }

    #[test]
    fn other_errors_get_no_advice() {
        assert_eq!(advice("mismatched types", &[]), None);
        assert_eq!(advice("cannot find value `x` in this scope", &[]), None);
        let unknown = "Couldn't automatically determine type of variable `it`.";
        assert!(advice(unknown, &[]).is_some_and(|advice| advice.contains("collect")));
    }
}
