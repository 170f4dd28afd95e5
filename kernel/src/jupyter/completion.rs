//! Names that Tab offers: those that a cell may use, fields first, the rest by alphabet.

use std::collections::HashSet;

use evcxr::CommandContext;

use super::impls::Impls;

/// Completions for the bytes `start..end`: text and kind of each.
#[derive(Debug)]
pub(crate) struct Matches {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) items: Vec<(String, String)>,
}

/// The kind that evcxr gives to fields.
const FIELD: &str = "instance";

/// The longest list of functions whose visibility is looked up: each takes some 60 ms.
const MAX_FUNCTIONS_LOOKED_UP: usize = 8;

/// The names that fit at a byte position of a cell.
///
/// Rust-analyzer takes every crate here for the user's, and offers private fields and functions of all
/// of them; the declaration that it shows for a name tells them apart.
pub(super) fn matches(
    context: &mut CommandContext,
    code: &str,
    position: usize,
) -> Option<Matches> {
    let found = context.completions(code, position).ok()?;
    let (start, end) = (found.start_offset, found.end_offset);
    let before = code.get(..start)?;
    let mut offered = HashSet::new();
    let (mut fields, mut rest): (Vec<_>, Vec<_>) = found
        .completions
        .into_iter()
        .map(|item| (name_alone(&item.code), item.kind.to_owned()))
        .filter(|item| !is_internal(&item.0) && offered.insert(item.clone()))
        .partition(|(_, kind)| before.ends_with('.') && kind == FIELD);
    let mut is_usable = |(name, _): &(String, String)| {
        let named = format!("{before}{name}");
        context.hover_at(&named, named.len()).map_or(true, |(text, _)| is_visible(&text))
    };
    fields.retain(&mut is_usable);
    if rest.len() <= MAX_FUNCTIONS_LOOKED_UP {
        rest.retain(&mut is_usable);
    }
    rest.sort_by(|a, b| a.0.cmp(&b.0));
    fields.append(&mut rest);
    Some(Matches { start, end, items: fields })
}

/// Whether a cell may use what is declared in a text shown for a name: the path of its container,
/// an empty line, the declaration.
///
/// A field without `pub` is private; a function without it may be one of a trait.
fn is_visible(shown: &str) -> bool {
    let Some((container, declaration)) = shown.split_once("\n\n") else { return true };
    let is_of_a_cell = container.split("::").next() == Some(CELLS);
    let is_field = declaration.split_whitespace().next().is_some_and(|word| word.ends_with(':'));
    is_of_a_cell || !(is_field || declaration.starts_with("pub("))
}

/// Whether a name is one that nobody wants to be offered.
fn is_internal(name: &str) -> bool {
    Impls::is_internal(name) || name == "evcxr_display"
}

/// The crate that evcxr makes of the cells.
const CELLS: &str = "ctx";

/// A completion without the names of a function's arguments, which nobody asked to be typed.
fn name_alone(code: &str) -> String {
    code.split_once('(').map_or(code, |(name, _)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_are_names() {
        for (code, name) in [("zeros(shape, dtype)", "zeros"), ("F32", "F32"), ("vec![]", "vec![]")]
        {
            assert_eq!(name_alone(code), name);
        }
    }

    #[test]
    fn private_names_of_libraries_are_told_from_what_a_cell_may_use() {
        for (shown, visible) in [
            ("candle_core::tensor::Tensor_\n\nstorage: Arc<{unknown}, Global>", false),
            (
                "candle_core::tensor::Tensor\n\npub(crate) fn zeros_impl<S>(shape: S) -> Result<Self>",
                false,
            ),
            (
                "candle_core::tensor::Tensor\n\npub fn sum_all(&self) -> Result<Tensor>\n\nThe sum.",
                true,
            ),
            ("core::convert::Into\n\nfn into(self) -> T", true),
            ("core::clone::Clone\n\nunsafe fn clone(&self) -> Self", true),
            ("candle_core::layout::Layout\n\npub start: usize", true),
            ("a::Job\n\npub(crate) call: fn(i32)", false),
            ("ctx::Probe\n\ndirection: Tensor", true),
            ("ctx::Probe\n\nfn score(&self) -> f32", true),
            ("ctxual::Probe\n\nprivate: f32", false),
            ("", true),
        ] {
            assert_eq!(is_visible(shown), visible, "{shown}");
        }
    }
}
