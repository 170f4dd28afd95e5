//! What the hub tells of its files.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::client::{Answer, Client, Refusal};
use super::names::{Repo, similar, some_of};
use super::{CacheFolder, Hub};
use crate::http::Headers;

/// How often something that passes, such as a connection that breaks, is tried again.
const RETRIES: u32 = 3;
/// A hub that wants a longer pause than this is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Files up to this many bytes, such as configurations, arrive with what the hub tells of them.
const SMALL_FILE: u64 = 1 << 16;
/// Bytes of a listing: some 100 for each of a million files.
const LISTING: usize = 100_000_000;

/// What the hub tells of a file.
#[derive(Debug)]
pub(super) struct About {
    pub(super) address: String,
    pub(super) commit: String,
    /// The content's name in the cache: its SHA-256 for large files.
    pub(super) key: String,
    pub(super) size: u64,
    /// The whole content, if it is small and was asked for.
    pub(super) content: Option<Vec<u8>>,
}

/// The names of a repository's files.
#[derive(Debug, Clone)]
pub(super) enum Listing {
    Files {
        commit: String,
        names: BTreeSet<String>,
    },
    /// The hub serves files only, as simple mirrors do.
    Unknown,
}

impl Hub {
    pub(super) fn client(&self) -> Client {
        Client::new(&self.endpoint, self.token.as_deref(), &self.patience)
    }

    /// Does `work` again while what fails is likely to pass.
    pub(super) fn retried<T>(
        &self,
        mut work: impl FnMut() -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut failures = 0;
        loop {
            match work() {
                Err(Refusal::Unreachable { again: Some(after), .. })
                    if failures < RETRIES && after.is_none_or(|pause| pause <= LONGEST_PAUSE) =>
                {
                    let usual = self.patience.pause * (1 << (2 * failures));
                    self.patience.sleep(after.unwrap_or(usual)).map_err(|_| Refusal::Stopped)?;
                    failures += 1;
                }
                done => return done,
            }
        }
    }

    /// What the hub tells of the file `name`, without its content.
    pub(super) fn about(&self, client: &Client, repo: &Repo, name: &str) -> Result<About, Refusal> {
        self.begin(client, repo, name, 1)
    }

    /// What the hub tells of the file `name`, with its content if that is small: one request instead
    /// of two.
    pub(super) fn about_to_fetch(
        &self,
        client: &Client,
        repo: &Repo,
        name: &str,
    ) -> Result<About, Refusal> {
        self.begin(client, repo, name, SMALL_FILE)
    }

    /// Asks for the first `len` bytes of the file `name`.
    fn begin(&self, client: &Client, repo: &Repo, name: &str, len: u64) -> Result<About, Refusal> {
        let address = repo.file_address(&self.endpoint, name);
        let range = format!("bytes=0-{}", len - 1);
        self.retried(|| {
            let mut answer = client.get(&address, Some(&range))?;
            // An empty file has no first byte.
            let is_empty = answer.status == 416
                && answer.headers.get("content-range").is_none_or(|range| range.ends_with("/0"));
            if !matches!(answer.status, 200 | 206) && !is_empty {
                if answer.headers.get("x-error-code") == Some("EntryNotFound")
                    && let Some(commit) = answer.headers.get("x-repo-commit").and_then(safe)
                {
                    CacheFolder::new(&self.cache, repo).remember_missing(&commit, name);
                }
                return Err(self.refusal(repo, name, &answer));
            }
            let mut about = About::read(&address, &answer)?;
            if !is_empty && about.size <= len {
                let content = answer.read(len as usize)?;
                about.content = Some(content).filter(|bytes| bytes.len() as u64 == about.size);
            }
            Ok(about)
        })
    }

    /// The names of all files.
    pub(super) fn listing(&self, repo: &Repo) -> Result<Listing, Refusal> {
        #[derive(Deserialize)]
        struct ListedFile {
            rfilename: String,
        }
        #[derive(Deserialize)]
        struct Reply {
            sha: String,
            siblings: Vec<ListedFile>,
        }
        let client = self.client();
        let address = repo.listing_address(&self.endpoint);
        self.retried(|| {
            let mut answer = client.get(&address, None)?;
            let is_code = answer.headers.get("x-error-code").is_some();
            match answer.status {
                200 => {}
                400 | 401 | 403 | 404 if is_code => {
                    return Err(self.refusal(repo, "", &answer));
                }
                429 | 500.. => return Err(self.refusal(repo, "", &answer)),
                _ => return Ok(Listing::Unknown),
            }
            let body = answer.read(LISTING)?;
            let Ok(Reply { sha, siblings }) = serde_json::from_slice(&body) else {
                return Ok(Listing::Unknown);
            };
            let names = siblings.into_iter().map(|file| file.rfilename).collect();
            Ok(safe(&sha).map_or(Listing::Unknown, |commit| Listing::Files { commit, names }))
        })
    }

    /// What an answer that gives nothing means.
    pub(super) fn refusal(&self, repo: &Repo, name: &str, answer: &Answer) -> Refusal {
        let page = repo.page(&self.endpoint);
        let missing = |hint: String| Refusal::Missing { hint };
        let token = match self.token {
            Some(_) => "the token in HF_TOKEN (or its file) may not read it, or is no longer valid",
            None => "set HF_TOKEN to a token that may read it",
        };
        let code = answer.headers.get("x-error-code").unwrap_or_default();
        match (answer.status, code) {
            (_, "GatedRepo") => missing(format!(
                "It asks you to accept its terms: do so at {page}. Set HF_TOKEN to a token of your \
                 account."
            )),
            (_, "RepoNotFound") => missing(format!(
                "{} has no repository {}, or it is private: {token}.",
                self.endpoint, repo.name
            )),
            (_, "RevisionNotFound") => {
                missing(format!("{page} has no branch, tag or commit `{}`.", repo.revision))
            }
            (_, "EntryNotFound") => {
                missing(format!("{page} has no file of this name; its page lists them."))
            }
            (401 | 403, _) => missing(format!(
                "The repository does not exist, is private, or asks you to accept its terms at \
                 {page} first. Set HF_TOKEN to a token that may read it{}.",
                if self.token.is_some() { ": the one that is set may not" } else { "" }
            )),
            (404, _) => missing(format!(
                "{} has no such repository, revision or file ({}).",
                self.endpoint, answer.address
            )),
            (status @ (408 | 429 | 500 | 502 | 503 | 504), _) => {
                let after = answer.headers.get("retry-after").and_then(|text| text.parse().ok());
                let after = after.map(Duration::from_secs);
                let wait =
                    after.map(|wait| format!(" It asks to wait {wait:?}.")).unwrap_or_default();
                let reason = match status {
                    429 => format!(
                        "it limits how often it is asked (status 429).{wait} Try again later, or \
                         set HF_TOKEN, which raises the limit"
                    ),
                    _ => format!("it is out of order (status {status}).{wait} Try again later"),
                };
                Refusal::Unreachable {
                    address: answer.address.clone(),
                    reason,
                    cause: None,
                    again: Some(after),
                }
            }
            (status, _) => {
                let name = if name.is_empty() { "the listing" } else { name };
                let found = format!("status {status} for {name}");
                Refusal::Odd { address: answer.address.clone(), found }
            }
        }
    }
}

impl Listing {
    /// Whether there is a file `name`, if the listing tells.
    pub(super) fn holds(&self, name: &str) -> Option<bool> {
        match self {
            Self::Files { names, .. } => Some(names.contains(name)),
            Self::Unknown => None,
        }
    }

    /// What a repository has in place of the file `name`.
    pub(super) fn instead_of(&self, name: &str) -> String {
        let Self::Files { names, .. } = self else { return String::new() };
        let close = similar(name, names.iter().map(String::as_str));
        if !close.is_empty() {
            return format!("Did you mean {}?", close.join(" or "));
        }
        let folder =
            name.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let beside: Vec<&str> =
            names.iter().filter_map(|own| own.strip_prefix(folder.as_str())).collect();
        match (beside.is_empty(), names.is_empty()) {
            (_, true) => "It is empty.".to_owned(),
            (true, _) => {
                let names: Vec<&String> = names.iter().collect();
                format!("It has no folder {folder}, but {}.", some_of(&names))
            }
            (false, _) => format!("In its place it has {}.", some_of(&beside)),
        }
    }
}

impl About {
    fn read(address: &str, answer: &Answer) -> Result<Self, Refusal> {
        let odd =
            |found: &str| Refusal::Odd { address: address.to_owned(), found: found.to_owned() };
        // A hub tells the commit and the content's name as it redirects to where large files are.
        let redirects = || answer.before.iter();
        let first = |name: &str| redirects().find_map(|headers| headers.get(name));
        let last = |name: &str| answer.headers.get(name);
        let commit = first("x-repo-commit").or_else(|| last("x-repo-commit"));
        let commit = commit.ok_or_else(|| match answer.is_page() {
            true => odd("a web page, such as a network's login page or a proxy's message"),
            false => odd("one without X-Repo-Commit"),
        })?;
        let commit = safe(commit).ok_or_else(|| odd("a commit that is none"))?;
        let etag =
            first("x-linked-etag").or_else(|| last("x-linked-etag")).or_else(|| last("etag"));
        let etag = etag.ok_or_else(|| odd("one without ETag"))?;
        let size = size(&answer.headers).ok_or_else(|| odd("one without the file's size"))?;
        Ok(Self { address: address.to_owned(), commit, key: key(etag), size, content: None })
    }
}

/// The size of the whole file, from the answer to a request for its first byte.
fn size(headers: &Headers) -> Option<u64> {
    match headers.get("content-range") {
        Some(range) => range.rsplit('/').next()?.trim().parse().ok(),
        // A server that does not know of ranges sends all of it.
        None => headers.get("content-length")?.parse().ok(),
    }
}

/// An ETag as a file's name: without its quotes if it can be one, else its SHA-256.
fn key(etag: &str) -> String {
    let plain = etag.trim().trim_start_matches("W/").trim_matches('"');
    safe(plain).unwrap_or_else(|| format!("etag-{:x}", Sha256::digest(plain)))
}

/// A text that can be the name of a file in the cache.
fn safe(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let fits = (1..=128).contains(&text.len()) && text.chars().all(allowed);
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_never_leaves_the_folder_of_contents() {
        assert_eq!(key("\"abc-1\""), "abc-1");
        assert_eq!(key("W/\"abc\""), "abc");
        for odd in ["\"../../x\"", "\"a/b\"", "\"\"", "\"a.lock\""] {
            assert!(key(odd).starts_with("etag-"), "{odd}");
        }
    }
}
