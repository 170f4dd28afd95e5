//! Models that `eigenlens fetch` puts into the library's folder.

use std::path::{Path, PathBuf};

use super::names::KnownModel;
use crate::home::data_folder;
use crate::{Error, Result};

/// A model of one file.
struct Model {
    name: &'static str,
    /// What `eigenlens fetch` and the folder call it.
    folder: &'static str,
    file: &'static str,
}

static MODELS: [Model; 2] = [
    Model {
        name: "smollm2-135m-instruct",
        folder: "smollm2",
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    },
    Model { name: "gemma-3-270m", folder: "gemma3-270m", file: "gemma-3-270m-q4_k_m.gguf" },
];

/// The file of the model `name`, in upper or lower case; none for any other name, and where the
/// working directory has a folder or file of that name.
///
/// # Errors
/// One that was not fetched yet.
pub(crate) fn fetched(name: &str) -> Result<Option<PathBuf>> {
    match named(name, Path::new("")) {
        Some(model) => model.find(&data_folder(model.folder)?).map(Some),
        None => Ok(None),
    }
}

/// The model `name`, unless `here` has a folder or file of that name.
fn named(name: &str, here: &Path) -> Option<&'static Model> {
    let found = MODELS.iter().find(|model| model.name.eq_ignore_ascii_case(name));
    found.filter(|_| !here.join(name).exists())
}

/// The name under which [`fetched`] finds the model whose file is called so, or which is called so
/// itself, unless [`KnownModel`] has a repository of that name: its weights are others.
pub(crate) fn fetched_name(called: &str) -> Option<&'static str> {
    let is = |name: &str| name.eq_ignore_ascii_case(called);
    let is_named = |model: &Model| is(model.name) && KnownModel::find(model.name).is_none();
    MODELS.iter().find(|model| is(model.file) || is_named(model)).map(|model| model.name)
}

impl Model {
    fn find(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(self.file);
        if path.is_file() {
            return Ok(path);
        }
        let fetch = format!("`cargo run --bin eigenlens -- fetch {}`", self.folder);
        Err(Error::NotFound {
            what: format!("the model {} ({})", self.name, path.display()),
            hint: format!("Fetch it once with {fetch}."),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_or_its_command_is_said() {
        for (model, name) in MODELS.iter().zip(["smollm2", "gemma3-270m"]) {
            let folder = tempfile::tempdir().unwrap();
            let message = model.find(folder.path()).unwrap_err().to_string();
            let command = format!("cargo run --bin eigenlens -- fetch {name}");
            assert!(message.contains(&command) && message.contains(model.file), "{message}");
            std::fs::write(folder.path().join(model.file), "").unwrap();
            assert_eq!(model.find(folder.path()).unwrap(), folder.path().join(model.file));
            assert_eq!(fetched_name(model.file), Some(model.name));
        }
        assert_eq!(fetched_name("SmolLM2-135M"), None);
        assert_eq!(fetched_name("SmolLM2-135M-Instruct"), Some("smollm2-135m-instruct"));
        // A name of the hub's google/gemma-3-270m too.
        assert_eq!(fetched_name("gemma-3-270m"), None);
        // The hub's repositories are other files, with other numbers.
        for name in ["smollm2-135m", "owner/smollm2-135m-instruct", "google/gemma-3-270m"] {
            assert!(fetched(name).unwrap().is_none());
        }
    }

    #[test]
    fn a_folder_of_the_same_name_comes_first() {
        let here = tempfile::tempdir().unwrap();
        let is_fetched = |name: &str| named(name, here.path()).is_some();
        assert!(is_fetched("gemma-3-270m") && is_fetched("smollm2-135m-instruct"));
        std::fs::create_dir(here.path().join("gemma-3-270m")).unwrap();
        assert!(!is_fetched("gemma-3-270m") && is_fetched("smollm2-135m-instruct"));
    }
}
