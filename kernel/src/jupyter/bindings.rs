//! What became of the notebook's variables when a cell failed.
//!
//! The code around the cell has kept what it could in the store (see [`crate::eval::store`]). Evcxr
//! does not know of it: it has dropped each variable that the cell was to define anew or may have
//! moved. Those that are in the store are made known to it again here, without compiling anything;
//! the others are named.

use std::collections::BTreeSet;

use evcxr::CommandContext;

use super::sink::Run;
use crate::eval::store::{RESTORE, Unfinished, Variable};

/// What a failed cell did to the variables of earlier cells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// Those that the cell moved.
    moved: Vec<String>,
    /// Those whose type the cell defined anew.
    retyped: Vec<String>,
    /// Those that the cell was to define anew, and that have their old values.
    old: Vec<String>,
    /// Whether the cell's own variables are kept too: its code came to its end.
    finished: bool,
}

/// The variables that evcxr knows.
pub(crate) fn names(context: &CommandContext) -> BTreeSet<String> {
    context.variables_and_types().map(|(name, _)| name.to_owned()).collect()
}

/// Makes the variables that a failed cell left in the store known to evcxr again, and says what
/// became of all those that were there before it.
pub(crate) fn settle(context: &mut CommandContext, before: &BTreeSet<String>, run: &Run) -> Fate {
    let Some(Unfinished { kept, lost }) = run.unfinished.as_ref().filter(|_| run.exited.is_none())
    else {
        return if run.panic.is_none() { Fate::finished() } else { Fate::default() };
    };
    // Of some it remembers the type that they were to have.
    let known: BTreeSet<(&str, &str)> = context.variables_and_types().collect();
    let is_known = |v: &&Variable| known.contains(&(v.name.as_str(), v.type_name.as_str()));
    let forgotten: Vec<&Variable> = kept.iter().filter(|v| !is_known(v)).collect();
    if !forgotten.is_empty()
        && let Err(error) = context.execute(&restoring(&forgotten))
    {
        eprintln!("variables could not be restored: {error}");
    }
    let known = names(context);
    let (moved, retyped) = before
        .difference(&known)
        .cloned()
        .partition(|name| kept.iter().chain(lost).any(|variable| variable.name == *name));
    let old = kept.iter().filter(|v| v.redefined && known.contains(&v.name));
    Fate { moved, retyped, old: old.map(|v| v.name.clone()).collect(), finished: false }
}

/// Code that declares variables and is never run.
fn restoring(variables: &[&Variable]) -> String {
    let mut code = String::from(RESTORE);
    for Variable { name, type_name, mutable, .. } in variables {
        let mutable = if *mutable { "mut " } else { "" };
        code.push_str(&format!(" let {mutable}{name}: {type_name} = loop {{}};"));
    }
    code
}

impl Fate {
    /// That of a cell whose code came to its end.
    pub(crate) fn finished() -> Self {
        Self { finished: true, ..Self::default() }
    }

    /// The sentences for the end of an error.
    pub(crate) fn words(&self) -> String {
        if self.finished {
            return "All variables are kept.".to_owned();
        }
        let lost = |why: &str, names: &[String]| match names {
            [] => String::new(),
            [name] => format!("Lost, because this cell {why} it: {name}. "),
            names => format!("Lost, because this cell {why} them: {}. ", names.join(", ")),
        };
        let mut words = lost("moved", &self.moved) + &lost("redefined the type of", &self.retyped);
        words.push_str(if words.is_empty() { "Variables" } else { "Other variables" });
        words.push_str(" of earlier cells are kept");
        match self.old.as_slice() {
            [] => {}
            [name] => words.push_str(&format!(" ({name} with its old value)")),
            names => words.push_str(&format!(" ({} with their old values)", names.join(", "))),
        }
        words + "; those new in this cell are not."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_named_and_what_kept_its_old_value_too() {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let old = Fate { old: list(&["model"]), ..Fate::default() };
        assert_eq!(
            old.words(),
            "Variables of earlier cells are kept (model with its old value); those new in this cell \
             are not."
        );
        let lost = Fate { moved: list(&["d", "e"]), retyped: list(&["p"]), ..Fate::default() };
        let expected = "Lost, because this cell moved them: d, e. Lost, because this cell redefined \
                        the type of it: p. Other variables";
        assert!(lost.words().starts_with(expected), "{}", lost.words());
        assert_eq!(Fate { finished: true, ..lost }.words(), "All variables are kept.");
    }

    #[test]
    fn restoring_code_has_name_type_and_mutability() {
        let variable = Variable {
            name: "x".to_owned(),
            type_name: "Vec<i32>".to_owned(),
            mutable: true,
            redefined: false,
        };
        assert!(restoring(&[&variable]).ends_with("let mut x: Vec<i32> = loop {};"));
    }
}
