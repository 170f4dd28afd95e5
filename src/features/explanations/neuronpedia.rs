//! Explanations in Neuronpedia's files.

use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Explanations, FeatureExplanation};
use crate::progress::safe_point;
use crate::store::{Format, mistaken};
use crate::{Error, Result};

/// Bytes of text in one file, unpacked: a hundred times the largest batch of an export.
const MOST_BYTES: u64 = 1 << 30;
/// How a gzipped file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What wrote the explanations and scores, where Neuronpedia has names of methods.
const METHOD: &str = "eigenlens";
/// Lines between two looks at Stop.
const LINES_PER_LOOK: usize = 1_024;
const EXPECTED: &str = "Neuronpedia's explanations: a list of objects, or an object a line, each with \
                        `index` and `description`";

/// What is read of an entry; other fields are passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportedEntry {
    model_id: Option<String>,
    /// The autoencoder: "6-res-jb".
    layer: Option<String>,
    index: ExportedIndex,
    description: Option<String>,
    explanation_model_name: Option<String>,
    scores: Option<Vec<ExportedScore>>,
}

/// Exports have texts, other programs numbers.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a number, or a text that holds one")]
enum ExportedIndex {
    Number(usize),
    Text(String),
}

#[derive(Debug, Deserialize)]
struct ExportedScore {
    value: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEntry<'a> {
    model_id: &'a str,
    layer: &'a str,
    index: String,
    description: &'a str,
    explanation_model_name: &'a str,
    type_name: &'static str,
    scores: Vec<WrittenScore<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenScore<'a> {
    value: f64,
    explanation_score_type_name: &'static str,
    explanation_score_model_name: &'a str,
}

impl Explanations {
    /// Reads a file of Neuronpedia's: a list of objects, or an object a line, plain or gzipped, such as
    /// `explanations/batch-0.jsonl.gz` of its exports. Of each object `index` (a number, or a text
    /// that holds one), `description`, `explanationModelName` and the first of `scores` are read.
    /// Entries without a description are left out. Of several explanations of a feature the best
    /// scored is kept, and of equal ones the first.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read; [`Error::Format`] if it is damaged or of another
    /// kind, has explanations of two autoencoders, or none; [`Error::Interrupted`] when Stop is
    /// pressed.
    pub fn read_neuronpedia(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        from_export(path, &unpacked(path, bytes)?)
    }

    /// Writes the file `path` as Neuronpedia has it: a list of objects, in which `modelId` and `layer`
    /// are its names of the model and the autoencoder, such as `gemma-2-2b` and
    /// `20-gemmascope-res-16k`. Scores that there are have the type `eigenlens`.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for a score that is no number; [`Error::Io`] if the file cannot be written.
    pub fn write_neuronpedia(
        &self,
        path: impl AsRef<Path>,
        model_id: &str,
        sae_id: &str,
    ) -> Result<()> {
        let entries = self.iter().map(|(feature, FeatureExplanation { text, by, score })| {
            let score = score.map(|value| WrittenScore {
                value,
                explanation_score_type_name: METHOD,
                explanation_score_model_name: by,
            });
            WrittenEntry {
                model_id,
                layer: sae_id,
                index: feature.to_string(),
                description: text,
                explanation_model_name: by,
                type_name: METHOD,
                scores: score.into_iter().collect(),
            }
        });
        let text = self.json(&entries.collect::<Vec<_>>())?;
        let path = path.as_ref();
        eigenlens_common::files::write(path, text).map_err(Error::io("write", path))
    }
}

/// The text of a file that may be gzipped.
fn unpacked(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>> {
    if !bytes.starts_with(&GZIP) {
        return Ok(bytes);
    }
    let mut text = Vec::new();
    let read = MultiGzDecoder::new(bytes.as_slice()).take(MOST_BYTES + 1).read_to_end(&mut text);
    read.map_err(|reason| {
        Error::format(path, "a whole gzipped file", reason.to_string()).caused_by(reason)
    })?;
    if text.len() as u64 > MOST_BYTES {
        let expected = format!("at most {} MiB of text", MOST_BYTES >> 20);
        return Err(Error::format(path, expected, "more, once it is unpacked"));
    }
    Ok(text)
}

fn from_export(path: &Path, text: &[u8]) -> Result<Explanations> {
    let is_list = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let mut found = Explanations::new();
    let mut sae: Option<[Option<String>; 2]> = None;
    if is_list {
        let entries: Vec<ExportedEntry> =
            parsed(text).map_err(|reason| refused(path, text, "", reason))?;
        for (at, entry) in entries.into_iter().enumerate() {
            take(path, entry, &format!(" in object {}", at + 1), &mut sae, &mut found)?;
        }
    } else {
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if at % LINES_PER_LOOK == 0 {
                safe_point("reading explanations")?;
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let place = format!(" in line {}", at + 1);
            let entry = parsed(line).map_err(|reason| refused(path, text, &place, reason))?;
            take(path, entry, &place, &mut sae, &mut found)?;
        }
    }
    match found.is_empty() {
        true => Err(refused(path, text, "", "no explanation".to_owned())),
        false => Ok(found),
    }
}

/// A whole text as JSON, or what is wrong with it and where.
fn parsed<T: DeserializeOwned>(text: &[u8]) -> std::result::Result<T, String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut reader);
    let value = value.map_err(|reason| reason.to_string())?;
    reader.end().map_err(|reason| reason.to_string())?;
    Ok(value)
}

/// The error for a text that is something else; `place` says where, if that is not in the reason.
fn refused(path: &Path, text: &[u8], place: &str, reason: String) -> Error {
    mistaken(path, text, Format::Json, format!("{EXPECTED}{place}"), reason)
}

/// Takes in an entry, which must be of the same autoencoder as the ones before.
fn take(
    path: &Path,
    entry: ExportedEntry,
    place: &str,
    sae: &mut Option<[Option<String>; 2]>,
    found: &mut Explanations,
) -> Result<()> {
    let feature = match &entry.index {
        ExportedIndex::Number(index) => *index,
        ExportedIndex::Text(index) => index.trim().parse::<usize>().map_err(|reason| {
            let expected = format!("the number of a feature in `index`{place}");
            Error::format(path, expected, format!("{index:?}")).caused_by(reason)
        })?,
    };
    let own = [entry.model_id, entry.layer];
    match sae {
        Some(first) if *first != own => {
            let named = |own: &[Option<String>; 2]| {
                own.iter()
                    .map(|name| name.as_deref().unwrap_or("none"))
                    .collect::<Vec<_>>()
                    .join("/")
            };
            let found = format!("{} and, {}, {}", named(first), place.trim_start(), named(&own));
            return Err(Error::format(path, "explanations of one autoencoder", found));
        }
        Some(_) => {}
        None => *sae = Some(own),
    }
    let Some(text) = entry.description.map(|text| text.trim().to_owned()) else { return Ok(()) };
    let score = entry.scores.into_iter().flatten().find_map(|score| score.value);
    let better = match found.get(feature) {
        None => true,
        Some(before) => {
            before.score.map_or(score.is_some(), |old| score.is_some_and(|new| new > old))
        }
    };
    if better && !text.is_empty() {
        let by = entry.explanation_model_name.unwrap_or_default();
        found.insert(feature, FeatureExplanation { text, by, score });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::{Value, json};

    use super::super::tests::explanation;
    use super::*;

    /// Two lines as the exports have them, with fields that nothing here reads.
    const LINES: &str = concat!(
        r#"{"id":"cl1","modelId":"gpt2-small","layer":"6-res-jb","index":"650","description":" days of the week","#,
        r#""authorId":"x","typeName":"oai_token-act-pair","explanationModelName":"gpt-4o-mini","umap_x":0.5,"#,
        r#""embedding":[0.1,-0.2],"createdAt":"2026-01-01T00:00:00.000Z","scoreV1":0}"#,
        "\n\n",
        r#"{"modelId":"gpt2-small","layer":"6-res-jb","index":3,"description":"numbers","explanationModelName":null,"#,
        r#""scores":[{"value":0.75,"explanationScoreTypeName":"eleuther_fuzz"},{"value":0.5}]}"#,
        "\n",
        r#"{"modelId":"gpt2-small","layer":"6-res-jb","index":"9","description":null}"#,
        "\n",
    );

    fn read(bytes: &[u8]) -> Result<Explanations> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("batch-0.jsonl");
        std::fs::write(&path, bytes).unwrap();
        Explanations::read_neuronpedia(path)
    }

    fn gzipped(text: &str) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn exports_are_read_as_lines_as_a_list_and_gzipped() {
        let entries: Vec<Value> = LINES
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let list = serde_json::to_string_pretty(&entries).unwrap();
        for bytes in
            [LINES.as_bytes().to_vec(), gzipped(LINES), list.clone().into_bytes(), gzipped(&list)]
        {
            let found = read(&bytes).unwrap();
            assert_eq!(found.len(), 2, "the third has no description");
            let own = found.get(650).unwrap();
            assert_eq!((own.text.as_str(), own.by.as_str()), ("days of the week", "gpt-4o-mini"));
            assert_eq!(own.score, None);
            let own = found.get(3).unwrap();
            assert_eq!((own.text.as_str(), own.by.as_str()), ("numbers", ""));
            assert_eq!(own.score, Some(0.75));
        }
    }

    #[test]
    fn what_is_written_is_read_and_has_their_fields() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        let own: Explanations =
            [(4, explanation("a \"b\"\nc", Some(0.5))), (1, explanation("d", None))]
                .into_iter()
                .collect();
        own.write_neuronpedia(&path, "gemma-2-2b", "20-gemmascope-res-16k").unwrap();
        assert_eq!(Explanations::read_neuronpedia(&path).unwrap(), own);
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let expected = json!({
            "modelId": "gemma-2-2b", "layer": "20-gemmascope-res-16k", "index": "4",
            "description": "a \"b\"\nc", "explanationModelName": "judge", "typeName": "eigenlens",
            "scores": [{"value": 0.5, "explanationScoreTypeName": "eigenlens",
                        "explanationScoreModelName": "judge"}],
        });
        assert_eq!(file[1], expected);
        assert_eq!(file[0]["scores"], json!([]));
        let bad: Explanations = [(0, explanation("a", Some(f64::INFINITY)))].into_iter().collect();
        assert!(bad.write_neuronpedia(&path, "m", "s").is_err());
        assert_eq!(Explanations::read_neuronpedia(&path).unwrap(), own, "it was left as it was");
    }

    #[test]
    fn of_several_explanations_the_best_scored_is_kept() {
        let line = |text: &str, score: Value| {
            json!({"index": 5, "description": text, "scores": [{"value": score}]}).to_string()
        };
        let lines = [
            line("none", Value::Null),
            line("good", json!(0.8)),
            line("worse", json!(0.6)),
            line("equal", json!(0.8)),
            line("unscored", Value::Null),
        ];
        assert_eq!(read(lines.join("\n").as_bytes()).unwrap().get(5).unwrap().text, "good");
        assert_eq!(read(lines[0].as_bytes()).unwrap().get(5).unwrap().text, "none");
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let message = |bytes: &[u8]| {
            let message = read(bytes).unwrap_err().to_string();
            assert!(message.contains("batch-0.jsonl"), "{message}");
            message
        };
        let damaged = LINES.replace("\"numbers\"", "\"numbers");
        assert!(message(damaged.as_bytes()).contains("in line 3"));
        assert!(message(LINES.replace(":3,", ":\"three\",").as_bytes()).contains("\"three\""));
        assert!(message(LINES.replace(":3,", ":-3,").as_bytes()).contains("index"));
        assert!(message(br#"{"description": "a"}"#).contains("index"));
        assert!(message(b"[]").contains("no explanation"));
        assert!(message(b"").contains("empty"));
        assert!(message(br#"[{"index": 1, "description": "a"}"#).contains("EOF"));
        let other = LINES.replacen("6-res-jb", "7-res-jb", 1);
        let told = message(other.as_bytes());
        assert!(told.contains("gpt2-small/7-res-jb and, in line 3, gpt2-small/6-res-jb"), "{told}");
        let whole = gzipped(LINES);
        assert!(message(&whole[..whole.len() - 12]).contains("a whole gzipped file"));
    }
}
