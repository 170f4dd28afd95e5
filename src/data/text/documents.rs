//! Documents in files: a Parquet column of texts, and objects of JSON, a line each.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::data::ColumnFile;
use crate::display::show_as_text;
use crate::home::expand_home;
use crate::hub::{Content, Repository};
use crate::progress::safe_point;
use crate::provenance::Source;
use crate::store::Blob;
use crate::text::thousands;
use crate::{Error, Result};

/// The column or field that holds the text in nearly every data set.
const TEXT: &str = "text";
/// Names that would say that a data set's files are JSON.
const LINES: &str = "data.jsonl";
/// Lines between two looks at Stop.
const LINES_PER_LOOK: usize = 1024;

/// Texts in the order of their files, to be cut into [`Contexts`](super::Contexts). A cheap handle.
///
/// ```
/// use eigenlens::data::text::Documents;
/// # fn main() -> eigenlens::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("two.jsonl");
/// # std::fs::write(&path, "{\"text\": \"It rained.\"}\n{\"text\": \"We met.\"}\n").unwrap();
/// let documents = Documents::read(&path, "text")?;
/// assert_eq!(documents.iter().collect::<Vec<_>>(), ["It rained.", "We met."]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Documents {
    texts: Arc<[String]>,
    source: Source,
}

impl Documents {
    /// The texts in a file: the column `field` of a Parquet file, or the field of that name of each
    /// object in a file of JSON by lines (`.jsonl`, also `.jsonl.gz`).
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read; [`Error::Format`] for a file of another kind or that
    /// is damaged, with the line if it has lines; [`Error::Interrupted`] when Stop is pressed.
    pub fn read(path: impl AsRef<Path>, field: &str) -> Result<Self> {
        let path = &*expand_home(path.as_ref());
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let open = || File::open(path).map_err(Error::io("read", path));
        let texts = match () {
            () if name.ends_with(".parquet") => in_parquet(path, Blob::open(path)?, field)?,
            () if name.ends_with(".jsonl") => in_lines(path, open()?, field)?,
            () if name.ends_with(".jsonl.gz") => {
                in_lines(path, MultiGzDecoder::new(BufReader::new(open()?)), field)?
            }
            () => {
                let expected = "a file whose name ends in .parquet, .jsonl or .jsonl.gz";
                return Err(Error::format(path, expected, "another ending"));
            }
        };
        Self::of(texts, Source::File(path.to_owned()), field)
    }

    /// The texts of a file, as [`Documents::read`] of the field `text`, or of a data set in a folder or
    /// on the hub (`owner/name`), whose Parquet files are in its folder `data`.
    ///
    /// # Errors
    /// As [`Documents::read`]; a data set that is not there.
    pub fn from_pretrained(name: &str) -> Result<Self> {
        let path = expand_home(Path::new(name));
        if path.is_file() {
            return Self::read(path, TEXT);
        }
        let plain = name.strip_prefix("datasets/").unwrap_or(name);
        let name = if path.is_dir() { name.to_owned() } else { format!("datasets/{plain}") };
        let repository = Repository::find(&name)?;
        let parts = repository.parts_in_place_of(LINES)?;
        let Some(Content { source, .. }) = parts.first() else {
            return Err(Error::NotFound {
                what: format!("the texts of {repository}"),
                hint:
                    "It has no Parquet files in its folder data. A single file of it can be read \
                       by its path: .parquet, .jsonl or .jsonl.gz."
                        .to_owned(),
            });
        };
        let source = source.clone();
        let mut texts = Vec::new();
        for Content { path, bytes, .. } in parts {
            texts.extend(in_parquet(&path, bytes, TEXT)?);
        }
        Self::of(texts, source, TEXT)
    }

    fn of(texts: Vec<String>, source: Source, field: &str) -> Result<Self> {
        match texts.is_empty() {
            true => Err(Error::invalid(
                format!("the texts in `{field}` of {source}"),
                "at least one",
                0,
            )),
            false => Ok(Self { texts: texts.into(), source }),
        }
    }

    /// The texts.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(String::as_str)
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is none; there always is one.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Where they came from.
    pub fn source(&self) -> &Source {
        &self.source
    }
}

show_as_text!(Documents);

impl fmt::Display for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} documents, from {}", thousands(self.len()), self.source)
    }
}

fn in_parquet(path: &Path, content: Blob, field: &str) -> Result<Vec<String>> {
    safe_point("reading documents")?;
    let file = ColumnFile::open(path, content, "a whole Parquet file of texts")?;
    file.texts(field, 0..file.rows())
}

fn in_lines(path: &Path, content: impl Read, field: &str) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for (at, line) in BufReader::new(content).lines().enumerate() {
        if at % LINES_PER_LOOK == 0 {
            safe_point("reading documents")?;
        }
        let line = line.map_err(Error::io("read", path))?;
        if line.trim().is_empty() {
            continue;
        }
        let expected = || format!("an object of JSON with a text `{field}` in line {}", at + 1);
        let value: Value = serde_json::from_str(&line).map_err(|reason| {
            Error::format(path, expected(), reason.to_string()).caused_by(reason)
        })?;
        match value.get(field) {
            Some(Value::String(text)) => texts.push(text.clone()),
            Some(other) => return Err(Error::format(path, expected(), other.to_string())),
            None => return Err(Error::format(path, expected(), "no such field")),
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::data::Table;

    const LINES_OF_TWO: &str = "{\"text\": \"a b\", \"n\": 1}\n\n{\"text\": \"ü\\n\"}\n";

    #[test]
    fn every_kind_of_file_gives_the_same_texts() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        std::fs::write(place("t.jsonl"), LINES_OF_TWO).unwrap();
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(LINES_OF_TWO.as_bytes()).unwrap();
        std::fs::write(place("t.jsonl.gz"), packed.finish().unwrap()).unwrap();
        let table = Table::new().column("n", [1.0, 2.0]).unwrap();
        table.column("text", ["a b", "ü\n"]).unwrap().save(place("t.parquet")).unwrap();
        for name in ["t.jsonl", "t.jsonl.gz", "t.parquet"] {
            let found = Documents::from_pretrained(place(name).to_str().unwrap()).unwrap();
            assert_eq!(found.iter().collect::<Vec<_>>(), ["a b", "ü\n"], "{name}");
            assert!(found.to_string().contains(name) && found.len() == 2);
        }
        // A folder in the layout of a data set.
        std::fs::create_dir(place("data")).unwrap();
        std::fs::rename(place("t.parquet"), place("data/train-00000-of-00001.parquet")).unwrap();
        let found = Documents::from_pretrained(folder.path().to_str().unwrap()).unwrap();
        assert_eq!(found.iter().count(), 2);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let message = |name: &str, text: &str, field: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Documents::read(&path, field).unwrap_err().to_string()
        };
        let text = message("a.jsonl", "{\"text\": \"a\"}\n{\"text\": 3}\n", "text");
        assert!(text.contains("line 2") && text.contains("found 3"), "{text}");
        assert!(message("a.jsonl", "{\"text\": \"a\"}\n", "body").contains("no such field"));
        assert!(message("a.jsonl", "text\n", "text").contains("in line 1"));
        assert!(message("a.jsonl", "\n", "text").contains("at least one"));
        assert!(message("a.jsonl.zst", "", "text").contains(".jsonl.gz, found another ending"));
        assert!(message("a.parquet", "PAR1", "text").contains("Parquet"));
        assert!(message("a.jsonl.gz", "no gzip", "text").contains("a.jsonl.gz"));
        let none = Documents::from_pretrained(folder.path().to_str().unwrap()).unwrap_err();
        assert!(none.to_string().contains("no Parquet files"), "{none}");
    }
}
