//! Against a tiny hub on this machine.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SMALL: &[u8] = b"{\"n\": 1}";
/// Files from this size on are kept in a store of their own, as the hub keeps them.
const LARGE: usize = 50_000;

/// A hub that serves files of repositories and records each request as
/// `path range authorization`.
pub(crate) struct Server {
    pub(crate) hub: Hub,
    cache: TempDir,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    base: String,
    /// By address: `/owner/name/resolve/main/config.json`.
    files: Mutex<HashMap<String, Vec<u8>>>,
    requests: Mutex<Vec<String>>,
    /// How many of the next large answers break off halfway.
    drops: AtomicUsize,
    /// Whether large files arrive with a changed byte.
    corrupt: AtomicBool,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State { base: base.clone(), ..State::default() });
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                shared.answer(stream);
            }
        });
        let cache = tempfile::tempdir().unwrap();
        let hub = Hub {
            endpoint: base,
            cache: cache.path().to_owned(),
            token: Some("hf_secret".into()),
            offline: false,
        };
        let server = Self { hub, cache, state };
        server.put("/owner/name/resolve/main/config.json", SMALL.to_vec());
        server.put("/owner/name/resolve/v1/sub/config.json", SMALL.to_vec());
        server.put("/datasets/owner/name/resolve/main/big-file.bin", large());
        server
    }

    fn put(&self, address: &str, content: Vec<u8>) {
        self.state.files.lock().unwrap().insert(address.to_owned(), content);
    }

    /// Serves every file in `folder` as the repository `name`.
    pub(crate) fn serve(&self, name: &str, folder: &Path) {
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let file = path.strip_prefix(folder).unwrap().to_str().unwrap();
                    self.put(&format!("/{name}/resolve/main/{file}"), fs::read(&path).unwrap());
                }
            }
        }
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.requests.lock().unwrap())
    }

    fn error(&self, repo: &str, name: &str) -> String {
        self.hub.file(repo, name).unwrap_err().to_string()
    }

    fn blobs(&self, repo: &str) -> Vec<PathBuf> {
        let folder = self.cache.path().join(repo).join("blobs");
        let all = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        all.filter(|path| path.extension().is_none_or(|end| end != "lock")).collect()
    }
}

fn large() -> Vec<u8> {
    (0..100_000u64).map(|i| (i * i % 251) as u8).collect()
}

impl State {
    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(&stream).lines().map_while(|line| line.ok());
        let first = lines.next().unwrap_or_default();
        let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let header = |name: &str| {
            let pairs = headers.iter().filter_map(|line| line.split_once(": "));
            let mut own = pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name));
            own.next().map(|(_, value)| value.to_owned())
        };
        let path = first.split(' ').nth(1).unwrap_or("");
        let range = header("range").unwrap_or_default();
        let secret = header("authorization").unwrap_or("-".into());
        self.requests.lock().unwrap().push(format!("{path} {range} {secret}"));
        let _ = match path {
            "/old/name/resolve/main/config.json" => {
                let to = "Location: /owner/name/resolve/main/config.json\r\n";
                send(&mut stream, "307 Temporary Redirect", to, b"")
            }
            "/owner/gated/resolve/main/config.json" => {
                send(&mut stream, "401 Unauthorized", "", b"")
            }
            "/not/hub/resolve/main/config.json" => send(&mut stream, "200 OK", "", b"hello"),
            "/owner/broken/resolve/main/config.json" => send(&mut stream, "500 Oops", "", b""),
            _ => self.file(&mut stream, path, &range),
        };
    }

    fn file(&self, stream: &mut TcpStream, path: &str, range: &str) -> std::io::Result<()> {
        let files = self.files.lock().unwrap();
        let stored = path.strip_prefix("/store");
        let Some(content) = files.get(stored.unwrap_or(path)) else {
            return send(stream, "404 Not Found", "", b"");
        };
        let hash = format!("{:x}", Sha256::digest(content));
        let about = format!("X-Repo-Commit: {COMMIT}\r\n");
        if stored.is_none() && content.len() >= LARGE {
            let to = &self.base;
            let about =
                format!("{about}X-Linked-Etag: \"{hash}\"\r\nLocation: {to}/store{path}\r\n");
            return send(stream, "302 Found", &about, b"");
        }
        let (start, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let start: usize = start.parse().unwrap();
        let end = end.parse().map_or(content.len(), |last: usize| last + 1);
        let size = content.len();
        let range = format!("Content-Range: bytes {start}-{}/{size}\r\n", end - 1);
        let about = format!("{about}ETag: \"{}\"\r\n{range}", &hash[..40]);
        let mut body = content[start..end].to_vec();
        if stored.is_some() && end == size {
            if self.corrupt.load(Ordering::SeqCst) {
                body[0] ^= 1;
            }
            let drops = |left: usize| left.checked_sub(1);
            if self.drops.fetch_update(Ordering::SeqCst, Ordering::SeqCst, drops).is_ok() {
                let length = body.len();
                let head = format!("HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\n");
                stream.write_all(format!("{head}{about}\r\n").as_bytes())?;
                return stream.write_all(&body[..length / 2]);
            }
        }
        send(stream, "206 Partial Content", &about, &body)
    }
}

fn send(stream: &mut TcpStream, status: &str, about: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n");
    stream.write_all(format!("{head}{about}\r\n").as_bytes())?;
    stream.write_all(body)
}

#[test]
fn a_small_file_is_fetched_once_into_the_shared_layout() {
    let server = Server::start();
    let path = server.hub.file("owner/name", "config.json").unwrap();
    let folder = server.cache.path().join("models--owner--name");
    assert_eq!(path, folder.join("snapshots").join(COMMIT).join("config.json"));
    assert_eq!(fs::read(&path).unwrap(), SMALL);
    assert_eq!(fs::read(&server.blobs("models--owner--name")[0]).unwrap(), SMALL);
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let asked = server.requests();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked.iter().all(|request| request.ends_with("Bearer hf_secret")), "{asked:?}");

    assert_eq!(server.hub.file("owner/name", "config.json").unwrap(), path);
    assert_eq!(server.hub.file(&format!("owner/name@{COMMIT}"), "config.json").unwrap(), path);
    assert_eq!(server.hub.clone().offline().file("owner/name", "config.json").unwrap(), path);
    assert!(server.requests().is_empty());
}

#[test]
fn a_file_in_a_folder_of_a_revision_reads_through_its_link() {
    let server = Server::start();
    let path = server.hub.file("owner/name@v1", "sub/config.json").unwrap();
    assert_eq!(fs::read(path).unwrap(), SMALL);
}

const DATA: &str = "datasets/owner/name";
const DATA_FOLDER: &str = "datasets--owner--name";

#[test]
fn a_large_file_follows_the_redirect_and_is_checked() {
    let server = Server::start();
    let path = server.hub.files(DATA, &["big-file.bin"]).unwrap().remove(0);
    assert!(path.starts_with(server.cache.path().join(DATA_FOLDER)));
    assert_eq!(fs::read(path).unwrap(), large());
}

#[test]
fn a_connection_that_drops_goes_on_where_it_was() {
    let server = Server::start();
    server.state.drops.store(1, Ordering::SeqCst);
    let path = server.hub.file(DATA, "big-file.bin").unwrap();
    assert_eq!(fs::read(path).unwrap(), large());
    assert!(server.requests().iter().any(|request| request.contains("bytes=50000-")));
}

#[test]
fn a_download_that_failed_is_resumed_by_the_next() {
    let server = Server::start();
    server.state.drops.store(100, Ordering::SeqCst);
    let error = server.error(DATA, "big-file.bin");
    assert!(error.starts_with("could not fetch http://127.0.0.1:"), "{error}");
    let part = server.blobs(DATA_FOLDER).remove(0);
    let left = fs::metadata(&part).unwrap().len();
    assert!(part.extension().is_some_and(|end| end == "part") && left > 50_000);
    server.state.drops.store(0, Ordering::SeqCst);
    server.requests();
    let path = server.hub.file(DATA, "big-file.bin").unwrap();
    assert_eq!(fs::read(path).unwrap(), large());
    let range = format!("bytes={left}-");
    assert!(server.requests().iter().any(|request| request.contains(&range)));
    assert_eq!(server.blobs(DATA_FOLDER).len(), 1);
}

#[test]
fn what_arrives_damaged_is_refused_and_not_kept() {
    let server = Server::start();
    server.state.corrupt.store(true, Ordering::SeqCst);
    let error = server.error(DATA, "big-file.bin");
    assert!(error.contains("expected SHA-256") && error.contains("try again"), "{error}");
    assert!(server.blobs(DATA_FOLDER).is_empty());
    server.state.corrupt.store(false, Ordering::SeqCst);
    assert_eq!(fs::read(server.hub.file(DATA, "big-file.bin").unwrap()).unwrap(), large());
}

#[test]
fn a_rest_longer_than_the_file_starts_it_anew() {
    let server = Server::start();
    let hash = format!("{:x}", Sha256::digest(large()));
    let blobs = server.cache.path().join(DATA_FOLDER).join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{hash}.part")), vec![0; 200_000]).unwrap();
    assert_eq!(fs::read(server.hub.file(DATA, "big-file.bin").unwrap()).unwrap(), large());
}

#[test]
fn a_renamed_repository_is_followed() {
    let server = Server::start();
    assert_eq!(fs::read(server.hub.file("old/name", "config.json").unwrap()).unwrap(), SMALL);
}

#[test]
fn what_is_missing_or_closed_says_what_to_do() {
    let server = Server::start();
    let error = server.error("owner/name", "nothing.json");
    assert!(error.contains("nothing.json of owner/name@main was not found"), "{error}");
    assert!(server.error("owner/gated", "config.json").contains("Set HF_TOKEN"));
    assert!(server.error("not/hub", "config.json").contains("is HF_ENDPOINT right?"));
    assert!(server.error("owner/broken", "config.json").contains("status 500"));

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hub = server.hub.clone().with_endpoint(format!("http://{closed}/"));
    let error = hub.file("owner/name", "config.json").unwrap_err().to_string();
    assert!(error.starts_with("could not fetch http://127.0.0.1:"), "{error}");

    let error = server.hub.clone().offline().file("owner/name", "x").unwrap_err().to_string();
    assert!(error.contains("not in the cache") && error.contains("HF_HUB_OFFLINE"), "{error}");
}

#[test]
fn a_repository_says_where_it_is() {
    let server = Server::start();
    let repository = Repository::on(server.hub.clone(), "owner/name");
    let source = || repository.read("config.json").unwrap().source;
    assert_eq!(source(), Source::Hub("owner/name".into()));
    assert_eq!(source(), Source::Cache("owner/name".into()));
    assert_eq!(repository.sibling("-scope").name(), "owner/name-scope");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), SMALL).unwrap();
    let repository = Repository::find(folder.path().to_str().unwrap()).unwrap();
    let content = repository.read("config.json").unwrap();
    assert_eq!(&*content.bytes, SMALL);
    assert_eq!(content.source, Source::Folder(folder.path().to_owned()));
    assert!(repository.read("x").unwrap_err().to_string().contains("could not read"));
}

#[test]
fn names_that_leave_the_cache_are_refused_before_anything_is_asked() {
    let server = Server::start();
    for repo in ["", "a/b/c", "../b", "a b/c", "owner/name@../x", "owner/name@"] {
        assert!(server.error(repo, "config.json").contains("the hub repository"), "{repo}");
    }
    for name in ["", "../x", "a//b", "/etc/passwd"] {
        assert!(server.error("owner/name", name).contains("the file's name"), "{name}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn the_token_is_not_shown() {
    let server = Server::start();
    assert!(!format!("{:?}", server.hub).contains("hf_secret"));
}

#[test]
fn the_variables_of_the_hub_are_honoured() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("token"), "hf_file\n").unwrap();
    let with = |pairs: &[(&str, &str)]| {
        let home = ("HF_HOME", home.path().to_str().unwrap());
        let all: Vec<_> = pairs.iter().copied().chain([home]).collect();
        let find = |name: &str| all.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).into());
        Hub::from_variables(find).unwrap()
    };
    let plain = with(&[]);
    assert_eq!(plain.cache, home.path().join("hub"));
    assert_eq!(plain.token.as_deref(), Some("hf_file"));
    assert!(!plain.offline && plain.endpoint.starts_with("https://"));

    let all = with(&[
        ("HF_HUB_CACHE", "/cache"),
        ("HF_ENDPOINT", "http://127.0.0.1:1/"),
        ("HF_TOKEN", "hf_variable"),
        ("HF_HUB_OFFLINE", "True"),
    ]);
    assert_eq!(all.cache, Path::new("/cache"));
    assert_eq!(all.endpoint, "http://127.0.0.1:1");
    assert_eq!(all.token.as_deref(), Some("hf_variable"));
    assert!(all.offline);
    assert!(!with(&[("HF_HUB_OFFLINE", "0")]).offline);
}
