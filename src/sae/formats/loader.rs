//! Finding out what files hold, and loading it.

use std::path::Path;

use candle_core::Device;

use super::place::SaePlace;
use super::{Draft, Request, read};
use crate::home::expand_home;
use crate::hub::Repository;
use crate::sae::origin::Note;
use crate::sae::{Entry, Family, Normalization, Sae, registry};
use crate::store::UnknownFields;
use crate::{Error, Result};

/// How to load an autoencoder whose files do not say everything; [`Sae::load`] where they do.
///
/// ```no_run
/// use eigenlens::prelude::*;
/// use eigenlens::sae::{Family, SaeLoader};
/// # fn main() -> Result<()> {
/// let loader = SaeLoader::new().family(Family::QwenScope).k(50);
/// let sae = loader.load("layer7.sae.pt", &Device::Cpu)?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct SaeLoader {
    family: Option<Family>,
    k: Option<usize>,
    scale: Option<f64>,
    unknown: UnknownFields,
}

impl SaeLoader {
    /// Everything as the files say.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the files as those of `family`, whatever they look like. By default they are recognised
    /// by what is in them.
    #[must_use]
    pub fn family(self, family: Family) -> Self {
        Self { family: Some(family), ..self }
    }

    /// How many features a code keeps, where no file says it; by default as the list of known
    /// autoencoders says.
    #[must_use]
    pub fn k(self, k: usize) -> Self {
        Self { k: Some(k), ..self }
    }

    /// What activations are multiplied by before encoding, and divided by after decoding, where no
    /// file says it; by default as the list of known autoencoders says.
    #[must_use]
    pub fn scale(self, scale: f64) -> Self {
        Self { scale: Some(scale), ..self }
    }

    /// Ignores fields of the configuration whose meaning is not known here, which are an error
    /// otherwise. The [origin](Sae::origin) notes which they were, because any of them may change
    /// numbers. A known field with a value that cannot be applied is still refused.
    #[must_use]
    pub fn allow_unknown_fields(self) -> Self {
        Self { unknown: UnknownFields::Allow, ..self }
    }

    /// The autoencoder at `path`: a folder or file of this machine, one that is part of the library,
    /// or `owner/name/folder` of the hub.
    ///
    /// # Errors
    /// A place that is not there; files of no family that is known here, that are damaged, do not
    /// fit each other, or say something whose meaning is not known here.
    pub fn load(&self, path: impl AsRef<Path>, device: &Device) -> Result<Sae> {
        let path = &*expand_home(path.as_ref());
        if path.exists() {
            return self.read(&SaePlace::local(path), device);
        }
        let name = path.to_string_lossy();
        let parts: Vec<&str> = name.split('/').collect();
        match *parts {
            [owner, repository, ref rest @ ..]
                if !owner.is_empty() && owner != "." && owner != ".." =>
            {
                let repository = Repository::find(&format!("{owner}/{repository}"))?;
                let found = self.read(&SaePlace::within(repository, &rest.join("/")), device);
                found.map_err(|reason| match reason {
                    Error::NotFound { what, hint } => {
                        let here = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
                        let hint =
                            format!("{hint} Nor is there a folder or file {}.", here.display());
                        Error::NotFound { what, hint }
                    }
                    other => other,
                })
            }
            _ => Err(Error::NotFound {
                what: format!("the autoencoder {name}"),
                hint: format!(
                    "There is no such folder or file here ({}). From the hub: owner/name/folder, or \
                     Sae::from_pretrained(release, id).",
                    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display()
                ),
            }),
        }
    }

    /// The autoencoder `id` of a release of the [registry](crate::sae::Registry), or in the folder or
    /// file `id` of a repository: embedded (`eigenlens/classics-scope`), a folder, or of the hub.
    ///
    /// # Errors
    /// As [`SaeLoader::load`]; a release that does not have it.
    pub fn from_pretrained(&self, release: &str, id: &str, device: &Device) -> Result<Sae> {
        if let Some(entry) = registry::find(release, id)? {
            let loader = Self { family: self.family.or(Some(entry.family)), ..self.clone() };
            let repository = Repository::find(&entry.repository)?;
            return loader.read_as(
                &SaePlace::within(repository, &entry.path),
                Some(&entry),
                device,
            );
        }
        self.from_repository(&Repository::find(release)?, id, device)
    }

    /// The autoencoder in the folder or file `id` of a repository.
    ///
    /// # Errors
    /// As [`SaeLoader::load`].
    pub fn from_repository(
        &self,
        repository: &Repository,
        id: &str,
        device: &Device,
    ) -> Result<Sae> {
        self.read(&SaePlace::within(repository.clone(), id), device)
    }

    fn read(&self, place: &SaePlace, device: &Device) -> Result<Sae> {
        let name = place.repository.name();
        let path = format!("{}{}", place.folder, place.file.as_deref().unwrap_or_default());
        let entry = registry::published(name, path.trim_end_matches('/'))?;
        self.read_as(place, entry.as_ref(), device)
    }

    /// Reads an autoencoder. What no file says is taken from its `entry` in the registry.
    fn read_as(&self, place: &SaePlace, entry: Option<&Entry>, device: &Device) -> Result<Sae> {
        let (family, place) = match self.family {
            Some(family) => (family, place.clone()),
            None => detect(place)?,
        };
        let Self { unknown, .. } = *self;
        let k = self.k.or(entry.and_then(|entry| entry.k));
        let normalization = entry.and_then(Entry::normalization);
        let request =
            Request { device: device.clone(), k, scale: self.scale, normalization, unknown };
        let draft = read(family, &place, &request)?;
        let draft = match entry {
            Some(entry) => listed(draft, entry),
            None => draft,
        };
        // The list's scale is for files that say one is missing.
        let listed_scale = entry.and_then(|entry| Some((entry, entry.scale?)));
        let listed_scale = listed_scale
            .filter(|_| self.scale.is_none() && draft.origin.notes.iter().any(Note::about_scale));
        let draft = match listed_scale {
            Some((entry, scale)) => draft.note_place(from_list("input scale", scale, entry)),
            None => draft,
        };
        let scale = self.scale.or(listed_scale.map(|(_, scale)| scale));
        let sae = draft.finish(family, &place)?;
        match (k, sae.k()) {
            (Some(asked), found) if found != Some(asked) => {
                let found = found.map_or("no k".to_owned(), |k| k.to_string());
                let expected = format!("with k {asked}, as was asked for");
                return Err(Error::format(&place.path(), expected, found));
            }
            _ => {}
        }
        match scale {
            // Its reader took it.
            Some(scale) if sae.architecture().normalization == Normalization::Scale(scale) => {
                Ok(sae)
            }
            Some(scale) => sae.with_input_scale(scale),
            None => Ok(sae),
        }
    }
}

/// With the model and the place that the list of published autoencoders has, where no file says them.
fn listed(mut draft: Draft, entry: &Entry) -> Draft {
    let point = entry.hook.as_deref().and_then(|hook| hook.parse().ok());
    if draft.origin.model.is_none() {
        draft.origin.model = Some(entry.model.clone());
    }
    let unplaced = draft.origin.point.is_none() && draft.origin.hook.is_none();
    if let (true, Some(point)) = (unplaced, point) {
        draft.origin.notes.retain(|note| !matches!(note, Note::NotInFiles(_)));
        draft = draft.note_place(from_list("place", point, entry));
        draft = draft.at(entry.hook.clone(), Some(point));
    }
    let training = &mut draft.origin.training;
    if training.dataset.is_none() {
        training.dataset.clone_from(&entry.dataset);
    }
    let mut new = Vec::new();
    for (name, value) in &entry.model_options {
        let old = training.model_options.insert(name.clone(), value.clone());
        new.extend(old.filter(|old| old != value).map(|old| {
            Note::NotInFiles(format!(
                "its configuration says {name}={old}, and the list of published autoencoders \
                 ({}) says {value}, as SAELens takes it",
                entry.release
            ))
        }));
    }
    if !entry.model_options.is_empty() {
        new.extend(training.processing().into_iter().map(Note::Other));
    }
    new.retain(|note| !draft.origin.notes.contains(note));
    draft.origin.notes.extend(new);
    if let Some(k) = entry.k {
        draft = draft.note_place(from_list("k", k, entry));
    }
    draft
}

/// A note that the list of published autoencoders has what no file says.
fn from_list(what: &str, value: impl std::fmt::Display, entry: &Entry) -> String {
    format!(
        "its {what}, {value}, is that of the list of published autoencoders ({}), because no file \
         says it",
        entry.release
    )
}

/// The family of the files at a place, and the place where its reader looks for them.
fn detect(place: &SaePlace) -> Result<(Family, SaePlace)> {
    match &place.file {
        Some(file) => detect_file(place, file),
        None => detect_folder(place).map(|family| (family, place.clone())),
    }
}

fn detect_file(place: &SaePlace, file: &str) -> Result<(Family, SaePlace)> {
    let folder = SaePlace { file: None, ..place.clone() };
    if [
        "sae_weights.safetensors",
        "sae.safetensors",
        "ae.pt",
        "params.npz",
        "params.safetensors",
        "model.safetensors",
    ]
    .contains(&file)
    {
        return Ok((detect_folder(&folder)?, folder));
    }
    if file == "final.safetensors" && place.folder.ends_with("checkpoints/") {
        let above = place.folder.trim_end_matches("checkpoints/").to_owned();
        return Ok((Family::LlamaScope, SaePlace { folder: above, file: None, ..place.clone() }));
    }
    let family = if file.ends_with(".safetensors") {
        let tensors = place.tensors(file, &Device::Cpu)?;
        let has = |start: &str| tensors.names().any(|name| name.starts_with(start));
        match () {
            () if has("W_enc_") => Family::CrossLayerTranscoder,
            () if file.starts_with("layer_") && tensors.shape("W_enc").is_some() => {
                Family::HannaTranscoder
            }
            () => return Err(unrecognised(place, &tensors.names().collect::<Vec<_>>())),
        }
    } else if file.ends_with(".npz") {
        Family::GemmaScope
    } else {
        let loaded = place.torch(file)?;
        let pickle = loaded.pickle();
        let fields = pickle.fields(pickle.root());
        let has = |name: &str| fields.iter().any(|(own, _)| *own == name);
        match () {
            () if has("cfg") && has("state_dict") => Family::Mistral,
            () if has("pre_bias") => Family::OpenAi,
            () if has("encoder_linear.weight") => Family::Goodfire,
            () if has("encoder.weight") && has("decoder.bias") => Family::DeepSeekR1,
            () if has("W_enc") && file.ends_with(".sae.pt") => Family::QwenScope,
            () if has("W_enc") && place.has(&companion(file))? => Family::AttentionOut,
            () => {
                let names: Vec<_> = fields.into_iter().map(|(name, _)| name).collect();
                return Err(unrecognised(place, &names));
            }
        }
    };
    Ok((family, place.clone()))
}

/// The configuration that lies beside `{name}.pt`.
pub(super) fn companion(file: &str) -> String {
    format!("{}_cfg.json", file.strip_suffix(".pt").unwrap_or(file))
}

/// The cache is looked at first: what is complete there needs no network, and files of another
/// family that the hub may have beside it change nothing.
fn detect_folder(place: &SaePlace) -> Result<Family> {
    if let Some((family, files)) = family_of(place, |name| Ok(place.has_here(name)))?
        && files.iter().all(|name| place.has_here(name))
    {
        return Ok(family);
    }
    let found = family_of(place, |name| place.has_surely(name))?;
    found.map(|(family, _)| family).ok_or_else(|| unrecognised(place, &[]))
}

/// The family of a folder of which `has` says what is in it, and the files that make it complete.
fn family_of(
    place: &SaePlace,
    has: impl Fn(&str) -> Result<bool>,
) -> Result<Option<(Family, &'static [&'static str])>> {
    // In most families two files say together what they are; one alone says what is missing.
    let found = |family, files: &'static [&'static str]| Ok(Some((family, files)));
    if has("hyperparams.json")? {
        return found(Family::LlamaScope, &["hyperparams.json", "checkpoints/final.safetensors"]);
    }
    if has("params.npz")? {
        return found(Family::GemmaScope, &["params.npz"]);
    }
    if has("params.safetensors")? {
        return found(Family::GemmaScope2, &["params.safetensors"]);
    }
    if has("sae.safetensors")? {
        return found(Family::Sparsify, &["cfg.json", "sae.safetensors"]);
    }
    if has("cfg.json")? {
        return found(Family::SaeLens, &["cfg.json", "sae_weights.safetensors"]);
    }
    if has("ae.pt")? {
        return found(Family::DictionaryLearning, &["config.json", "ae.pt"]);
    }
    if has("sae_weights.safetensors")? {
        if !has("config.json")? {
            return found(Family::SaeLens, &["cfg.json", "sae_weights.safetensors"]);
        }
        let tensors = place.tensors("sae_weights.safetensors", &Device::Cpu)?;
        let old = tensors.shape("encoder.weight").is_some();
        let family = if old { Family::LlamaScopeR1 } else { Family::Llamascopium };
        return found(family, &["config.json", "sae_weights.safetensors"]);
    }
    if has("config.json")? {
        let config = place.document("config.json")?;
        let has = |name: &str| config.get(name).is_some();
        if has("point") && has("expansion") {
            return found(Family::Scope, &["config.json", "model.safetensors"]);
        }
        if has("standardize") || has("auxk") {
            return found(Family::Mlsae, &["config.json", "model.safetensors"]);
        }
        if has("trainer") {
            return found(Family::DictionaryLearning, &["config.json", "ae.pt"]);
        }
    }
    Ok(None)
}

fn unrecognised(place: &SaePlace, names: &[&str]) -> Error {
    let path = place.path();
    let names = match (place.file.is_some(), std::fs::read_dir(&path)) {
        (false, Ok(entries)) => {
            let entries = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
            entries.map(|name| name.to_string_lossy().into_owned()).take(8).collect()
        }
        _ => names.iter().take(8).map(|name| (*name).to_owned()).collect::<Vec<_>>(),
    };
    let expected = "an autoencoder of a family that is known here (SaeLoader::family names one)";
    let error = |found: String| Error::format(&path, expected, found);
    match (names.is_empty(), place.document("config.json")) {
        // Of the hub, the reason may be the network.
        (true, Err(reason)) => error(format!("none of their files ({reason})")).caused_by(reason),
        (true, Ok(_)) => error("none of their files beside config.json".to_owned()),
        (false, _) => error(names.join(", ")),
    }
}

impl Sae {
    /// The autoencoder at `path`: a folder or file of this machine, one that is part of the library
    /// (`eigenlens/classics-scope/1-mlp-in-x8-k16`), or `owner/name/folder` of the hub. Its family
    /// is found out from the files, and stands in [`Sae::origin`].
    ///
    /// # Errors
    /// As [`SaeLoader::load`].
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        SaeLoader::new().load(path, device)
    }

    /// The autoencoder `id` of a release of the [registry](crate::sae::Registry)
    /// (`gpt2-small-res-jb`, `blocks.8.hook_resid_pre`), or in the folder `id` of a repository:
    /// embedded (`eigenlens/classics-scope`), a folder, or of the hub, such as
    /// `tdooms/fw-medium-scope`.
    ///
    /// # Errors
    /// As [`SaeLoader::from_pretrained`].
    pub fn from_pretrained(release: &str, id: &str, device: &Device) -> Result<Self> {
        SaeLoader::new().from_pretrained(release, id, device)
    }

    /// [`Sae::from_pretrained`], from a repository.
    ///
    /// # Errors
    /// As [`Sae::from_pretrained`].
    pub fn from_repository(repository: &Repository, id: &str, device: &Device) -> Result<Self> {
        SaeLoader::new().from_repository(repository, id, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::tests::{put_into_cache, unreachable_hub};

    /// A safetensors file with one tensor of no bytes.
    fn tensors(name: &str) -> Vec<u8> {
        let header =
            format!(r#"{{"{name}": {{"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}}}"#);
        [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
    }

    #[test]
    fn a_familys_files_in_the_cache_are_recognised_without_a_network() {
        let (new, old) = (tensors("W_E"), tensors("encoder.weight"));
        let scope = br#"{"point": ["mlp_in", 1], "expansion": 2}"#;
        type Files<'a> = &'a [(&'a str, &'a [u8])];
        let cases: [(Files<'_>, Family); 11] = [
            (
                &[("hyperparams.json", b""), ("checkpoints/final.safetensors", b"")],
                Family::LlamaScope,
            ),
            (&[("params.npz", b"")], Family::GemmaScope),
            (&[("params.safetensors", b"")], Family::GemmaScope2),
            (&[("cfg.json", b""), ("sae.safetensors", b"")], Family::Sparsify),
            (&[("cfg.json", b""), ("sae_weights.safetensors", b"")], Family::SaeLens),
            (&[("config.json", b""), ("ae.pt", b"")], Family::DictionaryLearning),
            (&[("config.json", b"{}"), ("sae_weights.safetensors", &old)], Family::LlamaScopeR1),
            (&[("config.json", b"{}"), ("sae_weights.safetensors", &new)], Family::Llamascopium),
            (&[("config.json", scope), ("model.safetensors", b"")], Family::Scope),
            (&[("config.json", br#"{"auxk": 1}"#), ("model.safetensors", b"")], Family::Mlsae),
            (&[("config.json", br#"{"trainer": {}}"#), ("ae.pt", b"")], Family::DictionaryLearning),
        ];
        for (files, family) in cases {
            let cache = tempfile::tempdir().unwrap();
            let names: Vec<String> = files.iter().map(|(name, _)| format!("f/{name}")).collect();
            let in_folder: Vec<(&str, &[u8])> =
                names.iter().zip(files).map(|(name, (_, bytes))| (&**name, *bytes)).collect();
            put_into_cache(cache.path(), "models--o--s", &in_folder);
            let on = |name| {
                let repository = Repository::on(unreachable_hub(cache.path()), "o/s");
                detect(&SaePlace::within(repository, name))
            };
            assert_eq!(on("f").unwrap().0, family);
            // One file of two may be that of another family.
            if files.len() == 2 {
                let first = cache.path().join("models--o--s/snapshots/c1").join(&names[1]);
                std::fs::remove_file(first).unwrap();
                let known = on("f").map(|(family, _)| family);
                assert!(known.is_err() || known.unwrap() == family, "{family}");
            }
        }
    }

    #[test]
    fn places_that_are_not_there_are_told_apart() {
        let message = |path: &str| Sae::load(path, &Device::Cpu).unwrap_err().to_string();
        for path in ["/no/such/dir", "./nosuch/x", "nosuch", "~/no-such-folder/x"] {
            let message = message(path);
            assert!(message.contains("no such folder or file here (/"), "{message}");
            assert!(message.contains("owner/name/folder"), "{message}");
        }
        let message = message("eigenlens/clasics-scope/1-mlp-in-x8-k16");
        assert!(message.contains("Did you mean eigenlens/classics-scope?"), "{message}");
        let folder = tempfile::tempdir().unwrap();
        let message = Sae::load(folder.path(), &Device::Cpu).unwrap_err().to_string();
        assert!(message.contains("is empty"), "{message}");
    }
}
