//! Files of a model or data set on the Hugging Face hub, through its local cache.
//!
//! A file that is in the cache is taken from there, without asking the network; any other is
//! fetched once. The cache has the layout of Python's `huggingface_hub` and can be shared with it:
//! `models--owner--name/{refs/<revision>, blobs/<etag>, snapshots/<commit>/<file>}`.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `HF_HUB_CACHE` | the cache; else `$HF_HOME/hub`, else `huggingface/hub` in the user's cache folder |
//! | `HF_ENDPOINT` | another hub, or a mirror |
//! | `HF_TOKEN` | opens private and gated repositories; else the file `$HF_TOKEN_PATH` or `$HF_HOME/token` |
//! | `HF_HUB_OFFLINE` | `1`: take what is in the cache, and never ask the network |
//!
//! Downloads go through the crate `hf-hub`: one that was cut off goes on where it was. Proxies are
//! taken from `HTTPS_PROXY`.
//!
//! A [`Repository`] is looked for in more places: part of this library, a folder, then the hub.
//!
//! ```
//! use eigenlens::hub::Hub;
//!
//! # fn main() -> eigenlens::Result<()> {
//! let cache = std::env::temp_dir().join("eigenlens-empty-cache");
//! let hub = Hub::from_env()?.with_cache(cache).offline();
//! let error = hub.file("owner/name", "config.json").unwrap_err();
//! assert!(error.to_string().contains("not in the cache"));
//! # Ok(()) }
//! ```

mod embedded;
mod fetched;
mod remote;
mod repository;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use fetched::fetched;
pub(crate) use repository::Content;
pub use repository::{Repository, Source};

use std::env;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use crate::{Error, Result};

/// Where hub files come from: an endpoint and a cache.
#[derive(Clone)]
pub struct Hub {
    endpoint: String,
    cache: PathBuf,
    token: Option<String>,
    offline: bool,
}

impl Hub {
    /// The hub that the environment variables of [this module](self) describe.
    ///
    /// Fails where no variable says where the user's cache folder is.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(set: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let home = match set("HF_HOME") {
            Some(folder) => PathBuf::from(folder),
            None => crate::data::user_cache()?.join("huggingface"),
        };
        let cache = set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE"));
        let token_file = set("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let token = set("HF_TOKEN").or_else(|| fs::read_to_string(token_file).ok());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let truths = ["1", "on", "yes", "true"];
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: cache.map_or_else(|| home.join("hub"), PathBuf::from),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            offline: set("HF_HUB_OFFLINE")
                .is_some_and(|value| truths.contains(&value.to_lowercase().as_str())),
        })
    }

    /// The same with another cache folder.
    pub fn with_cache(self, cache: impl Into<PathBuf>) -> Self {
        Self { cache: cache.into(), ..self }
    }

    /// The same with another endpoint: `https://host`.
    pub fn with_endpoint(self, endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into().trim_end_matches('/').to_owned(), ..self }
    }

    /// The same, never asking the network.
    pub fn offline(self) -> Self {
        Self { offline: true, ..self }
    }

    /// The path of file `name` of `repo`, fetched first if it is not in the cache.
    ///
    /// `repo` is `owner/name` of a model or `datasets/owner/name` of a data set; `@revision` after
    /// it chooses a branch, tag or commit other than `main`.
    ///
    /// Fails where the repository or the file does not exist or needs a token, where the network
    /// does, and where what arrives is not what was announced. Stop ends a download.
    pub fn file(&self, repo: &str, name: &str) -> Result<PathBuf> {
        Ok(self.find(repo, name)?.0)
    }

    /// The path of a file, and whether it was fetched.
    fn find(&self, repo: &str, name: &str) -> Result<(PathBuf, bool)> {
        let repo = Repo::parse(repo)?;
        if !name.split('/').all(is_plain) {
            return Err(Error::invalid("the file's name", "a path within the repository", name));
        }
        if let Some(path) = self.cached(&repo, name) {
            return Ok((path, false));
        }
        if self.offline {
            return Err(Error::NotFound {
                what: format!("{name} of {repo}"),
                hint: format!(
                    "It is not in the cache {}, and the network is switched off (HF_HUB_OFFLINE).",
                    self.cache.display()
                ),
            });
        }
        Ok((remote::fetch(self, &repo, name)?, true))
    }

    /// The paths of several files, in the order of `names`; see [`file`](Self::file).
    pub fn files(&self, repo: &str, names: &[&str]) -> Result<Vec<PathBuf>> {
        names.iter().map(|name| self.file(repo, name)).collect()
    }

    fn folder(&self, repo: &Repo) -> PathBuf {
        let kind = if repo.is_dataset { "datasets" } else { "models" };
        self.cache.join(format!("{kind}--{}", repo.name.replace('/', "--")))
    }

    fn cached(&self, repo: &Repo, name: &str) -> Option<PathBuf> {
        let folder = self.folder(repo);
        let commit = fs::read_to_string(folder.join("refs").join(&repo.revision));
        let commit = commit.map_or_else(|_| repo.revision.clone(), |text| text.trim().to_owned());
        let path = folder.join("snapshots").join(commit).join(name);
        path.is_file().then_some(path)
    }
}

impl fmt::Debug for Hub {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

/// A repository at a revision.
struct Repo {
    is_dataset: bool,
    /// `owner/name`, or `name` for the oldest repositories.
    name: String,
    revision: String,
}

impl Repo {
    fn parse(text: &str) -> Result<Self> {
        let (path, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (is_dataset, name) = match path.strip_prefix("datasets/") {
            Some(name) => (true, name),
            None => (false, path.strip_prefix("models/").unwrap_or(path)),
        };
        let parts: Vec<&str> = name.split('/').collect();
        let sound = parts.len() <= 2
            && parts.iter().all(|part| is_plain(part))
            && revision.split('/').all(is_plain);
        if !sound {
            let expected = "owner/name or datasets/owner/name, with @revision where needed";
            return Err(Error::invalid("the hub repository", expected, text));
        }
        Ok(Self { is_dataset, name: name.to_owned(), revision: revision.to_owned() })
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_dataset { "datasets/" } else { "" };
        write!(f, "{kind}{}@{}", self.name, self.revision)
    }
}

/// Whether a text is safe as one part of a path and of an address.
fn is_plain(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text != "." && text != ".." && text.chars().all(allowed)
}
