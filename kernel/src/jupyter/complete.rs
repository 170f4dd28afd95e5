//! Whether code is complete: `is_complete_request`.

use jupyter_protocol::IsCompleteReply;

/// Complete, incomplete with the indentation of the next line, or invalid.
///
/// Code is incomplete while a bracket, string or comment is open, and invalid where a bracket
/// closes that was not opened.
pub(crate) fn is_complete(code: &str) -> IsCompleteReply {
    let chars: Vec<char> = code.chars().collect();
    let mut open = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let next = chars.get(at + 1).copied();
        match chars[at] {
            '/' if next == Some('/') => at = find(&chars, at, |c| c == '\n'),
            '/' if next == Some('*') => match skip_comment(&chars, at) {
                Some(end) => at = end,
                None => return IsCompleteReply::incomplete(String::new()),
            },
            'r' | 'b' | 'c' if !word_before(&chars, at) && raw_hashes(&chars, at).is_some() => {
                match skip_raw(&chars, at) {
                    Some(end) => at = end,
                    None => return IsCompleteReply::incomplete(String::new()),
                }
            }
            '"' => match skip_string(&chars, at) {
                Some(end) => at = end,
                None => return IsCompleteReply::incomplete(String::new()),
            },
            '\'' => at = skip_char(&chars, at),
            bracket @ ('(' | '[' | '{') => open.push(bracket),
            bracket @ (')' | ']' | '}') => {
                let matching = matches!(
                    (open.pop(), bracket),
                    (Some('('), ')') | (Some('['), ']') | (Some('{'), '}')
                );
                if !matching {
                    return IsCompleteReply::invalid();
                }
            }
            _ => {}
        }
        at += 1;
    }
    if open.is_empty() {
        IsCompleteReply::complete()
    } else {
        IsCompleteReply::incomplete("    ".repeat(open.len()))
    }
}

fn find(chars: &[char], from: usize, stop: impl Fn(char) -> bool) -> usize {
    (from..chars.len()).find(|&at| stop(chars[at])).unwrap_or(chars.len())
}

fn word_before(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

/// Index of the last character of the (nested) block comment that begins at `at`.
fn skip_comment(chars: &[char], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = at;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return Some(at + 1);
        }
        at += 2;
    }
    None
}

/// The number of `#` of the raw string that begins at `at`, and where its quote stands.
fn raw_hashes(chars: &[char], at: usize) -> Option<(usize, usize)> {
    let raw = if chars[at] == 'r' { at } else { at + 1 };
    if chars.get(raw) != Some(&'r') {
        return None;
    }
    let quote = find(chars, raw + 1, |c| c != '#');
    (chars.get(quote) == Some(&'"')).then_some((quote - raw - 1, quote))
}

fn skip_raw(chars: &[char], at: usize) -> Option<usize> {
    let (hashes, quote) = raw_hashes(chars, at)?;
    (quote + 1..chars.len()).find_map(|end| {
        let closes = chars[end] == '"'
            && chars.get(end + 1..=end + hashes).is_some_and(|tail| tail.iter().all(|c| *c == '#'));
        closes.then_some(end + hashes)
    })
}

fn skip_string(chars: &[char], at: usize) -> Option<usize> {
    let mut at = at + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 1,
            '"' => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Index of the last character of a character literal; a lifetime is one character long.
fn skip_char(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => find(chars, at + 3, |c| c == '\''),
        (Some(_), Some('\'')) => at + 2,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use jupyter_protocol::IsCompleteReplyStatus as Status;

    use super::*;

    #[test]
    fn brackets_strings_and_comments_decide() {
        let complete = [
            "let x = 1;",
            "fn f<'a>(x: &'a str) {}",
            "let c = '{';",
            "\"{ \\\" \"",
            "// {",
            "",
            "/* { /* */ */ x",
            "r#\"{\"\"#",
            "let c = '\\'';",
            "br\"(\"",
        ];
        for code in complete {
            assert_eq!(is_complete(code).status, Status::Complete, "{code}");
        }
        for code in ["fn f() {", "vec![1,", "\"abc", "/* x", "r#\"x\"", "f(\"a\", {"] {
            assert_eq!(is_complete(code).status, Status::Incomplete, "{code}");
        }
        for code in ["}", "(]", "f(x))"] {
            assert_eq!(is_complete(code).status, Status::Invalid, "{code}");
        }
    }

    #[test]
    fn the_next_line_is_indented_by_depth() {
        assert_eq!(is_complete("fn f() {\n    if x {").indent, "        ");
    }
}
