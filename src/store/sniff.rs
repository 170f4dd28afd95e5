//! What a file is that is not what it should be, from its first bytes and its name.
//!
//! A reader that cannot read a file calls [`mistaken`], so that a Git LFS pointer, a web page or an
//! archive is called what it is, whatever the name of the file.

use std::path::Path;

use serde_json::Value;

use crate::{Error, Result};

/// As many bytes are looked at.
pub(crate) const LOOKED_AT: usize = 4096;
/// Characters of a server's message that are quoted.
const QUOTED: usize = 120;

/// An [`Error::Format`] that says what the file is instead, if `start`, its first bytes, or its name
/// tells; `found` if they do not. `own` is the format that the reader knows.
pub(crate) fn mistaken(
    path: &Path,
    start: &[u8],
    own: Format,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> Error {
    let start = &start[..start.len().min(LOOKED_AT)];
    let found = match recognise(start).filter(|(format, _)| *format != own) {
        Some((_, words)) => words,
        None => match part_of(path) {
            Some(words) => format!("{}; {words}", found.into()),
            None => found.into(),
        },
    };
    Error::format(path, expected, found)
}

/// The JSON in the text of a file, of which `expected` says what it should be.
///
/// # Errors
/// Text that is no JSON, or the message of a server in its place.
pub(crate) fn parse_json(path: &Path, text: &[u8], expected: &str) -> Result<Value> {
    match serde_json::from_slice(text) {
        Ok(value) => {
            message(&value).map_or(Ok(value), |words| Err(Error::format(path, expected, words)))
        }
        Err(reason) => {
            let error = mistaken(path, text, Format::Json, expected, reason.to_string());
            Err(error.caused_by(reason))
        }
    }
}

/// Formats that a reader here may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Safetensors,
    Gguf,
    /// Of NumPy, PyTorch or any other.
    Zip,
    Pickle,
    Json,
    Parquet,
    Gzip,
    /// One that nothing here reads.
    Foreign,
}

fn recognise(start: &[u8]) -> Option<(Format, String)> {
    let foreign = |words: &str| Some((Format::Foreign, words.to_owned()));
    if start.is_empty() {
        return foreign("an empty file, truncated or never downloaded; download it again");
    }
    if start.len() >= 8 && start.iter().all(|byte| *byte == 0) {
        return foreign("zeros only: space for a download that did not happen; download it again");
    }
    if let Some(found) = binary(start) {
        return Some(found);
    }
    let marked = start.starts_with(&[0xef, 0xbb, 0xbf]);
    let text = match start {
        [0xef, 0xbb, 0xbf, text @ ..] => text,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] if start.len().is_multiple_of(2) => {
            return foreign("text in UTF-16, as PowerShell's `>` writes it; save it as UTF-8");
        }
        _ => start,
    };
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        // The last character may be cut.
        Err(reason) if reason.error_len().is_none() => {
            std::str::from_utf8(&text[..reason.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return None,
    };
    if text.trim_start().is_empty() {
        return foreign("nothing but blanks; download it again");
    }
    if text.contains('\0') {
        return None;
    }
    match plain_text(text.trim_start()) {
        Some((Format::Json, words)) if marked => Some((
            Format::Foreign,
            format!("{words} after a byte order mark; save it as UTF-8 without one"),
        )),
        found => found,
    }
}

/// Magic bytes of formats that are not text.
fn binary(start: &[u8]) -> Option<(Format, String)> {
    const UNPACK: &str = "unpack it first, and give the file in it";
    const CONVERT: &str = "load it in Python and save it as safetensors \
                           (safetensors.torch.save_file)";
    let found = |format, words: &str| Some((format, words.to_owned()));
    let archive = |name: &str| Some((Format::Foreign, format!("{name} archive; {UNPACK}")));
    match start {
        [0x1f, 0x8b, ..] => found(Format::Gzip, &format!("a gzip archive; {UNPACK} (gunzip)")),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some((Format::Zip, zip(start))),
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => archive("a 7z"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => archive("an xz"),
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', ..] => archive("a bzip2"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => archive("a zstd"),
        [0x04, 0x22, 0x4d, 0x18, ..] => archive("an lz4"),
        [b'R', b'a', b'r', b'!', 0x1a, 7, ..] => archive("a rar"),
        _ if start.get(257..262) == Some(b"ustar") => archive("a tar"),
        [b'G', b'G', b'U', b'F', ..] => found(
            Format::Gguf,
            "a GGUF file; Decoder::from_pretrained reads it if its name ends in .gguf",
        ),
        [b'l', b'm', b'g', b'g', ..]
        | [b't', b'j', b'g', b'g', ..]
        | [b'f', b'm', b'g', b'g', ..] => found(
            Format::Foreign,
            "a GGML file of before GGUF; convert it with llama.cpp, or take a newer one",
        ),
        [0x89, b'H', b'D', b'F', b'\r', b'\n', ..] => {
            found(Format::Foreign, &format!("an HDF5 file, as Keras writes it; {CONVERT}"))
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
            found(Format::Foreign, "a single NumPy array (.npy)")
        }
        [b'P', b'A', b'R', b'1', ..] => found(Format::Parquet, "a Parquet file"),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => {
            found(Format::Foreign, "an Arrow file; save it as Parquet")
        }
        [b'S', b'Q', b'L', b'i', b't', b'e', b' ', ..] => {
            found(Format::Foreign, "an SQLite database")
        }
        [b'%', b'P', b'D', b'F', ..] => found(Format::Foreign, "a PDF document"),
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] | [b'G', b'I', b'F', b'8', ..] => {
            found(Format::Foreign, "a picture")
        }
        // What torch.save wrote before 1.6 begins with this number.
        [0x80, 2, 0x8a, 0x0a, b'l', 0xfc, 0x9c, b'F', ..] => found(
            Format::Pickle,
            "a file of torch.save before PyTorch 1.6; load it in Python and save it again",
        ),
        [0x80, 2..=5, ..] => {
            found(Format::Pickle, &format!("a bare Python pickle, which is a program; {CONVERT}"))
        }
        [b'\n', _, b'\n', 5, b'<', b'u', b'n', b'k', b'>', ..]
        | [b'\n', _, b'\n', 5, b'<', b'p', b'a', b'd', b'>', ..] => found(
            Format::Foreign,
            "a SentencePiece model (tokenizer.model); convert it in Python: \
             AutoTokenizer.from_pretrained(…).save_pretrained(…) writes a tokenizer.json",
        ),
        _ => {
            let length = start.first_chunk().map(|length| u64::from_le_bytes(*length));
            let header = length.is_some_and(|length| (2..100_000_000).contains(&length));
            (header && start.get(8) == Some(&b'{'))
                .then(|| (Format::Safetensors, "a safetensors file".to_owned()))
        }
    }
}

/// Which zip archive it is, by the name of its first member.
fn zip(start: &[u8]) -> String {
    let length =
        start.get(26..28).map(|length| usize::from(length[0]) + 256 * usize::from(length[1]));
    let name = length.and_then(|length| start.get(30..30 + length)).unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    if name.ends_with(".npy") {
        "a NumPy archive (.npz)".to_owned()
    } else if name.ends_with("data.pkl")
        || name.contains("/data/")
        || name.ends_with("/.format_version")
    {
        "a file of torch.save (.pt, .bin)".to_owned()
    } else {
        format!("a zip archive that begins with {name:?}; unpack it first, and give the file in it")
    }
}

/// Texts by how they begin.
fn plain_text(text: &str) -> Option<(Format, String)> {
    let foreign = |words: String| Some((Format::Foreign, words));
    let lower = text.get(..text.len().min(64)).unwrap_or(text).to_ascii_lowercase();
    if text.starts_with("version https://git-lfs") || text.starts_with("version https://hawser") {
        let size = text.lines().find_map(|line| line.strip_prefix("size "));
        let size = size.map(|size| format!(" to a file of {size} bytes")).unwrap_or_default();
        return foreign(format!(
            "a Git LFS pointer{size}: a clone without Git LFS has these in place of large files. Run \
             `git lfs pull` in its folder, or download the file itself"
        ));
    }
    if text.starts_with("# xet version") {
        return foreign(
            "a Xet pointer: run `git xet checkout` in its folder, or download the file itself"
                .to_owned(),
        );
    }
    if text.starts_with("/annex/objects/") || text.contains(".git/annex/objects/") {
        return foreign("a git-annex pointer: run `git annex get` in its folder".to_owned());
    }
    if lower.starts_with("outs:\n- ") {
        return foreign("a DVC pointer: run `dvc pull` in its folder".to_owned());
    }
    let is_link = text.starts_with("../") && !text.trim_end().contains(['\n', ' ']);
    if is_link {
        return foreign(format!(
            "the text {:?}: a link that was copied as text; copy the file that it leads to",
            text.trim_end()
        ));
    }
    if ["<!doctype html", "<html", "<head", "<body", "<script"]
        .iter()
        .any(|tag| lower.starts_with(tag))
        || (lower.starts_with("<!--") && text.to_ascii_lowercase().contains("<html"))
    {
        return foreign(format!(
            "a web page (HTML{}), as a login or an error page is saved. Download the file itself; on the hub \
             its address has `resolve` in place of `blob`",
            within(text, "title").map(|title| format!(": {title}")).unwrap_or_default()
        ));
    }
    if lower.starts_with("<?xml") || lower.starts_with("<error") {
        let code = within(text, "Code").into_iter().chain(within(text, "Message"));
        let code: Vec<String> = code.collect();
        let words = if code.is_empty() { String::new() } else { format!(" ({})", code.join(": ")) };
        return foreign(format!("an XML message of a server{words}; download the file again"));
    }
    if text.starts_with(['{', '[']) {
        return Some((Format::Json, json(text)));
    }
    let short = text.lines().next().unwrap_or_default();
    let shouts = [
        "entry not found",
        "not found",
        "access denied",
        "unauthorized",
        "forbidden",
        "repository not found",
        "invalid username or password",
        "too many requests",
        "internal server error",
        "bad gateway",
        "service unavailable",
        "rate limit",
    ];
    if text.len() < 400 && shouts.iter().any(|words| lower.contains(words)) {
        return foreign(format!(
            "the message of a server, {:?}; download the file again",
            quote(short)
        ));
    }
    if text.lines().take(3).all(is_tiktoken) {
        return foreign(
            "a vocabulary of tiktoken; convert it in Python to a tokenizer.json \
             (tiktoken's converter is part of transformers)"
                .to_owned(),
        );
    }
    None
}

/// A line such as `IQ== 0`.
fn is_tiktoken(line: &str) -> bool {
    line.split_once(' ').is_some_and(|(token, rank)| {
        let coded = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
        !token.is_empty()
            && token.chars().all(coded)
            && token.len() % 4 == 0
            && rank.parse::<u32>().is_ok()
    })
}

/// What JSON is in place of a file of another format.
fn json(text: &str) -> String {
    if let Some(words) = serde_json::from_str(text).ok().as_ref().and_then(message) {
        return words;
    }
    if text.contains("\"weight_map\"") {
        return "the index of a checkpoint in several files; give their folder".to_owned();
    }
    "JSON".to_owned()
}

/// The words of an object that is nothing but the message of a server.
fn message(value: &Value) -> Option<String> {
    const FIELDS: [&str; 10] = [
        "error",
        "message",
        "detail",
        "errors",
        "status",
        "statusCode",
        "code",
        "error_description",
        "error_code",
        "documentation_url",
    ];
    let fields = value.as_object().filter(|fields| !fields.is_empty())?;
    if !fields.keys().all(|name| FIELDS.contains(&name.as_str())) {
        return None;
    }
    let said = FIELDS[..4].iter().find_map(|name| fields.get(*name))?;
    let text = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
    Some(format!("the message of a server, {:?}; download the file again", quote(&text)))
}

/// The text in an XML element.
fn within(text: &str, name: &str) -> Option<String> {
    let (open, close) = (format!("<{name}"), format!("</{name}"));
    let lower = text.to_ascii_lowercase();
    let start = lower.find(&open.to_ascii_lowercase())?;
    let start = start + lower[start..].find('>')? + 1;
    let end = start + lower[start..].find(&close.to_ascii_lowercase())?;
    let inner = text[start..end].split_whitespace().collect::<Vec<_>>().join(" ");
    (!inner.is_empty()).then(|| quote(&inner))
}

fn quote(text: &str) -> String {
    let short: String = text.chars().take(QUOTED).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

/// What the name says of a file that is a part of another, or not there yet.
fn part_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let end = name.rsplit('.').next().unwrap_or_default();
    if ["crdownload", "download", "incomplete", "part", "partial", "tmp", "aria2"].contains(&end) {
        return Some("its name is that of an unfinished download".to_owned());
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = end.len() == 3 && digits(end)
        || ["part", "split", "chunk"].iter().any(|word| {
            end.strip_prefix(word).is_some_and(|rest| {
                digits(rest.split("of").next().unwrap_or_default().trim_matches(['-', '_']))
            })
        })
        || ["part-a", "parta", "split-a"]
            .iter()
            .any(|word| end.starts_with(word) && end.len() <= word.len() + 1);
    if numbered {
        let whole = name.rsplit_once('.').map_or("", |(whole, _)| whole);
        return Some(format!(
            "its name is that of a part of a split file: join the parts in their order \
             (`cat {whole}.* > {whole}`)"
        ));
    }
    let shard = name.rsplit_once("-of-").is_some_and(|(before, after)| {
        digits(&after[..after.find('.').unwrap_or(after.len())])
            && before.rsplit('-').next().is_some_and(digits)
    });
    shard.then(|| {
        "its name is that of one of several files: download it again, and give the folder of all"
            .to_owned()
    })
}

#[cfg(test)]
mod tests;
