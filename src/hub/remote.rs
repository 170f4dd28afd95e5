//! Fetching a file into the cache, through `curl`.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Hub, Repo, is_plain, write_whole};
use crate::notebook::Progress;
use crate::{Error, Result};

const MOST_REDIRECTS: usize = 5;
const POLL: Duration = Duration::from_millis(50);

/// What the hub says about a file before it sends it.
struct Announced {
    /// Where the hub has the file, after redirects within the hub.
    address: String,
    commit: String,
    /// Of a large file, its SHA-256; of a small one, its git hash.
    etag: String,
    size: Option<u64>,
}

/// Fetches file `name` into the cache and returns its path there.
pub(super) fn fetch(hub: &Hub, repo: &Repo, name: &str) -> Result<PathBuf> {
    let announced = ask(hub, repo, name)?;
    let folder = hub.folder(repo);
    let blob = folder.join("blobs").join(&announced.etag);
    let path = folder.join("snapshots").join(&announced.commit).join(name);
    let reference = folder.join("refs").join(&repo.revision);
    for file in [&blob, &path, &reference] {
        let parent = file.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    }
    if !blob.is_file() {
        let part = folder.join(format!("blobs/{}.{}.part", announced.etag, std::process::id()));
        let arrived = download(hub, name, &announced, &part)
            .and_then(|()| check(&part, &announced))
            .and_then(|()| fs::rename(&part, &blob).map_err(Error::io("write", &blob)));
        if arrived.is_err() {
            let _ = fs::remove_file(&part);
        }
        arrived?;
    }
    link(&blob, &path, name)?;
    write_whole(&reference, &announced.commit)?;
    Ok(path)
}

/// The header lines of the file's address, following redirects that stay within the hub.
fn ask(hub: &Hub, repo: &Repo, name: &str) -> Result<Announced> {
    let kind = if repo.is_dataset { "datasets/" } else { "" };
    let revision = percent_encoded(&repo.revision, false);
    let file = percent_encoded(name, true);
    let mut address = format!("{}/{kind}{}/resolve/{revision}/{file}", hub.endpoint, repo.name);
    for _ in 0..=MOST_REDIRECTS {
        let head = run(hub, &["--head", "--max-time", "60"], &address)?;
        let (status, value) = parse_head(&head);
        match status {
            // A renamed repository: the new address is relative to the hub.
            301 | 302 | 307 | 308 if value("location").is_some_and(|to| to.starts_with('/')) => {
                address = format!("{}{}", hub.endpoint, value("location").unwrap_or_default());
                continue;
            }
            // Anything else that redirects is the store of large files.
            200 | 301 | 302 | 303 | 307 | 308 => {}
            401 | 403 => {
                return Err(Error::NotFound {
                    what: format!("{name} of {repo}"),
                    hint: "The repository does not exist, is private, or asks you to accept its \
                           terms on the hub first. Set HF_TOKEN to a token that may read it."
                        .into(),
                });
            }
            404 => {
                return Err(Error::NotFound {
                    what: format!("{name} of {repo}"),
                    hint: format!("{} has no such repository, revision or file.", hub.endpoint),
                });
            }
            status => {
                let found = format!("status {status}");
                return Err(Error::format(Path::new(&address), "an answer of the hub", found));
            }
        }
        let etag = value("x-linked-etag").or_else(|| value("etag")).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        let commit = value("x-repo-commit").unwrap_or_default();
        if !is_plain(&etag) || !is_plain(&commit) {
            let expected = "a hub's answer, with x-repo-commit and etag";
            let found = "neither; is HF_ENDPOINT right?";
            return Err(Error::format(Path::new(&address), expected, found));
        }
        let size = match status {
            200 => value("x-linked-size").or_else(|| value("content-length")),
            _ => value("x-linked-size"),
        };
        let size = size.and_then(|size| size.parse().ok());
        return Ok(Announced { address, commit, etag, size });
    }
    let found = format!("more than {MOST_REDIRECTS} redirects");
    Err(Error::format(Path::new(&address), "an answer of the hub", found))
}

/// Status and header values of an answer; names in lower case.
fn parse_head(head: &str) -> (u16, impl Fn(&str) -> Option<String> + '_) {
    // A proxy may have answered before the hub did: the last head counts.
    let start = head.rfind("HTTP/").unwrap_or(0);
    let mut lines = head[start..].lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let value = move |name: &str| {
        let mut pairs = head[start..].lines().filter_map(|line| line.split_once(':'));
        let pair = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        pair.map(|(_, value)| value.trim().to_owned())
    };
    (status, value)
}

fn download(hub: &Hub, name: &str, announced: &Announced, part: &Path) -> Result<()> {
    let output = part.to_string_lossy();
    let options = ["--location", "--fail", "--retry", "2", "--output", &output];
    let mut child = start(hub, &options, &announced.address)?;
    let kilobytes = |bytes: u64| bytes.div_ceil(1024);
    let total = kilobytes(announced.size.unwrap_or(0));
    let mut bar = Progress::new(format!("fetching {name}"), total, "kilobyte");
    let mut done = 0;
    loop {
        let ended = child.try_wait().map_err(|error| unreachable_hub(&announced.address, error))?;
        let now = kilobytes(fs::metadata(part).map_or(0, |file| file.len()));
        let stopped = bar.advance(now.saturating_sub(done));
        done = done.max(now);
        if ended.is_some() {
            finish(child, &announced.address)?;
            return Ok(());
        }
        if stopped {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::Interrupted { what: format!("fetching {name}") });
        }
        std::thread::sleep(POLL);
    }
}

/// Whether the file has the size and, where the hub tells it, the SHA-256 announced.
fn check(part: &Path, announced: &Announced) -> Result<()> {
    let address = Path::new(&announced.address);
    let found = fs::metadata(part).map_err(Error::io("read", part))?.len();
    if let Some(expected) = announced.size.filter(|expected| *expected != found) {
        let found = format!("{found}; try again");
        return Err(Error::format(address, format!("{expected} bytes"), found));
    }
    if announced.etag.len() == 64 {
        let mut file = fs::File::open(part).map_err(Error::io("read", part))?;
        let mut hash = Sha256::new();
        std::io::copy(&mut file, &mut hash).map_err(Error::io("read", part))?;
        let found = format!("{:x}", hash.finalize());
        if found != announced.etag {
            let found = format!("{found}; try again");
            return Err(Error::format(address, format!("SHA-256 {}", announced.etag), found));
        }
    }
    Ok(())
}

/// Makes `path` in the snapshot stand for the blob.
fn link(blob: &Path, path: &Path, name: &str) -> Result<()> {
    if path.is_file() {
        return Ok(());
    }
    #[cfg(unix)]
    {
        // Relative, so that the cache can be moved.
        let up = "../".repeat(2 + name.split('/').count() - 1);
        let target = Path::new(&up).join("blobs").join(blob.file_name().unwrap_or_default());
        let _ = fs::remove_file(path);
        std::os::unix::fs::symlink(target, path).map_err(Error::io("create", path))
    }
    #[cfg(not(unix))]
    {
        let _ = name;
        fs::copy(blob, path).map(drop).map_err(Error::io("write", path))
    }
}

fn run(hub: &Hub, options: &[&str], address: &str) -> Result<String> {
    finish(start(hub, options, address)?, address)
}

fn start(hub: &Hub, options: &[&str], address: &str) -> Result<Child> {
    let mut command = Command::new("curl");
    // Its own settings file could change the output. Everything secret goes through stdin: other
    // users can see a program's arguments.
    command.args(["--disable", "--silent", "--show-error", "--suppress-connect-headers"]);
    command.args(["--connect-timeout", "20", "--config", "-"]).args(options).arg(address);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Stop is for this process; the download is ended from here.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound {
            what: "the program curl".into(),
            hint: "Downloads from the hub need it: install curl, or put the files into a folder \
                   by hand and load them from there."
                .into(),
        },
        _ => unreachable_hub(address, error),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        let secret = hub.token.as_deref().filter(|token| token.chars().all(is_token));
        let config = secret.map(|token| format!("header = \"Authorization: Bearer {token}\"\n"));
        // A child that is gone already tells why when it is waited for.
        let _ = stdin.write_all(config.unwrap_or_default().as_bytes());
    }
    Ok(child)
}

fn is_token(c: char) -> bool {
    c.is_ascii_graphic() && c != '"' && c != '\\'
}

/// Waits for curl and returns what it printed.
fn finish(child: Child, address: &str) -> Result<String> {
    let output = child.wait_with_output().map_err(|error| unreachable_hub(address, error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut words = String::new();
    let _ = output.stderr.as_slice().read_to_string(&mut words);
    Err(unreachable_hub(address, std::io::Error::other(words.trim().to_owned())))
}

fn unreachable_hub(address: &str, source: std::io::Error) -> Error {
    Error::Io { action: "fetch", path: address.into(), source }
}

fn percent_encoded(text: &str, keep_slashes: bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            b'/' if keep_slashes => encoded.push('/'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
