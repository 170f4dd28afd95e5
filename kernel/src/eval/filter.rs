//! Takes apart what the evaluation process writes to standard output: the cell's own bytes, the
//! library's messages, and the lines by which evcxr's generated code talks to evcxr.

use super::event::Event;
use super::message::PREFIX;
use super::store::UNFINISHED;

/// What evcxr itself must be told; all else goes to the kernel only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// For the kernel.
    Event(Event),
    /// A line for evcxr.
    Evcxr(String),
}

/// Ends a run; written by [`super::runtime`].
pub(crate) const COMPLETE: &str = "EVCXR_EXECUTION_COMPLETE";
const PANICKED: &str = "EVCXR_PANIC_NOTIFICATION";
const FAILED: &str = "EVCXR_ERROR_OCCURRED";
const CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";
const INPUT: &str = "EVCXR_INPUT_REQUEST";
const BEGIN_CONTENT: &str = "EVCXR_BEGIN_CONTENT ";
const END_CONTENT: &str = "EVCXR_END_CONTENT";

/// A line that begins like this, or ends in one of evcxr's markers, is not the cell's own.
const MARKERS: [&str; 5] = [PANICKED, FAILED, CHANGED_TYPE, INPUT, BEGIN_CONTENT];

/// A splitter of one process's standard output.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// Bytes since the last newline that may still turn out to be a marker.
    pending: Vec<u8>,
    content: Option<(String, String)>,
}

impl Filter {
    /// Takes the next bytes, and appends what they mean to `out`.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<Output>) {
        self.pending.extend_from_slice(bytes);
        let mut start = 0;
        let mut plain = 0;
        while let Some(length) = self.pending[start..].iter().position(|&byte| byte == b'\n') {
            let end = start + length;
            let line = &self.pending[start..end];
            if self.content.is_some() || marker_at(line).is_some() {
                let line = String::from_utf8_lossy(line).into_owned();
                emit_plain(&self.pending[plain..start], out);
                self.line(&line, out);
                plain = end + 1;
            }
            start = end + 1;
        }
        // Of an unfinished line, all that cannot be the beginning of a marker is shown at once.
        let hold =
            if self.content.is_some() { start } else { start + held(&self.pending[start..]) };
        emit_plain(&self.pending[plain..hold.max(plain)], out);
        self.pending.drain(..hold.max(plain));
    }

    /// Gives out what is left: the process has ended.
    pub(crate) fn finish(&mut self, out: &mut Vec<Output>) {
        if let Some((mime, content)) = self.content.take() {
            out.push(Output::Event(Event::Content(mime, content)));
        }
        emit_plain(&std::mem::take(&mut self.pending), out);
    }

    fn line(&mut self, line: &str, out: &mut Vec<Output>) {
        if let Some((_, content)) = &mut self.content {
            if line == END_CONTENT {
                if let Some((mime, content)) = self.content.take() {
                    out.push(Output::Event(Event::Content(mime, content)));
                }
            } else {
                if !content.is_empty() {
                    content.push('\n');
                }
                content.push_str(line);
            }
            return;
        }
        let at = marker_at(line.as_bytes()).unwrap_or(0);
        emit_plain(&line.as_bytes()[..at], out);
        let marker = &line[at..];
        if let Some(json) = marker.strip_prefix(PREFIX) {
            out.push(Output::Event(Event::Message(json.to_owned())));
            if json.starts_with(UNFINISHED) {
                // Also after an early return: the cell's own variables are not in the store.
                out.push(Output::Evcxr(FAILED.to_owned()));
            }
        } else if let Some(mime) = marker.strip_prefix(BEGIN_CONTENT) {
            self.content = Some((mime.trim().to_owned(), String::new()));
        } else {
            if marker == PANICKED {
                out.push(Output::Event(Event::Panicked));
            } else if marker == FAILED {
                out.push(Output::Event(Event::Failed));
            } else if marker == COMPLETE {
                out.push(Output::Event(Event::RunEnds));
            }
            out.push(Output::Evcxr(marker.to_owned()));
        }
    }
}

fn emit_plain(bytes: &[u8], out: &mut Vec<Output>) {
    if !bytes.is_empty() {
        out.push(Output::Event(Event::Stdout(bytes.to_vec())));
    }
}

/// Where in `line` a marker begins. Text printed without a newline may stand before it.
fn marker_at(line: &[u8]) -> Option<usize> {
    let find =
        |needle: &str| line.windows(needle.len()).position(|window| window == needle.as_bytes());
    find(PREFIX).or_else(|| {
        let whole =
            |marker: &str| line.ends_with(marker.as_bytes()).then(|| line.len() - marker.len());
        whole(COMPLETE)
            .or_else(|| whole(PANICKED))
            .or_else(|| whole(FAILED))
            .or_else(|| [CHANGED_TYPE, INPUT, BEGIN_CONTENT].iter().find_map(|marker| find(marker)))
    })
}

/// How many bytes of an unfinished line can be given out: all before what could become a marker.
fn held(line: &[u8]) -> usize {
    if let Some(at) = line.iter().position(|&byte| byte == PREFIX.as_bytes()[0]) {
        return at;
    }
    let markers = MARKERS.iter().chain([&COMPLETE]);
    let mut keep = line.len();
    for marker in markers {
        let marker = marker.as_bytes();
        if let Some(at) = line.windows(marker.len()).position(|window| window == marker) {
            keep = keep.min(at);
        }
        let longest = marker.len().min(line.len());
        if let Some(overlap) = (1..=longest).rev().find(|&n| line[line.len() - n..] == marker[..n])
        {
            keep = keep.min(line.len() - overlap);
        }
    }
    keep
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(chunks: &[&[u8]]) -> Vec<Output> {
        let mut filter = Filter::default();
        let mut out = Vec::new();
        for chunk in chunks {
            filter.push(chunk, &mut out);
        }
        filter.finish(&mut out);
        out
    }

    fn text(out: &[Output]) -> String {
        out.iter()
            .filter_map(|item| match item {
                Output::Event(Event::Stdout(bytes)) => Some(String::from_utf8_lossy(bytes)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn text_without_newline_is_given_out_at_once() {
        let mut filter = Filter::default();
        let mut out = Vec::new();
        filter.push(b"step 1", &mut out);
        assert_eq!(text(&out), "step 1");
    }

    #[test]
    fn markers_are_found_behind_text_and_across_chunks() {
        let out = run(&[b"abcEVCXR_EXEC", b"UTION_COMPLETE\n", b"next"]);
        assert_eq!(text(&out), "abcnext");
        assert!(out.contains(&Output::Event(Event::RunEnds)));
        assert!(out.contains(&Output::Evcxr(COMPLETE.into())));
    }

    #[test]
    fn messages_and_content_keep_their_order_with_text() {
        let out = run(&[b"a\n\x1eEIGENLENS {\"x\":1}\nb\nEVCXR_BEGIN_CONTENT text/html\n<p>\n</p>\nEVCXR_END_CONTENT\nc\n"]);
        assert_eq!(
            out,
            vec![
                Output::Event(Event::Stdout(b"a\n".to_vec())),
                Output::Event(Event::Message("{\"x\":1}".into())),
                Output::Event(Event::Stdout(b"b\n".to_vec())),
                Output::Event(Event::Content("text/html".into(), "<p>\n</p>".into())),
                Output::Event(Event::Stdout(b"c\n".to_vec())),
            ]
        );
    }

    #[test]
    fn bytes_that_are_not_text_pass_through() {
        let out = run(&[&[0xff, 0xfe, b'\n'], b"EVC", &[0xff]]);
        let bytes: Vec<u8> = out
            .iter()
            .flat_map(|item| match item {
                Output::Event(Event::Stdout(bytes)) => bytes.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(bytes, [0xff, 0xfe, b'\n', b'E', b'V', b'C', 0xff]);
    }

    #[test]
    fn evcxr_learns_of_a_cell_that_did_not_come_to_its_end() {
        let out = run(&[b"text\x1eEIGENLENS {\"type\":\"unfinished\",\"kept\":[]}\n"]);
        assert_eq!(text(&out), "text");
        assert!(out.contains(&Output::Evcxr(FAILED.into())));
    }

    #[test]
    fn panics_and_errors_are_told_to_both_sides() {
        for (marker, event) in [(PANICKED, Event::Panicked), (FAILED, Event::Failed)] {
            let out = run(&[b"text", marker.as_bytes(), b"\n"]);
            assert_eq!(text(&out), "text");
            assert!(out.contains(&Output::Event(event)));
            assert!(out.contains(&Output::Evcxr(marker.into())));
        }
    }
}
