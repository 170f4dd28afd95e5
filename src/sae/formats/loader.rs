//! Finding out what files hold, and loading it.

use std::path::Path;

use candle_core::Device;

use super::place::Place;
use super::{Draft, Family, Request};
use crate::hub::Repository;
use crate::sae::origin::Note;
use crate::sae::{Entry, Normalization, Sae, registry};
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

    /// Reads the files as those of `family`, whatever they look like.
    pub fn family(self, family: Family) -> Self {
        Self { family: Some(family), ..self }
    }

    /// How many features a code keeps, where no file says it.
    pub fn k(self, k: usize) -> Self {
        Self { k: Some(k), ..self }
    }

    /// What activations are multiplied by before encoding, and divided by after decoding, where no
    /// file says it.
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
        let path = path.as_ref();
        if path.exists() {
            return self.read(&Place::local(path), device);
        }
        let name = path.to_string_lossy();
        let parts: Vec<&str> = name.split('/').collect();
        match *parts {
            [owner, repository, ref rest @ ..]
                if !owner.is_empty() && owner != "." && owner != ".." =>
            {
                let repository = Repository::find(&format!("{owner}/{repository}"))?;
                self.read(&Place::within(repository, &rest.join("/")), device)
            }
            _ => Err(Error::NotFound {
                what: format!("the autoencoder {name}"),
                hint: "There is no such folder or file here. From the hub: owner/name/folder, or \
                       Sae::from_pretrained(release, id)."
                    .to_owned(),
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
            return loader.read_as(&Place::within(repository, &entry.path), Some(&entry), device);
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
        self.read(&Place::within(repository.clone(), id), device)
    }

    fn read(&self, place: &Place, device: &Device) -> Result<Sae> {
        let name = place.repository.name();
        let path = format!("{}{}", place.folder, place.file.as_deref().unwrap_or_default());
        let entry = registry::published(name, path.trim_end_matches('/'))?;
        self.read_as(place, entry.as_ref(), device)
    }

    /// Reads an autoencoder. What no file says is taken from its `entry` in the registry.
    fn read_as(&self, place: &Place, entry: Option<&Entry>, device: &Device) -> Result<Sae> {
        let (family, place) = match self.family {
            Some(family) => (family, place.clone()),
            None => detect(place)?,
        };
        let Self { unknown, .. } = *self;
        let scale = self.scale.or(entry.and_then(|entry| entry.scale));
        let k = self.k.or(entry.and_then(|entry| entry.k));
        let normalization = entry.and_then(Entry::normalization);
        let request = Request { device: device.clone(), k, scale, normalization, unknown };
        let draft = family.read(&place, &request)?;
        let draft = match entry {
            Some(entry) => listed(draft, entry),
            None => draft,
        };
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
    let said = [
        ("k", entry.k.map(|k| k.to_string())),
        ("input scale", entry.scale.map(|s| s.to_string())),
    ];
    for (what, value) in said {
        if let Some(value) = value {
            draft = draft.note_place(format!(
                "its {what}, {value}, is that of the list of published autoencoders ({}), because no \
                 file says it",
                entry.release
            ));
        }
    }
    let unplaced = draft.origin.point.is_none() && draft.origin.hook.is_none();
    if let (true, Some(point)) = (unplaced, point) {
        draft.origin.notes.retain(|note| !matches!(note, Note::NotInFiles(_)));
        draft = draft.note_place(format!(
            "its place, {point}, is that of the list of published autoencoders ({}), because no \
             file says it",
            entry.release
        ));
        draft = draft.at(entry.hook.clone(), Some(point));
    }
    draft
}

/// The family of the files at a place, and the place where its reader looks for them.
fn detect(place: &Place) -> Result<(Family, Place)> {
    match &place.file {
        Some(file) => detect_file(place, file),
        None => detect_folder(place).map(|family| (family, place.clone())),
    }
}

fn detect_file(place: &Place, file: &str) -> Result<(Family, Place)> {
    let folder = Place { file: None, ..place.clone() };
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
        return Ok((Family::LlamaScope, Place { folder: above, file: None, ..place.clone() }));
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

fn detect_folder(place: &Place) -> Result<Family> {
    // In most families two files say together what they are; one alone says what is missing.
    let has = |name: &str| place.has(name);
    if has("hyperparams.json")? {
        return Ok(Family::LlamaScope);
    }
    if has("params.npz")? {
        return Ok(Family::GemmaScope);
    }
    if has("params.safetensors")? {
        return Ok(Family::GemmaScope2);
    }
    if has("sae.safetensors")? {
        return Ok(Family::Sparsify);
    }
    if has("cfg.json")? {
        return Ok(Family::SaeLens);
    }
    if has("ae.pt")? {
        return Ok(Family::DictionaryLearning);
    }
    if has("sae_weights.safetensors")? {
        if !has("config.json")? {
            return Ok(Family::SaeLens);
        }
        let tensors = place.tensors("sae_weights.safetensors", &Device::Cpu)?;
        let old = tensors.shape("encoder.weight").is_some();
        return Ok(if old { Family::LlamaScopeR1 } else { Family::Llamascopium });
    }
    if has("config.json")? {
        let fields = place.fields("config.json")?;
        if fields.has("point") && fields.has("expansion") {
            return Ok(Family::Scope);
        }
        if fields.has("standardize") || fields.has("auxk") {
            return Ok(Family::Mlsae);
        }
        if fields.has("trainer") {
            return Ok(Family::DictionaryLearning);
        }
    }
    Err(unrecognised(place, &[]))
}

fn unrecognised(place: &Place, names: &[&str]) -> Error {
    let path = place.path();
    let names = match (place.file.is_some(), std::fs::read_dir(&path)) {
        (false, Ok(entries)) => {
            let entries = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
            entries.map(|name| name.to_string_lossy().into_owned()).take(8).collect()
        }
        _ => names.iter().take(8).map(|name| (*name).to_owned()).collect::<Vec<_>>(),
    };
    let found = match (names.is_empty(), place.fields("config.json")) {
        // Of the hub, the reason may be the network.
        (true, Err(reason)) => format!("none of their files ({reason})"),
        (true, Ok(_)) => "none of their files beside config.json".to_owned(),
        (false, _) => names.join(", "),
    };
    let expected = "an autoencoder of a family that is known here (SaeLoader::family names one)";
    Error::format(&path, expected, found)
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
