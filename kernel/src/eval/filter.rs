//! Takes apart what the evaluation process writes to standard output: the cell's own bytes, the
//! library's messages, and the lines by which evcxr's generated code talks to evcxr.

use eigenlens_common::message::{EVCXR_MARK, PREFIX};

use super::event::Event;
use super::store::UNFINISHED;

/// What evcxr itself must be told; all else goes to the kernel only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// For the kernel.
    Event(Event),
    /// A line for evcxr.
    Evcxr(String),
}

/// Ends a run; written by [`super::runtime`], behind [`MARK`].
pub(crate) const COMPLETE: &str = "EVCXR_EXECUTION_COMPLETE";
const PANICKED: &str = "EVCXR_PANIC_NOTIFICATION";
const FAILED: &str = "EVCXR_ERROR_OCCURRED";
const BEGIN_CONTENT: &str = "EVCXR_BEGIN_CONTENT ";
const END_CONTENT: &str = "EVCXR_END_CONTENT";

/// A splitter of one process's standard output.
///
/// Two kinds of line are not the cell's own text: those that begin with a record separator, by
/// which the library and generated code speak ([`PREFIX`], [`EVCXR_MARK`]), and blocks of evcxr's
/// display protocol, which any code may print.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// Bytes since the last newline that may still turn out to be a marker.
    pending: Vec<u8>,
    /// How many of them are known to hold no newline.
    searched: usize,
    content: Option<(String, String)>,
}

impl Filter {
    /// Takes the next bytes, and appends what they mean to `out`.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<Output>) {
        self.pending.extend_from_slice(bytes);
        let mut start = 0;
        let mut plain = 0;
        let mut from = self.searched;
        while let Some(length) = self.pending[from..].iter().position(|&byte| byte == b'\n') {
            let end = from + length;
            let line = &self.pending[start..end];
            if self.content.is_some() || marker_at(line).is_some() {
                let line = line.to_vec();
                emit_plain(&self.pending[plain..start], out);
                self.line(&line, out);
                plain = end + 1;
            }
            start = end + 1;
            from = start;
        }
        // Of an unfinished line, all that cannot be the beginning of a marker is shown at once.
        let hold =
            if self.content.is_some() { start } else { start + held(&self.pending[start..]) };
        let hold = hold.max(plain);
        emit_plain(&self.pending[plain..hold], out);
        self.pending.drain(..hold);
        self.searched = self.pending.len();
    }

    /// Gives out what is left: the process has ended.
    pub(crate) fn finish(&mut self, out: &mut Vec<Output>) {
        self.abandon_content(out);
        emit_plain(&std::mem::take(&mut self.pending), out);
        self.searched = 0;
    }

    /// A display that was begun and never ended was only text.
    fn abandon_content(&mut self, out: &mut Vec<Output>) {
        if let Some((mime, content)) = self.content.take() {
            let end = if content.is_empty() { "" } else { "\n" };
            let text = format!("{BEGIN_CONTENT}{mime}\n{content}{end}");
            emit_plain(text.as_bytes(), out);
        }
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<Output>) {
        let Some(at) = marker_at(line).filter(|at| self.content.is_none() || line[*at] == MARK)
        else {
            if let Some((_, content)) = &mut self.content {
                if line != END_CONTENT.as_bytes() {
                    if !content.is_empty() {
                        content.push('\n');
                    }
                    content.push_str(&String::from_utf8_lossy(line));
                } else if let Some((mime, content)) = self.content.take() {
                    out.push(Output::Event(Event::Content(mime, content)));
                }
            }
            return;
        };
        let marker = String::from_utf8_lossy(&line[at..]).into_owned();
        if let Some(json) = marker.strip_prefix(PREFIX) {
            emit_plain(&line[..at], out);
            out.push(Output::Event(Event::Message(json.to_owned())));
            if json.starts_with(UNFINISHED) {
                // Also after an early return: the cell's own variables are not in the store.
                out.push(Output::Evcxr(FAILED.to_owned()));
            }
            return;
        }
        self.abandon_content(out);
        emit_plain(&line[..at], out);
        if let Some(mime) = marker.strip_prefix(BEGIN_CONTENT) {
            self.content = Some((mime.trim().to_owned(), String::new()));
        } else {
            let told = &marker[1..];
            if told == PANICKED {
                out.push(Output::Event(Event::Panicked));
            } else if told == FAILED {
                out.push(Output::Event(Event::Failed));
            } else if told == COMPLETE {
                out.push(Output::Event(Event::RunEnds));
            }
            out.push(Output::Evcxr(told.to_owned()));
        }
    }
}

fn emit_plain(bytes: &[u8], out: &mut Vec<Output>) {
    if !bytes.is_empty() {
        out.push(Output::Event(Event::Stdout(bytes.to_vec())));
    }
}

/// The character with which the library's and evcxr's lines begin.
pub(crate) const MARK: u8 = PREFIX.as_bytes()[0];

/// Where in `line` a marker begins. Text printed without a newline may come before it.
fn marker_at(line: &[u8]) -> Option<usize> {
    let marked = line.iter().enumerate().filter(|(_, byte)| **byte == MARK).find(|(at, _)| {
        [PREFIX, EVCXR_MARK].iter().any(|mark| line[*at..].starts_with(mark.as_bytes()))
    });
    marked.map(|(at, _)| at).or_else(|| {
        let begin = BEGIN_CONTENT.as_bytes();
        let at = line.windows(begin.len()).position(|window| window == begin)?;
        is_mime_type(&line[at + begin.len()..]).then_some(at)
    })
}

/// Whether a line ends like the first of a display: in a MIME type and nothing else.
fn is_mime_type(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let slash = text.iter().position(|&byte| byte == b'/');
    slash.is_some_and(|at| at > 0 && at + 1 < text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/+.-_;=".contains(byte))
}

/// How many bytes of an unfinished line can be given out: all before what could become a marker.
fn held(line: &[u8]) -> usize {
    let line = line.split(|&byte| byte == MARK).next().unwrap_or_default();
    let begin = BEGIN_CONTENT.as_bytes();
    let whole = line.windows(begin.len()).position(|window| window == begin);
    let partly = || {
        let longest = begin.len().min(line.len());
        (1..=longest).rev().find(|&n| line.ends_with(&begin[..n])).map(|n| line.len() - n)
    };
    whole.or_else(partly).unwrap_or(line.len())
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
        let out = run(&[b"abc\x1eEVCXR_EXEC", b"UTION_COMPLETE\n", b"next"]);
        assert_eq!(text(&out), "abcnext");
        assert!(out.contains(&Output::Event(Event::RunEnds)));
        assert!(out.contains(&Output::Evcxr("EVCXR_EXECUTION_COMPLETE".into())));
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
            let out = run(&[b"text\x1e", marker.as_bytes(), b"\n"]);
            assert_eq!(text(&out), "text");
            assert!(out.contains(&Output::Event(event)));
            assert!(out.contains(&Output::Evcxr(marker.into())));
        }
    }

    #[test]
    fn text_that_only_looks_like_a_marker_is_text() {
        for line in [
            "EVCXR_EXECUTION_COMPLETE",
            PANICKED,
            FAILED,
            "EVCXR_VARIABLE_CHANGED_TYPE:x",
            "EVCXR_INPUT_REQUEST:who",
            "see EVCXR_BEGIN_CONTENT in its manual",
            "EVCXR_BEGIN_CONTENT ",
            END_CONTENT,
            "\u{1e}",
            "\u{1e}EIGEN",
        ] {
            let line = format!("{line}\n");
            let out = run(&[line.as_bytes()]);
            assert_eq!(text(&out), line);
            assert!(out.iter().all(|item| matches!(item, Output::Event(Event::Stdout(_)))));
        }
    }

    #[test]
    fn a_display_without_an_end_does_not_swallow_the_end_of_the_run() {
        let out =
            run(&[b"EVCXR_BEGIN_CONTENT text/html\n<p>\n\x1eEVCXR_EXECUTION_COMPLETE\nnext\n"]);
        assert_eq!(text(&out), "EVCXR_BEGIN_CONTENT text/html\n<p>\nnext\n");
        assert!(out.contains(&Output::Event(Event::RunEnds)));
    }

    #[test]
    fn a_long_line_in_pieces_stays_whole() {
        let piece = vec![b'x'; 1 << 16];
        let mut pieces: Vec<&[u8]> = vec![b"\x1eEIGENLENS "];
        pieces.extend(std::iter::repeat_n(piece.as_slice(), 100));
        pieces.push(b"\n");
        let out = run(&pieces);
        assert_eq!(out, vec![Output::Event(Event::Message("x".repeat(100 << 16)))]);
    }
}
