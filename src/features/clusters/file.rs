//! Clusters in files: JSON of our own, and the study's pickles.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::Clusters;
use crate::store::pickle::{Id, Pickle, PickleValue};
use crate::store::{Format, mistaken, parse_json, replace};
use crate::{Error, Result};

/// What a file of clusters has to be.
const EXPECTED: &str =
    "clusters: a list or a dictionary of lists of features, as JSON or as a pickle";
/// The word that tells our files from others.
const KIND: &str = "eigenlens clusters";

/// Clusters by number, as a file lists them.
type Listed = Vec<Vec<usize>>;

impl Clusters {
    /// The clusters in a file: one that [`Clusters::save`] wrote, other JSON, or a pickle of Python,
    /// in each of which there is a list of lists of features, or a dictionary of such lists by
    /// number, as the study published them. A file that does not say how many features there are
    /// has as many as its largest member and all below.
    ///
    /// Pickles are read as data: nothing in them is called, and one that asks for a class or a
    /// function is refused.
    ///
    /// # Errors
    /// A file that cannot be read or is something else; features that are negative, or in several
    /// clusters.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        let (features, clusters) = match first {
            Some(b'{' | b'[') => from_json(path, &bytes)?,
            // A pickle of protocol 2 or above, or one of text.
            Some(0x80 | b'(') => (None, from_pickle(path, &bytes)?),
            _ => return Err(mistaken(path, &bytes, Format::Json, EXPECTED, "another file")),
        };
        let largest = clusters.iter().flatten().max().map_or(0, |largest| largest + 1);
        Self::new(features.unwrap_or(largest), clusters)
            .map_err(|reason| Error::format(path, EXPECTED, reason.to_string()).caused_by(reason))
    }

    /// Writes the clusters to a file, JSON, which [`Clusters::open`] reads.
    ///
    /// # Errors
    /// If it cannot be written; a file that was there before is then unchanged.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let clusters: Vec<&[usize]> = self.iter().collect();
        let all = json!({"kind": KIND, "features": self.features(), "clusters": clusters});
        replace(path.as_ref(), |place| {
            std::fs::File::create(place)?.write_all(all.to_string().as_bytes())
        })
    }
}

fn from_json(path: &Path, bytes: &[u8]) -> Result<(Option<usize>, Listed)> {
    let value = parse_json(path, bytes, EXPECTED)?;
    let wrong = |found: String| Error::format(path, EXPECTED, found);
    if value.get("kind").is_some_and(|kind| kind == KIND) {
        let features = value["features"].as_u64().and_then(|count| usize::try_from(count).ok());
        let features = features.ok_or_else(|| wrong("no number of `features`".to_owned()))?;
        return Ok((Some(features), lists(&value["clusters"]).map_err(wrong)?));
    }
    Ok((None, lists(&value).map_err(wrong)?))
}

/// A list of lists, or a dictionary of lists by number.
fn lists(value: &Value) -> Result<Listed, String> {
    let member = |value: &Value| {
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| format!("{value} for a feature"))
    };
    let list = |value: &Value| match value {
        Value::Array(list) => list.iter().map(member).collect(),
        other => Err(format!("{} for a list of features", kind(other))),
    };
    match value {
        Value::Array(all) => all.iter().map(list).collect(),
        Value::Object(all) => {
            let numbered = all.iter().map(|(key, value)| {
                let number = key.parse().map_err(|_| format!("the key `{key}` for a number"))?;
                Ok((number, list(value)?))
            });
            in_order(numbered)
        }
        other => Err(kind(other).to_owned()),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a Boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a dictionary",
    }
}

/// Clusters in the order of their numbers, which must be 0, 1, 2, …
fn in_order(
    numbered: impl Iterator<Item = Result<(usize, Vec<usize>), String>>,
) -> Result<Listed, String> {
    let mut all = BTreeMap::new();
    for own in numbered {
        let (number, list) = own?;
        if all.insert(number, list).is_some() {
            return Err(format!("two clusters of number {number}"));
        }
    }
    match all.keys().enumerate().find(|(place, number)| place != *number) {
        Some((place, _)) => Err(format!("no cluster {place}, but one of a higher number")),
        None => Ok(all.into_values().collect()),
    }
}

fn from_pickle(path: &Path, bytes: &[u8]) -> Result<Listed> {
    let read = |bytes: &[u8]| {
        let pickle = Pickle::parse(bytes).map_err(|reason| reason.to_string())?;
        PickledClusters(&pickle).lists()
    };
    read(bytes).map_err(|found| mistaken(path, bytes, Format::Pickle, EXPECTED, found))
}

/// The clusters that a pickle describes.
struct PickledClusters<'a>(&'a Pickle);

impl PickledClusters<'_> {
    fn lists(&self) -> Result<Listed, String> {
        match self.0.value(self.0.root()) {
            PickleValue::List(all) | PickleValue::Tuple(all) => {
                all.iter().map(|id| self.list(*id)).collect()
            }
            PickleValue::Dict(all) => {
                let numbered =
                    all.iter().map(|(key, value)| Ok((self.number(*key)?, self.list(*value)?)));
                in_order(numbered)
            }
            other => Err(describe(other)),
        }
    }

    fn list(&self, id: Id) -> Result<Vec<usize>, String> {
        match self.0.value(id) {
            PickleValue::List(members) | PickleValue::Tuple(members) => {
                members.iter().map(|id| self.number(*id)).collect()
            }
            other => Err(format!("{} for a list of features", describe(other))),
        }
    }

    fn number(&self, id: Id) -> Result<usize, String> {
        match self.0.value(id) {
            PickleValue::Int(number) => {
                usize::try_from(*number).map_err(|_| format!("{number} for a feature"))
            }
            other => Err(format!("{} for a feature", describe(other))),
        }
    }
}

fn describe(value: &PickleValue) -> String {
    let words = match value {
        PickleValue::Global(name) | PickleValue::Object(name, _) => {
            return format!("`{name}`, which is not data");
        }
        PickleValue::None => "None",
        PickleValue::Bool(_) => "a Boolean",
        PickleValue::Int(_) | PickleValue::Float(_) => "a number",
        PickleValue::Text(_) => "a text",
        PickleValue::Bytes => "bytes",
        PickleValue::List(_) | PickleValue::Tuple(_) => "a list",
        PickleValue::Dict(_) => "a dictionary",
        PickleValue::Storage(..) | PickleValue::Tensor(_) => "a tensor",
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(content: &[u8]) -> Result<Clusters> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clusters");
        std::fs::write(&path, content).unwrap();
        Clusters::open(&path)
    }

    #[test]
    fn saved_clusters_come_back() {
        let clusters = Clusters::new(20, [vec![3, 1], vec![7], vec![2, 0, 19]]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clusters.json");
        clusters.save(&path).unwrap();
        let loaded = Clusters::open(&path).unwrap();
        assert_eq!(loaded.features(), 20);
        assert!(loaded.iter().eq(clusters.iter()));
        assert!(clusters.save(folder.path().join("no/such/folder.json")).is_err());
    }

    #[test]
    fn other_json_is_a_list_or_a_dictionary() {
        let list = opened(b" [[3, 1], [0]]\n").unwrap();
        assert_eq!((list.features(), list.get(0).unwrap()), (4, &[3, 1][..]));
        let dictionary = opened(br#"{"1": [5], "10": [2], "0": [4, 3]}"#).unwrap_err();
        assert!(dictionary.to_string().contains("no cluster 2"), "{dictionary}");
        let dictionary = opened(br#"{"1": [5], "0": [4, 3]}"#).unwrap();
        assert_eq!((dictionary.get(0).unwrap(), dictionary.find(5)), (&[4, 3][..], Some(1)));
    }

    /// `pickle.dumps({0: [3, 1], 1: [300, 70000]}, 4)` and `pickle.dumps([[2], [0, 1]], 2)`, written
    /// by Python.
    const DICTIONARY: &[u8] = b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00}\x94(K\x00]\x94(K\x03\
        K\x01eK\x01]\x94(M,\x01Jp\x11\x01\x00eu.";
    const LIST: &[u8] = b"\x80\x02]q\x00(]q\x01K\x02a]q\x02(K\x00K\x01ee.";

    #[test]
    fn pickles_of_both_kinds_are_read() {
        let dictionary = opened(DICTIONARY).unwrap();
        assert!(dictionary.iter().eq([&[3, 1][..], &[300, 70_000]]));
        assert_eq!(dictionary.features(), 70_001);
        let list = opened(LIST).unwrap();
        assert!(list.iter().eq([&[2][..], &[0, 1]]));
    }

    #[test]
    fn what_calls_or_is_cut_is_refused() {
        let message = |content: &[u8]| opened(content).unwrap_err().to_string();
        // `os.system("true")` as pickle's REDUCE would call it, and a class by itself.
        let call = message(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.");
        assert!(call.contains("os.system"), "{call}");
        let class = message(b"\x80\x02]cos\nsystem\na.");
        assert!(class.contains("`os.system`, which is not data"), "{class}");
        for cut in 1..LIST.len() {
            assert!(opened(&LIST[..cut]).is_err(), "{cut}");
        }
        for cut in 1..DICTIONARY.len() {
            assert!(opened(&DICTIONARY[..cut]).is_err(), "{cut}");
        }
        assert!(message(b"[[1, -2]]").contains("-2 for a feature"));
        assert!(message(b"[3]").contains("a number for a list"));
        assert!(message(b"[[1], [1]]").contains("1 in clusters 0 and 1"));
        assert!(message(b"{\"a\": [1]}").contains("the key `a`"));
        assert!(message(b"").contains("empty file"));
        assert!(message(b"\x1f\x8b\x08\x00").contains("gzip"));
        let kept = message(br#"{"kind": "eigenlens clusters", "clusters": [[1]]}"#);
        assert!(kept.contains("`features`"), "{kept}");
    }
}
