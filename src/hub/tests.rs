//! Against a tiny hub on this machine.

mod downloads;
mod local;
mod offline;
mod spelling;
mod trouble;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SMALL: &[u8] = b"{\"n\": 1}";
const DATA: &str = "datasets/owner/name";
const DATA_FOLDER: &str = "datasets--owner--name";
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
    /// By address, not escaped: `/owner/name/resolve/main/config.json`.
    files: Mutex<HashMap<String, Vec<u8>>>,
    /// Whole answers, by address.
    answers: Mutex<HashMap<String, String>>,
    /// What begins with one of these is never answered.
    silent: Mutex<HashSet<String>>,
    requests: Mutex<Vec<String>>,
    /// How many of the next large answers break off halfway.
    drops: AtomicUsize,
    /// Whether large files stop arriving halfway.
    stalls: AtomicBool,
    /// Whether large files arrive with a changed byte.
    corrupt: AtomicBool,
    /// Whether the hub tells the names of its files.
    lists: AtomicBool,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state = State { base: base.clone(), lists: true.into(), ..State::default() };
        let state = Arc::new(state);
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || shared.answer(stream));
            }
        });
        let cache = tempfile::tempdir().unwrap();
        let hub = Hub {
            endpoint: base,
            cache: cache.path().to_owned(),
            token: Some("hf_secret".into()),
            offline: false,
            patience: Patience { pause: Duration::from_millis(1), ..Patience::default() },
        };
        let server = Self { hub, cache, state };
        server.put("/owner/name/resolve/main/config.json", SMALL.to_vec());
        server.put("/owner/name/resolve/v1/sub/config.json", SMALL.to_vec());
        server.put("/datasets/owner/name/resolve/main/big-file.bin", large());
        server.put_answer(
            "/old/name/resolve/main/config.json",
            "307 Temporary Redirect",
            "Location: /owner/name/resolve/main/config.json\r\n",
        );
        server.put_answer("/owner/gated/resolve/main/config.json", "401 Unauthorized", "");
        server.put_answer("/owner/broken/resolve/main/config.json", "500 Oops", "");
        server
    }

    fn put(&self, address: &str, content: Vec<u8>) {
        self.state.files.lock().unwrap().insert(address.to_owned(), content);
    }

    /// Answers requests for `address` with a status, lines of headers, and no body.
    fn put_answer(&self, address: &str, status: &str, headers: &str) {
        self.put_body(address, status, headers, "");
    }

    fn put_body(&self, address: &str, status: &str, headers: &str, body: &str) {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n");
        let answer = format!("{head}{headers}\r\n{body}");
        self.state.answers.lock().unwrap().insert(address.to_owned(), answer);
    }

    /// Accepts what is asked for below `address`, and never answers.
    fn silence(&self, address: &str) {
        self.state.silent.lock().unwrap().insert(address.to_owned());
    }

    /// The hub with limits that a test can wait for.
    fn impatient(&self) -> Hub {
        let short = Duration::from_millis(150);
        let usual = self.hub.patience.clone();
        let patience = Patience { connect: short, answer: short, stall: short, ..usual };
        Hub { patience, ..self.hub.clone() }
    }

    /// Serves every file in `folder` as the repository `name`, which may end in `@revision`.
    pub(crate) fn serve(&self, name: &str, folder: &Path) {
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let file = path.strip_prefix(folder).unwrap().to_str().unwrap();
                    let address = format!("/{name}/resolve/{revision}/{file}");
                    self.put(&address, fs::read(&path).unwrap());
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
        let path = &*percent_decode_str(path).decode_utf8().unwrap();
        if self.silent.lock().unwrap().iter().any(|start| path.starts_with(start)) {
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        let prepared = self.answers.lock().unwrap().get(path).cloned();
        let _ = match prepared {
            Some(answer) => stream.write_all(answer.as_bytes()),
            None if path.starts_with("/api/") => self.list(&mut stream, path),
            None => self.file(&mut stream, path, &range),
        };
    }

    /// The names of a repository's files.
    fn list(&self, stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
        let (name, revision) = path.trim_start_matches("/api/").split_once("/revision/").unwrap();
        let start = format!("/{}/resolve/{revision}/", name.trim_start_matches("models/"));
        let files = self.files.lock().unwrap();
        let names = files.keys().filter_map(|path| path.strip_prefix(&start));
        let names: Vec<_> = names.map(|name| serde_json::json!({ "rfilename": name })).collect();
        if names.is_empty() || !self.lists.load(Ordering::SeqCst) {
            return send(stream, "404 Not Found", "", b"");
        }
        let reply = serde_json::json!({ "sha": COMMIT, "siblings": names }).to_string();
        send(stream, "200 OK", "", reply.as_bytes())
    }

    fn file(&self, stream: &mut TcpStream, path: &str, range: &str) -> std::io::Result<()> {
        let files = self.files.lock().unwrap();
        let stored = path.strip_prefix("/store");
        let Some(content) = files.get(stored.unwrap_or(path)).cloned() else {
            return send(stream, "404 Not Found", "", b"");
        };
        drop(files);
        let hash = format!("{:x}", Sha256::digest(&content));
        let about = format!("X-Repo-Commit: {COMMIT}\r\n");
        if stored.is_none() && content.len() >= LARGE {
            let to = &self.base;
            let about =
                format!("{about}X-Linked-Etag: \"{hash}\"\r\nLocation: {to}/store{path}\r\n");
            return send(stream, "302 Found", &about, b"");
        }
        let size = content.len();
        if size == 0 {
            let about = format!("{about}ETag: \"empty\"\r\nContent-Range: bytes */0\r\n");
            return send(stream, "416 Range Not Satisfiable", &about, b"");
        }
        let (start, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let start: usize = start.parse().unwrap();
        let end = end.parse().map_or(size, |last: usize| size.min(last + 1));
        let range = format!("Content-Range: bytes {start}-{}/{size}\r\n", end - 1);
        let about = format!("{about}ETag: \"{}\"\r\n{range}", &hash[..40]);
        let mut body = content[start..end].to_vec();
        if stored.is_some() && end == size {
            if self.corrupt.load(Ordering::SeqCst) {
                body[0] ^= 1;
            }
            let drops = |left: usize| left.checked_sub(1);
            let drop = self.drops.fetch_update(Ordering::SeqCst, Ordering::SeqCst, drops).is_ok();
            let stall = self.stalls.load(Ordering::SeqCst);
            if drop || stall {
                let length = body.len();
                let head = format!("HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\n");
                stream.write_all(format!("{head}{about}\r\n").as_bytes())?;
                stream.write_all(&body[..length / 2])?;
                while stall && self.stalls.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                return Ok(());
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

/// A hub that cannot be reached, with this cache.
pub(crate) fn unreachable_hub(cache: &Path) -> Hub {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hub = Hub::from_variables(|name| (name == "HF_HOME").then(|| "/nowhere".to_owned()));
    hub.unwrap().with_cache(cache).with_endpoint(format!("http://{closed}"))
}

/// Puts files of the commit `c1` of `repo` (`models--o--s`) into a cache.
pub(crate) fn put_into_cache(cache: &Path, repo: &str, files: &[(&str, &[u8])]) {
    let folder = cache.join(repo);
    fs::create_dir_all(folder.join("refs")).unwrap();
    fs::write(folder.join("refs/main"), "c1").unwrap();
    for (name, content) in files {
        let path = folder.join("snapshots/c1").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
