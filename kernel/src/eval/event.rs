//! What the relay tells the kernel, as frames on a Unix socket: a kind byte, a length (u32, little
//! endian), the payload.

use std::io::{self, Read, Write};

/// One thing that happened in the evaluation process, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A new evaluation process runs, with this process id.
    Started(u32),
    /// Compiled code begins to run.
    RunBegins,
    /// Bytes on standard output.
    Stdout(Vec<u8>),
    /// Bytes on standard error.
    Stderr(Vec<u8>),
    /// A message of the library, as JSON.
    Message(String),
    /// A block of evcxr's display protocol: MIME type and content.
    Content(String, String),
    /// The cell's code panicked.
    Panicked,
    /// The cell's code returned an error through `?`.
    Failed,
    /// The code has run; all its output came before.
    RunEnds,
    /// The evaluation process ended, and how.
    Exited(String),
}

impl Event {
    /// Writes the event as one frame, in one call.
    pub(crate) fn write(&self, mut out: impl Write) -> io::Result<()> {
        let joined;
        let (kind, payload): (u8, &[u8]) = match self {
            Self::Started(pid) => {
                joined = pid.to_string();
                (b's', joined.as_bytes())
            }
            Self::RunBegins => (b'b', b""),
            Self::Stdout(bytes) => (b'o', bytes),
            Self::Stderr(bytes) => (b'e', bytes),
            Self::Message(json) => (b'm', json.as_bytes()),
            Self::Content(mime, content) => {
                joined = format!("{mime}\n{content}");
                (b'c', joined.as_bytes())
            }
            Self::Panicked => (b'p', b""),
            Self::Failed => (b'f', b""),
            Self::RunEnds => (b'd', b""),
            Self::Exited(how) => (b'x', how.as_bytes()),
        };
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(payload.len() + 5);
        frame.push(kind);
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(payload);
        out.write_all(&frame)
    }

    /// Reads one frame; `None` at the end of the stream.
    pub(crate) fn read(input: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = [0_u8; 5];
        match input.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        let mut payload = vec![0; length as usize];
        input.read_exact(&mut payload)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Some(match head[0] {
            b's' => Self::Started(text(&payload).parse().map_err(io::Error::other)?),
            b'b' => Self::RunBegins,
            b'o' => Self::Stdout(payload),
            b'e' => Self::Stderr(payload),
            b'm' => Self::Message(text(&payload)),
            b'c' => {
                let joined = text(&payload);
                let (mime, content) = joined.split_once('\n').unwrap_or((&joined, ""));
                Self::Content(mime.to_owned(), content.to_owned())
            }
            b'p' => Self::Panicked,
            b'f' => Self::Failed,
            b'd' => Self::RunEnds,
            b'x' => Self::Exited(text(&payload)),
            other => return Err(io::Error::other(format!("unknown frame kind {other}"))),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_survives_the_wire() {
        let events = [
            Event::Started(7),
            Event::RunBegins,
            Event::Stdout(vec![0, 255, b'a']),
            Event::Stderr(vec![]),
            Event::Message("{}".into()),
            Event::Content("text/html".into(), "<p>\n</p>".into()),
            Event::Panicked,
            Event::Failed,
            Event::RunEnds,
            Event::Exited("signal 9".into()),
        ];
        let mut wire = Vec::new();
        for event in &events {
            event.write(&mut wire).unwrap();
        }
        let mut input = wire.as_slice();
        for event in &events {
            assert_eq!(Event::read(&mut input).unwrap().as_ref(), Some(event));
        }
        assert_eq!(Event::read(&mut input).unwrap(), None);
    }
}
