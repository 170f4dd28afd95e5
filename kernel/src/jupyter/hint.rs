//! What to do about an error, where its own text does not say it.

/// What to do about an error of rustc, by its code.
pub(crate) fn for_code(code: Option<&str>, message: &str) -> Option<String> {
    let words = match code? {
        "E0069" => {
            "a cell is not a function, so `return` cannot end it; put what may be skipped into \
             `if … { }`, or leave a labelled block: `'cell: { …; break 'cell; … }`"
        }
        "E0119" | "E0592" => {
            "an `impl` of another cell has it too; change it there and run that cell again, or put \
             the type and its `impl` into one cell and restart the kernel"
        }
        "E0277" if message.contains("couldn't convert the error") => {
            "an error that `?` returns from a cell needs a `Display` form; implement it, or write \
             `.map_err(|error| format!(\"{error:?}\"))?`"
        }
        "E0384" | "E0596" => {
            "a variable of an earlier cell can be made mutable here: `let mut x = x;`"
        }
        "unused_must_use" if message.contains("Result") => {
            "write `?` behind it, so that an error stops the cell"
        }
        _ => return None,
    };
    Some(words.to_owned())
}

/// Operators of tensors, which do not broadcast, and have a relative that does.
const BROADCAST: [&str; 12] =
    ["add", "sub", "mul", "div", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge"];

/// What to do about an error value, by its text.
pub(crate) fn for_error(text: &str) -> Option<String> {
    if let Some((operation, left, right)) = operands(text, "shape mismatch in ") {
        return for_shapes(operation, &shape(left)?, &shape(right)?);
    }
    if let Some((_, left, right)) = operands(text, "dtype mismatch in ") {
        return Some(format!(
            "both sides need one dtype; convert one of them: `.to_dtype(DType::{left})?` or \
             `.to_dtype(DType::{right})?`"
        ));
    }
    if text.contains("device mismatch in ") {
        return Some("both sides must be on one device; move one: `.to_device(&device)?`".into());
    }
    if let Some(rest) = text.split_once("unexpected dtype, expected: ").map(|(_, rest)| rest) {
        let (expected, got) = rest.split_once(", got: ")?;
        let (expected, got) = (word(expected), word(got));
        return Some(format!(
            "the tensor holds {got}; read it as that type, or convert it first: \
             `.to_dtype(DType::{expected})?`"
        ));
    }
    if text.starts_with("unexpected rank, expected: 0, got: ") {
        return Some(
            "only a tensor of one number becomes a scalar; reduce it first (`.sum_all()?`, \
             `.mean_all()?`) or take one element (`.i(0)?`)"
                .into(),
        );
    }
    if text.contains("No such file or directory") {
        let folder = std::env::current_dir().ok()?;
        return Some(format!(
            "relative paths begin at the notebook's folder, {}, unless the code changed it",
            folder.display()
        ));
    }
    None
}

/// The parts of `…{start}OPERATION, lhs: LEFT, rhs: RIGHT`.
fn operands<'a>(text: &'a str, start: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let (operation, rest) = text.split_once(start)?.1.split_once(", lhs: ")?;
    let (left, right) = rest.split_once(", rhs: ")?;
    Some((operation, left, right.lines().next()?))
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default()
}

fn shape(text: &str) -> Option<Vec<usize>> {
    let inner = text.trim().strip_prefix('[')?.split(']').next()?;
    inner.split(',').filter(|part| !part.trim().is_empty()).map(|n| n.trim().parse().ok()).collect()
}

fn for_shapes(operation: &str, left: &[usize], right: &[usize]) -> Option<String> {
    if operation == "matmul" {
        return for_matmul(left, right);
    }
    let name = operation.strip_prefix("broadcast_").unwrap_or(operation);
    if !BROADCAST.contains(&name) {
        return None;
    }
    if broadcasts(left, right) {
        return Some(format!(
            "operators want equal shapes; `a.broadcast_{name}(&b)?` repeats the smaller one"
        ));
    }
    // A mean over dimension 1 of [n, d] is [n], which lines up with d.
    let reduced = |whole: &[usize], part: &[usize]| {
        whole.len() == part.len() + 1
            && (0..whole.len()).any(|at| [&whole[..at], &whole[at + 1..]].concat() == part)
    };
    (reduced(left, right) || reduced(right, left)).then(|| {
        format!(
            "keep the dimension that was reduced (`mean_keepdim(1)` in place of `mean(1)`, or \
             `.unsqueeze(1)?`), then `a.broadcast_{name}(&b)?`"
        )
    })
}

fn broadcasts(left: &[usize], right: &[usize]) -> bool {
    left.iter().rev().zip(right.iter().rev()).all(|(a, b)| a == b || *a == 1 || *b == 1)
}

fn for_matmul(left: &[usize], right: &[usize]) -> Option<String> {
    let [.., rows, inner] = *left else { return None };
    let [.., other, columns] = *right else { return None };
    let words = if inner == other {
        "the leading dimensions differ; `a.broadcast_matmul(&b)?` repeats the smaller ones"
    } else if inner == columns {
        "the columns of the left side must be the rows of the right one; transpose the right one: \
         `a.matmul(&b.t()?)?`"
    } else if rows == other {
        "the columns of the left side must be the rows of the right one; transpose the left one: \
         `a.t()?.matmul(&b)?`"
    } else {
        return None;
    };
    Some(words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(text: &str, words: &str) {
        let hint = for_error(text);
        assert!(hint.as_ref().is_some_and(|hint| hint.contains(words)), "{text}: {hint:?}");
    }

    #[test]
    fn shapes_that_would_broadcast_name_the_method() {
        for name in BROADCAST {
            says(
                &format!("shape mismatch in {name}, lhs: [500, 192], rhs: [192]"),
                &format!("broadcast_{name}"),
            );
        }
        says("shape mismatch in sub, lhs: [2, 3], rhs: [2]", "mean_keepdim(1)");
        says("shape mismatch in broadcast_sub, lhs: [2, 3], rhs: [2]", "mean_keepdim(1)");
        assert_eq!(for_error("shape mismatch in sub, lhs: [2, 3], rhs: [5]"), None);
    }

    #[test]
    fn products_name_the_side_to_transpose() {
        says("shape mismatch in matmul, lhs: [2, 3], rhs: [2, 3]", "b.t()?");
        says("shape mismatch in matmul, lhs: [4, 2], rhs: [4, 3]", "a.t()?");
        says("shape mismatch in matmul, lhs: [8, 2, 3], rhs: [3, 4]", "broadcast_matmul");
    }

    #[test]
    fn dtypes_ranks_and_devices_have_their_way_out() {
        says("dtype mismatch in sub, lhs: F32, rhs: F64", "to_dtype(DType::F32)");
        says("unexpected dtype, expected: F32, got: U8", "to_dtype(DType::F32)");
        says("unexpected rank, expected: 0, got: 1 ([3])", "sum_all");
        says("device mismatch in add, lhs: Cpu, rhs: Cuda { gpu_id: 0 }", "to_device");
        says("No such file or directory (os error 2)", "relative paths");
    }

    #[test]
    fn other_texts_have_no_hint() {
        assert_eq!(for_error("invalid digit found in string"), None);
        assert_eq!(for_code(Some("E0308"), "mismatched types"), None);
        assert_eq!(for_code(None, ""), None);
    }
}
