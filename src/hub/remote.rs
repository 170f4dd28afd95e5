//! Fetching a file into the cache, through `hf-hub`.

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, RepoType};
use sha2::{Digest, Sha256};

use super::{Hub, Repo};
use crate::notebook::Progress;
use crate::{Error, Result};

/// How often a download that breaks off goes on by itself.
const RETRIES: usize = 3;
const KILOBYTE: u64 = 1024;

/// Fetches file `name` into the cache and returns its path there.
pub(super) fn fetch(hub: &Hub, repo: &Repo, name: &str) -> Result<PathBuf> {
    let folder = hub.folder(repo);
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let kind = if repo.is_dataset { RepoType::Dataset } else { RepoType::Model };
    let handle = hf_hub::Repo::with_revision(repo.name.clone(), kind, repo.revision.clone());
    let api = ApiBuilder::from_cache(Cache::new(hub.cache.clone()))
        .with_endpoint(hub.endpoint.clone())
        .with_token(hub.token.clone())
        .with_retries(RETRIES)
        .build()
        .map_err(|error| unreachable_hub(&hub.endpoint, error.to_string()))?
        .repo(handle);
    let size = Rc::new(Cell::new(0));
    let mut arrived = download(&api, name, &size);
    if matches!(arrived, Some(Err(ApiError::InvalidResume))) {
        // What an earlier download left is longer than the file is now.
        for part in parts(&folder) {
            fs::remove_file(&part).map_err(Error::io("remove", &part))?;
        }
        arrived = download(&api, name, &size);
    }
    let path = match arrived {
        None => return Err(Error::Interrupted { what: format!("fetching {name}") }),
        Some(Err(error)) => return Err(refusal(hub, repo, name, &api.url(name), error)),
        Some(Ok(path)) => path,
    };
    let checked = check(&path, &api.url(name), size.get());
    if checked.is_err() {
        let blob = fs::canonicalize(&path);
        let _ = fs::remove_file(&path);
        let _ = blob.map(fs::remove_file);
    }
    checked?;
    Ok(path)
}

/// Unfinished downloads of a repository.
fn parts(folder: &Path) -> Vec<PathBuf> {
    let blobs = fs::read_dir(folder.join("blobs")).into_iter().flatten().flatten();
    let paths = blobs.map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "part")).collect()
}

/// What unwinds a download that Stop ends: `hf-hub` has no other way out of one.
struct Stopped;

/// None if Stop was pressed.
fn download(api: &ApiRepo, name: &str, size: &Rc<Cell<u64>>) -> Option<Result<PathBuf, ApiError>> {
    let bar = Bar { bar: None, size: size.clone(), done: 0 };
    let run = AssertUnwindSafe(|| api.download_with_progress(name, bar));
    match catch_unwind(run) {
        Ok(result) => Some(result),
        Err(payload) if payload.is::<Stopped>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

struct Bar {
    bar: Option<Progress>,
    size: Rc<Cell<u64>>,
    /// Bytes that the bar has not counted: it counts kilobytes.
    done: u64,
}

impl hf_hub::api::Progress for Bar {
    fn init(&mut self, size: usize, name: &str) {
        self.size.set(size as u64);
        self.done = 0;
        let total = (size as u64).div_ceil(KILOBYTE);
        self.bar = Some(Progress::new(format!("fetching {name}"), total, "kilobyte"));
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        let whole = self.done / KILOBYTE;
        self.done %= KILOBYTE;
        if self.bar.as_mut().is_some_and(|bar| bar.advance(whole)) {
            resume_unwind(Box::new(Stopped));
        }
    }

    fn finish(&mut self) {
        self.bar = None;
    }
}

/// Whether the file has the size and, where the hub tells it, the SHA-256 announced: large files
/// are kept under theirs.
fn check(path: &Path, address: &str, size: u64) -> Result<()> {
    let address = Path::new(address);
    let blob = fs::canonicalize(path).map_err(Error::io("read", path))?;
    let found = fs::metadata(&blob).map_err(Error::io("read", &blob))?.len();
    if found != size {
        let found = format!("{found}; try again");
        return Err(Error::format(address, format!("{size} bytes"), found));
    }
    let etag = blob.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if etag.len() == 64 {
        let mut file = fs::File::open(&blob).map_err(Error::io("read", &blob))?;
        let mut hash = Sha256::new();
        std::io::copy(&mut file, &mut hash).map_err(Error::io("read", &blob))?;
        let found = format!("{:x}", hash.finalize());
        if found != etag {
            let found = format!("{found}; try again");
            return Err(Error::format(address, format!("SHA-256 {etag}"), found));
        }
    }
    Ok(())
}

fn refusal(hub: &Hub, repo: &Repo, name: &str, address: &str, error: ApiError) -> Error {
    let not_found = |hint: String| Error::NotFound { what: format!("{name} of {repo}"), hint };
    let text = error.to_string();
    match error {
        ApiError::RequestError(request) => match *request {
            ureq::Error::StatusCode(401 | 403) => not_found(
                "The repository does not exist, is private, or asks you to accept its terms on the \
                 hub first. Set HF_TOKEN to a token that may read it."
                    .to_owned(),
            ),
            ureq::Error::StatusCode(404) => not_found(format!(
                "{} has no such repository, revision or file.",
                hub.endpoint
            )),
            ureq::Error::StatusCode(status) => {
                let found = format!("status {status}");
                Error::format(Path::new(address), "an answer of the hub", found)
            }
            _ => unreachable_hub(address, text),
        },
        ApiError::MissingHeader(_) | ApiError::InvalidHeader(_) | ApiError::ParseIntError(_) => {
            let found = format!("another ({text}); is HF_ENDPOINT right?");
            Error::format(Path::new(address), "a hub's answer", found)
        }
        _ => unreachable_hub(address, text),
    }
}

fn unreachable_hub(address: &str, reason: String) -> Error {
    let source = std::io::Error::other(reason);
    Error::Io { action: "fetch", path: address.into(), source }
}
