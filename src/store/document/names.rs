//! The names that lead to a field within others.

use serde_json::{Map, Value};

/// The names that lead to a field: `["metadata", "dtype"]`.
pub(super) type FieldPath = Vec<String>;

/// The names of a path.
pub(super) fn names_of(path: &serde_ignored::Path<'_>, names: &mut FieldPath) {
    use serde_ignored::Path as P;
    match path {
        P::Root => {}
        P::Seq { parent, index } => {
            names_of(parent, names);
            names.push(index.to_string());
        }
        P::Map { parent, key } => {
            names_of(parent, names);
            names.push(key.clone());
        }
        P::Some { parent } | P::NewtypeStruct { parent } | P::NewtypeVariant { parent } => {
            names_of(parent, names);
        }
    }
}

/// The fields that are in both lists, where a field's name stands for all that is within it.
pub(super) fn in_both(a: &[FieldPath], b: &[FieldPath]) -> Vec<FieldPath> {
    let within =
        |names: &FieldPath, list: &[FieldPath]| list.iter().any(|outer| names.starts_with(outer));
    let (first, second) = (a.iter().filter(|names| within(names, b)), b.iter());
    let second = second.filter(|names| !a.contains(names) && within(names, a));
    first.chain(second).cloned().collect()
}

/// The value under `names`.
pub(super) fn find<'a>(fields: &'a Map<String, Value>, names: &[String]) -> Option<&'a Value> {
    let (first, rest) = names.split_first()?;
    rest.iter().try_fold(fields.get(first)?, |value, name| match value {
        Value::Array(values) => values.get(name.parse::<usize>().ok()?),
        other => other.get(name),
    })
}
