//! Repositories, wherever they are.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::cache::names_in;
use super::client::Refusal;
use super::locate::{Found, locate, no_file};
use super::names::{Repo, check_file_name, some_of};
use super::remote::Listing;
use super::{Hub, embedded};
use crate::provenance::Source;
use crate::store::Blob;
use crate::{Error, Result};

/// A model or data set by name: one that is part of this library, a folder, or a repository of the
/// hub (`owner/name`, `datasets/owner/name` or `spaces/owner/name`), looked for in this order.
#[derive(Debug, Clone)]
pub struct Repository {
    name: String,
    place: RepositoryPlace,
}

#[derive(Debug, Clone)]
enum RepositoryPlace {
    Embedded,
    Folder(PathBuf),
    /// With the names of its files, once the hub was asked for them.
    Hub(Hub, Arc<Mutex<Option<Asked>>>),
}

/// What the hub answered when it was asked for its files, and when.
type Asked = (Instant, Result<Listing, Refusal>);

/// For how long a hub that could not be asked is not asked again.
const RESPITE: Duration = Duration::from_secs(60);

impl RepositoryPlace {
    fn hub(hub: Hub) -> Self {
        Self::Hub(hub, Arc::default())
    }
}

/// The content of a file, and where it was.
#[derive(Debug, Clone)]
pub(crate) struct Content<T = Bytes> {
    /// A name for messages.
    pub(crate) path: PathBuf,
    pub(crate) bytes: T,
    pub(crate) source: Source,
}

impl Repository {
    /// The repository `name`. The network is asked only when a file is read. A folder may begin with
    /// `~/`; `models/owner/name` is the hub's, even if there is a folder owner/name.
    ///
    /// # Errors
    /// - if `name` can only be a path, and there is no such folder,
    /// - if it is a file,
    /// - if it is `eigenlens/…` and not part of the library,
    /// - if there is no folder for the hub's cache.
    pub fn find(name: &str) -> Result<Self> {
        let place = match locate(name)? {
            Found::Embedded => RepositoryPlace::Embedded,
            Found::Folder(path) => RepositoryPlace::Folder(path),
            Found::Hub => RepositoryPlace::hub(Hub::from_env()?),
        };
        Ok(Self { name: name.to_owned(), place })
    }

    /// A folder.
    pub(crate) fn folder(path: &Path) -> Self {
        Self { name: path.display().to_string(), place: RepositoryPlace::Folder(path.to_owned()) }
    }

    /// The repository `name` of a hub of your choice.
    pub fn on(hub: Hub, name: &str) -> Self {
        Self { name: name.to_owned(), place: RepositoryPlace::hub(hub) }
    }

    /// The same repository without the network: of a hub, what is in the cache.
    pub(crate) fn without_network(&self) -> Self {
        let place = match &self.place {
            RepositoryPlace::Hub(hub, _) => RepositoryPlace::hub(hub.clone().offline()),
            other => other.clone(),
        };
        Self { name: self.name.clone(), place }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The repository beside this one whose name ends in `ending` too: of `owner/name` and
    /// `-scope`, `owner/name-scope`; on the hub without a revision, which is this one's alone.
    #[must_use]
    pub fn sibling(&self, ending: &str) -> Self {
        let own = self.name.trim_end_matches('/');
        let own = match self.is_on_hub() {
            true => own.split_once('@').map_or(own, |(plain, _)| plain),
            false => own,
        };
        let name = format!("{own}{ending}");
        let place = match &self.place {
            RepositoryPlace::Folder(path) => {
                // Without a slash at the end.
                let mut path = path.components().as_path().as_os_str().to_owned();
                path.push(ending);
                RepositoryPlace::Folder(path.into())
            }
            RepositoryPlace::Hub(hub, _) => RepositoryPlace::hub(hub.clone()),
            RepositoryPlace::Embedded => RepositoryPlace::Embedded,
        };
        Self { name, place }
    }

    /// Another repository in the same place: embedded, on the same hub; for a folder, as
    /// [`Repository::find`] finds it.
    pub(crate) fn neighbour(&self, name: &str) -> Result<Self> {
        match &self.place {
            RepositoryPlace::Hub(hub, _) => Ok(Self::on(hub.clone(), name)),
            _ => Self::find(name),
        }
    }

    /// The file `name`.
    ///
    /// # Errors
    /// As [`Hub::file`]; a file that cannot be read.
    pub(crate) fn read(&self, name: &str) -> Result<Content> {
        self.content(name, |path| Ok(fs::read(path).map_err(Error::io("read", path))?.into()))
    }

    /// The file `name`, to be read part by part: for large ones.
    ///
    /// # Errors
    /// As [`Repository::read`].
    pub(crate) fn open(&self, name: &str) -> Result<Content<Blob>> {
        self.content(name, Blob::open)
    }

    /// [`Repository::read`], or nothing if there is no such file; see [`Repository::has`].
    ///
    /// # Errors
    /// A file that is there and cannot be read; a hub that cannot be asked.
    pub(crate) fn read_if(&self, name: &str) -> Result<Option<Content>> {
        if !self.has(name)? {
            return Ok(None);
        }
        if_there(self.read(name))
    }

    /// Whether there is a file `name` that may be missing; it is not fetched. The hub is asked once for
    /// the names of all files (a hub that does not tell them, for this file's size), and not at all if
    /// the cache knows the answer.
    ///
    /// If something of the repository is in the cache, a hub that cannot be asked is as one without
    /// the file: what was fetched before is what there is.
    ///
    /// # Errors
    /// A hub that cannot be asked, of a repository of which nothing is in the cache; Stop.
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        match self.ask(name)? {
            Err(Refusal::Unreachable { .. } | Refusal::Odd { .. }) if self.is_cached() => Ok(false),
            answer => answer.map_err(|refusal| refusal.into_error(format!("{name} of {self}"))),
        }
    }

    /// [`Repository::has`] for what must not be guessed: a hub that cannot be asked is an error,
    /// whatever the cache has.
    ///
    /// # Errors
    /// A hub that cannot be asked; Stop.
    pub(crate) fn has_surely(&self, name: &str) -> Result<bool> {
        let known = self.ask(name)?;
        known.map_err(|refusal| {
            refusal.or_cached(&self.cached()).into_error(format!("{name} of {self}"))
        })
    }

    /// What the cache has of the hub's repository, in words.
    fn cached(&self) -> String {
        let RepositoryPlace::Hub(hub, _) = &self.place else { return String::new() };
        let repo = Repo::parse(&self.name);
        let names = repo.map(|repo| hub.folder(&repo).names("")).unwrap_or_default();
        if names.is_empty() {
            String::new()
        } else {
            format!("of {self} the cache has {}", some_of(&names))
        }
    }

    fn ask(&self, name: &str) -> Result<Result<bool, Refusal>> {
        let RepositoryPlace::Hub(hub, _) = &self.place else { return Ok(Ok(self.has_here(name))) };
        let repo = Repo::parse(&self.name)?;
        check_file_name(name)?;
        let cached = hub.folder(&repo);
        if cached.find(name).is_some() {
            return Ok(Ok(true));
        }
        if hub.offline || cached.is_missing(name) {
            return Ok(Ok(false));
        }
        let listing = self.listing(hub, &repo);
        let answer = listing.and_then(|listing| match (listing.holds(name), listing) {
            (Some(false), Listing::Files { commit, .. }) => {
                cached.remember_missing(&commit, name);
                Ok(false)
            }
            (Some(known), _) => Ok(known),
            (None, _) => hub.about(&hub.client(), &repo, name).map(|_| true),
        });
        Ok(match answer {
            Err(Refusal::Missing { .. }) => Ok(false),
            answer => answer,
        })
    }

    /// Whether anything of the hub's repository is in the cache.
    fn is_cached(&self) -> bool {
        let RepositoryPlace::Hub(hub, _) = &self.place else { return false };
        Repo::parse(&self.name).is_ok_and(|repo| hub.folder(&repo).is_known())
    }

    /// Whether it is neither part of the library nor a folder.
    pub(crate) fn is_on_hub(&self) -> bool {
        matches!(self.place, RepositoryPlace::Hub(..))
    }

    /// Whether there is a file `name` that can be read without asking the network.
    pub(crate) fn has_here(&self, name: &str) -> bool {
        match &self.place {
            RepositoryPlace::Embedded => embedded::file(self.plain(), name).is_some(),
            RepositoryPlace::Folder(folder) => folder.join(name).is_file(),
            RepositoryPlace::Hub(hub, _) => {
                let repo = Repo::parse(&self.name);
                check_file_name(name).is_ok()
                    && repo.is_ok_and(|repo| hub.folder(&repo).find(name).is_some())
            }
        }
    }

    /// The names of the files in a folder of it, sorted; of a hub that does not tell them, those that are
    /// in the cache. The hub is not asked if the cache knows that there are none.
    ///
    /// # Errors
    /// A hub that cannot be asked, of a repository of which nothing is in the cache; Stop.
    pub(crate) fn names_in(&self, folder: &str) -> Result<Vec<String>> {
        let below = |name: &str| {
            let name = name.strip_prefix(folder)?.strip_prefix('/')?;
            (!name.contains('/')).then(|| name.to_owned())
        };
        let (hub, repo) = match &self.place {
            RepositoryPlace::Embedded => {
                return Ok(embedded::files(self.plain()).into_iter().filter_map(below).collect());
            }
            RepositoryPlace::Folder(path) => return Ok(names_in(&path.join(folder))),
            RepositoryPlace::Hub(hub, _) => (hub, Repo::parse(&self.name)?),
        };
        let cached = hub.folder(&repo);
        // That a commit has no such folder is remembered as that it lacks a file there.
        let mark = format!("{folder}/.any");
        let asks = !hub.offline && !cached.is_missing(&mark);
        match asks.then(|| self.listing(hub, &repo)) {
            Some(Ok(Listing::Files { names, commit })) => {
                let found: Vec<String> = names.iter().filter_map(|name| below(name)).collect();
                if found.is_empty() {
                    cached.remember_missing(&commit, &mark);
                }
                Ok(found)
            }
            Some(Err(refusal)) if !cached.is_known() => {
                Err(refusal.into_error(format!("the files of {self}")))
            }
            _ => Ok(cached.names(folder)),
        }
    }

    /// The names of all files, asked for once.
    fn listing(&self, hub: &Hub, repo: &Repo) -> Result<Listing, Refusal> {
        if let Some(answer) = self.asked() {
            return answer;
        }
        let answer = hub.listing(repo);
        if let RepositoryPlace::Hub(_, asked) = &self.place
            && !matches!(answer, Err(Refusal::Stopped))
        {
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            *asked = Some((Instant::now(), answer.clone()));
        }
        answer
    }

    /// What the hub answered before.
    fn asked(&self) -> Option<Result<Listing, Refusal>> {
        let RepositoryPlace::Hub(_, asked) = &self.place else { return None };
        let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |(when, answer): &&Asked| answer.is_ok() || when.elapsed() < RESPITE;
        asked.as_ref().filter(fresh).map(|(_, answer)| answer.clone())
    }

    /// Fails if it is known that the hub's repository has no file `name`.
    fn check_there(&self, hub: &Hub, name: &str) -> Result<()> {
        let repo = Repo::parse(&self.name)?;
        let cached = hub.folder(&repo);
        check_file_name(name)?;
        if cached.find(name).is_some() {
            return Ok(());
        }
        let page = repo.page(&hub.endpoint);
        let hint = match self.asked() {
            Some(Ok(listing)) if listing.holds(name) == Some(false) => {
                format!("{page} has no such file. {}", listing.instead_of(name))
            }
            _ if cached.is_missing(name) => {
                format!("{page} had no such file when it was fetched; `Hub::file` asks it again.")
            }
            _ => return Ok(()),
        };
        Err(Error::NotFound { what: format!("{name} of {repo}"), hint })
    }

    fn plain(&self) -> &str {
        self.name.strip_prefix("datasets/").unwrap_or(&self.name)
    }

    fn content<T: From<Bytes>>(
        &self,
        name: &str,
        read: impl Fn(&Path) -> Result<T>,
    ) -> Result<Content<T>> {
        let (path, source) = match &self.place {
            RepositoryPlace::Embedded => {
                let plain = self.plain();
                let (bytes, what) = embedded::file(plain, name).ok_or_else(|| Error::NotFound {
                    what: format!("{name} of {}", self.name),
                    hint: format!(
                        "{plain} is part of eigenlens and has {}.",
                        some_of(&embedded::files(plain))
                    ),
                })?;
                let path = Path::new(&self.name).join(name);
                let source = Source::Embedded { what };
                return Ok(Content { path, bytes: Bytes::from_static(bytes).into(), source });
            }
            RepositoryPlace::Folder(folder) => {
                let path = folder.join(name);
                if !path.exists() {
                    let reason = no_file(folder, name, &self.name);
                    let source = std::io::Error::new(ErrorKind::NotFound, reason);
                    return Err(Error::Io { action: "read", path, source });
                }
                (path, Source::Folder(folder.clone()))
            }
            RepositoryPlace::Hub(hub, _) => {
                self.check_there(hub, name)?;
                let (path, fetched) = hub.find(&self.name, name)?;
                let source = if fetched { Source::Hub } else { Source::Cache };
                (path, source(self.name.clone()))
            }
        };
        let bytes = read(&path)?;
        Ok(Content { path, bytes, source })
    }
}

/// Nothing where a file is not there.
fn if_there<T>(found: Result<Content<T>>) -> Result<Option<Content<T>>> {
    match found {
        Ok(content) => Ok(Some(content)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(Error::Io { source, .. })
            if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&source.kind()) =>
        {
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
