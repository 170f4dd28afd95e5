//! Published autoencoders, by release and identity.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::sync::{Arc, OnceLock};

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;

use super::{Family, Normalization};
use crate::display::{ShownColumn, ShownTable};
use crate::error::SharedCause;
use crate::model::{KnownModel, ModelSupport};
use crate::{Error, Result};

/// Rows that a notebook shows.
const SHOWN: usize = 40;

/// The published autoencoders that are known here, or some of them: releases under the names that
/// SAELens gives them.
///
/// ```
/// use eigenlens::sae::Registry;
/// # fn main() -> eigenlens::Result<()> {
/// let found = Registry::all()?.search("gpt2 resid_pre");
/// assert!(found.entries().iter().any(|entry| entry.release == "gpt2-small-res-jb"));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Registry {
    entries: Vec<Entry>,
}

/// A published autoencoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The release that it belongs to: the first argument of
    /// [`Sae::from_pretrained`](super::Sae::from_pretrained).
    pub release: String,
    /// Its name in the release: the second.
    pub id: String,
    /// The model whose activations it was trained on.
    pub model: String,
    /// The place in the model, under TransformerLens's name, where it is known.
    pub hook: Option<String>,
    /// How it is stored.
    pub family: Family,
    /// Mean number of active features, where it is published.
    pub l0: Option<f64>,
    /// Repository on the hub.
    pub repository: String,
    /// Folder or file in it.
    pub path: String,
    pub(super) scale: Option<f64>,
    pub(super) k: Option<usize>,
    pub(super) normalization: Option<String>,
    /// How the model was loaded for training, where SAELens's list says it: as in
    /// [`TrainingRecord::model_options`](super::TrainingRecord::model_options).
    pub(super) model_options: BTreeMap<String, String>,
    pub(super) dataset: Option<String>,
}

#[derive(Deserialize)]
struct Release {
    release: String,
    repository: String,
    model: String,
    family: String,
    k: Option<usize>,
    normalize_activations: Option<String>,
    #[serde(default)]
    model_options: BTreeMap<String, Value>,
    dataset: Option<String>,
    entries: Vec<ListedSae>,
}

#[derive(Deserialize)]
struct ListedSae {
    id: String,
    path: Option<String>,
    hook: Option<String>,
    l0: Option<f64>,
    scale: Option<f64>,
}

fn releases() -> Result<&'static [Release]> {
    static RELEASES: OnceLock<Result<Vec<Release>, SharedCause>> = OnceLock::new();
    let releases = RELEASES.get_or_init(|| {
        let packed: &[u8] = include_bytes!("../../assets/sae/registry.json.gz");
        let mut text = String::new();
        GzDecoder::new(packed)
            .read_to_string(&mut text)
            .map_err(|reason| Arc::new(reason) as SharedCause)?;
        serde_json::from_str(&text).map_err(|reason| Arc::new(reason) as SharedCause)
    });
    releases.as_deref().map_err(|reason| {
        let path = std::path::Path::new("eigenlens/registry.json.gz");
        Error::format(path, "the list of published autoencoders", reason.to_string())
            .caused_by(Arc::clone(reason))
    })
}

impl Release {
    fn entry(&self, row: &ListedSae) -> Result<Entry> {
        Ok(Entry {
            release: self.release.clone(),
            id: row.id.clone(),
            model: self.model.clone(),
            hook: row.hook.clone(),
            family: self.family.parse()?,
            l0: row.l0,
            repository: self.repository.clone(),
            path: row.path.clone().unwrap_or_else(|| row.id.clone()),
            scale: row.scale,
            k: self.k,
            normalization: self.normalize_activations.clone(),
            model_options: self
                .model_options
                .iter()
                .map(|(name, value)| (name.clone(), value.to_string()))
                .collect(),
            dataset: self.dataset.clone(),
        })
    }
}

/// The autoencoder `id` of `release`, or nothing where there is no such release.
///
/// # Errors
/// A release that does not have it.
pub(super) fn find(release: &str, id: &str) -> Result<Option<Entry>> {
    let Some(release) = releases()?.iter().find(|own| own.release == release) else {
        return Ok(None);
    };
    match release.entries.iter().find(|row| row.id == id) {
        Some(row) => release.entry(row).map(Some),
        None => {
            let some: Vec<_> = release.entries.iter().take(3).map(|row| &*row.id).collect();
            Err(Error::NotFound {
                what: format!("the autoencoder {id} of {}", release.release),
                hint: format!(
                    "The release has {} of them, such as {}; \
                     Registry::all()?.search(\"{}\") lists them.",
                    release.entries.len(),
                    some.join(", "),
                    release.release
                ),
            })
        }
    }
}

/// The autoencoder at `path` of the hub's `repository`, if it is one of those that are listed.
pub(super) fn published(repository: &str, path: &str) -> Result<Option<Entry>> {
    // Folders of this machine need no look at the list.
    if repository.matches('/').count() != 1 || repository.starts_with(['.', '/']) {
        return Ok(None);
    }
    let (repository, path) =
        (repository.split('@').next().unwrap_or_default(), path.trim_matches('/'));
    for release in releases()?.iter().filter(|release| release.repository == repository) {
        let row = release.entries.iter().find(|row| row.path.as_ref().unwrap_or(&row.id) == path);
        if let Some(row) = row {
            return release.entry(row).map(Some);
        }
    }
    Ok(None)
}

impl Registry {
    /// All that are known.
    ///
    /// # Errors
    /// A damaged build of this library.
    pub fn all() -> Result<Self> {
        let rows = releases()?.iter().flat_map(|own| own.entries.iter().map(|row| own.entry(row)));
        Ok(Self { entries: rows.collect::<Result<_>>()? })
    }

    /// Those in whose release, id, model, hook point or family every word of `words` occurs, in
    /// either case.
    #[must_use]
    pub fn search(&self, words: &str) -> Self {
        let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
        let fits = |entry: &&Entry| {
            let Entry { release, id, model, hook, family, .. } = entry;
            let hook = hook.as_deref().unwrap_or_default();
            let text = format!("{release} {id} {model} {hook} {family}").to_lowercase();
            words.iter().all(|word| text.contains(word))
        };
        Self { entries: self.entries.iter().filter(fits).cloned().collect() }
    }

    /// Those whose model loads, gated ones included.
    #[must_use]
    pub fn loading(&self) -> Self {
        let loads = |entry: &&Entry| entry.support().loads();
        Self { entries: self.entries.iter().filter(loads).cloned().collect() }
    }

    /// The autoencoders.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Shows a table as the value of a cell.
    pub fn evcxr_display(&self) {
        let headings = ["release", "id", "model", "model loads", "hook", "family", "L0"];
        let mut shown = ShownTable::new(headings.map(ShownColumn::left)).note(self.closing());
        for entry in self.entries.iter().take(SHOWN) {
            let Entry { release, id, model, hook, family, l0, .. } = entry;
            let hook = hook.as_deref().unwrap_or_default();
            let (family, l0) =
                (family.to_string(), l0.map(|l0| l0.to_string()).unwrap_or_default());
            let support = entry.support();
            shown.push([release, id, model, support.label(), hook, &family, &l0]);
        }
        shown.bundle(self.to_string()).show_as_result();
    }

    fn closing(&self) -> String {
        let (count, releases) = (self.entries.len(), self.releases());
        let more = count.saturating_sub(SHOWN);
        let rest =
            if more > 0 { format!("; {more} more, search to see them") } else { String::new() };
        format!("{count} autoencoders of {releases} releases{rest}")
    }

    fn releases(&self) -> usize {
        let mut names: Vec<_> = self.entries.iter().map(|entry| &entry.release).collect();
        names.dedup();
        names.len()
    }
}

impl Entry {
    /// Whether its model loads, as far as the model's name tells; see
    /// [`model_for`](super::model_for), which loads it.
    ///
    /// ```
    /// use eigenlens::model::ModelSupport;
    /// use eigenlens::sae::Registry;
    /// # fn main() -> eigenlens::Result<()> {
    /// let found = Registry::all()?.search("gpt2-small-res-jb");
    /// assert_eq!(found.entries()[0].support(), ModelSupport::Loads);
    /// # Ok(()) }
    /// ```
    pub fn support(&self) -> ModelSupport {
        KnownModel::find(&self.model).map_or(ModelSupport::Unknown, |model| model.support())
    }

    /// The normalisation that the release's files should say and do not.
    pub(super) fn normalization(&self) -> Option<Normalization> {
        let name = self.normalization.as_deref()?;
        (name == "constant_norm_rescale").then_some(Normalization::UnitNorm)
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in self.entries.iter().take(SHOWN) {
            let Entry { release, id, model, hook, family, .. } = entry;
            let hook = hook.as_deref().unwrap_or("?");
            writeln!(
                f,
                "{release}  {id}  {model} ({})  {hook}  {family}",
                entry.support().label()
            )?;
        }
        f.write_str(&self.closing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_found_by_words() {
        let all = Registry::all().unwrap();
        assert!(all.entries().len() > 4_000);
        let found = all.search("GPT2-small-res-jb blocks.8.");
        let entry = found.entries().iter().find(|entry| entry.release == "gpt2-small-res-jb");
        let entry = entry.unwrap();
        assert_eq!(entry.hook.as_deref(), Some("blocks.8.hook_resid_pre"));
        assert_eq!(entry.family, Family::SaeLens);
        assert!(all.search("no-such-thing").entries().is_empty());
        let gemma =
            all.search("gemma-scope-2b-pt-res-canonical layer_12/width_16k").entries()[0].clone();
        assert_eq!(gemma.hook.as_deref(), Some("blocks.12.hook_resid_post"));
        assert!(gemma.path.contains("average_l0_"), "{}", gemma.path);
    }

    #[test]
    fn entries_say_whether_their_model_loads() {
        let all = Registry::all().unwrap();
        let first = |words: &str| all.search(words).entries()[0].clone();
        assert_eq!(first("gpt2-small-res-jb").support(), ModelSupport::Loads);
        assert_eq!(first("gemma-scope-2b-pt-res").support(), ModelSupport::Gated);
        let loading = first("gpt2-small-res-jb");
        let unknown = Entry { model: "my-model".to_owned(), ..loading.clone() };
        assert_eq!(unknown.support(), ModelSupport::Unknown);
        let mixed = Registry { entries: vec![unknown, loading.clone()] };
        let shown = mixed.to_string();
        assert!(shown.contains("my-model (unknown)") && shown.contains("(loads)"), "{shown}");
        assert_eq!(mixed.loading().entries(), [loading]);
    }

    #[test]
    fn gated_models_of_a_family_are_counted() {
        let some = find("gpt2-small-res-jb", "blocks.8.hook_resid_pre").unwrap().unwrap();
        let models = ["Llama-3.1-8B", "DeepSeek-R1-Distill-Llama-8B", "gpt2", "Llama-3.2-1B"];
        let of = |model: &str| Entry { model: model.to_owned(), ..some.clone() };
        let mixed = Registry { entries: models.map(of).to_vec() };
        let coverage = mixed.coverage();
        let counts = coverage.rows.iter().map(|row| (row.model_type, row.loading, row.gated));
        let counts: Vec<_> = counts.collect();
        assert_eq!(counts, [(Some("llama"), 3, 2), (Some("gpt2"), 1, 0)]);
        let shown = coverage.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].ends_with("3  loads (2 gated)"), "{shown}");
        assert!(lines[1].ends_with("1  loads"), "{shown}");
    }

    #[test]
    fn what_the_list_says_of_how_models_were_loaded_is_kept() {
        for release in ["gpt2-small-res-jb", "gpt2-small-res-jb-feature-splitting"] {
            let all = Registry::all().unwrap().search(release);
            let options = &all.entries()[0].model_options;
            assert_eq!(options.get("center_writing_weights").map(String::as_str), Some("true"));
        }
        let mlp = find("gpt2-small-mlp-tm", "blocks.0.hook_mlp_out").unwrap().unwrap();
        assert_eq!(mlp.dataset.as_deref(), Some("Skylion007/openwebtext"));
        let tuned = Registry::all().unwrap().search("gemma-scope-9b-it-res");
        assert!(tuned.entries().iter().all(|entry| entry.model == "gemma-2-9b-it"));
    }

    #[test]
    fn an_id_that_a_release_does_not_have_is_named() {
        let message = find("gpt2-small-res-jb", "blocks.99").unwrap_err().to_string();
        assert!(message.contains("blocks.99") && message.contains("hook_resid_pre"), "{message}");
        assert!(find("owner/repository", "x").unwrap().is_none());
    }
}
