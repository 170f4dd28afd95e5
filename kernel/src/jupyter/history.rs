//! The cells of this session: `history_request`.

use jupyter_protocol::{HistoryEntry, HistoryRequest};

/// The number of this session; sessions are not stored, so there is only one.
const SESSION: usize = 1;

/// Executed cells with their execution numbers.
#[derive(Debug, Default)]
pub(crate) struct History {
    cells: Vec<(usize, String)>,
}

impl History {
    pub(crate) fn push(&mut self, count: usize, code: &str) {
        self.cells.push((count, code.to_owned()));
    }

    /// The entries that a request asks for, oldest first.
    pub(crate) fn find(&self, request: &HistoryRequest) -> Vec<HistoryEntry> {
        let positive = |n: i32| usize::try_from(n).unwrap_or(0);
        let (chosen, with_output): (Vec<&(usize, String)>, bool) = match request {
            HistoryRequest::Tail { n, output, .. } => (
                self.cells.iter().skip(self.cells.len().saturating_sub(positive(*n))).collect(),
                *output,
            ),
            HistoryRequest::Range { start, stop, output, .. } => {
                let stop = if *stop <= 0 { usize::MAX } else { positive(*stop) };
                let within = |cell: &&(usize, String)| (positive(*start)..stop).contains(&cell.0);
                (self.cells.iter().filter(within).collect(), *output)
            }
            HistoryRequest::Search { pattern, n, unique, output, .. } => {
                let mut found: Vec<_> =
                    self.cells.iter().filter(|cell| matches(pattern, &cell.1)).collect();
                if *unique {
                    let mut seen = std::collections::HashSet::new();
                    found.retain(|cell| seen.insert(&cell.1));
                }
                let n = if *n <= 0 { found.len() } else { positive(*n) };
                (found.split_off(found.len().saturating_sub(n)), *output)
            }
        };
        chosen
            .into_iter()
            .map(|(count, code)| match with_output {
                true => HistoryEntry::InputOutput(SESSION, *count, (code.clone(), String::new())),
                false => HistoryEntry::Input(SESSION, *count, code.clone()),
            })
            .collect()
    }
}

/// Whether `text` matches a glob of `*` and `?`.
fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut reachable = vec![false; pattern.len() + 1];
    let spread = |reachable: &mut Vec<bool>| {
        for (at, symbol) in pattern.iter().enumerate() {
            if *symbol == '*' && reachable[at] {
                reachable[at + 1] = true;
            }
        }
    };
    reachable[0] = true;
    spread(&mut reachable);
    for c in text.chars() {
        let mut next = vec![false; pattern.len() + 1];
        for (at, symbol) in pattern.iter().enumerate() {
            match symbol {
                _ if !reachable[at] => {}
                '*' => next[at] = true,
                symbol if *symbol == '?' || *symbol == c => next[at + 1] = true,
                _ => {}
            }
        }
        spread(&mut next);
        reachable = next;
    }
    reachable[pattern.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        let mut history = History::default();
        for (at, code) in ["let a = 1;", "a + 1", "let a = 1;"].iter().enumerate() {
            history.push(at + 1, code);
        }
        history
    }

    #[test]
    fn tail_range_and_search() {
        let history = history();
        let tail = HistoryRequest::Tail { n: 2, output: false, raw: true };
        assert_eq!(history.find(&tail).len(), 2);
        let range =
            HistoryRequest::Range { session: None, start: 2, stop: 3, output: false, raw: true };
        assert!(
            matches!(&history.find(&range)[..], [HistoryEntry::Input(1, 2, code)] if code == "a + 1")
        );
        let search = |unique| HistoryRequest::Search {
            pattern: "let*".into(),
            unique,
            output: false,
            raw: true,
            n: 10,
        };
        assert_eq!(history.find(&search(false)).len(), 2);
        assert_eq!(history.find(&search(true)).len(), 1);
    }

    #[test]
    fn globs() {
        assert!(matches("*a?c*", "xxabcxx"));
        assert!(matches("", ""));
        assert!(!matches("a", "ab"));
        assert!(matches("*", ""));
    }
}
