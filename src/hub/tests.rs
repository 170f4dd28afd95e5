//! Against a tiny hub on this machine.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SMALL: &[u8] = b"{\"n\": 1}";
const LARGE: &[u8] = &[7; 100_000];

/// A hub that records each request as `METHOD path authorization`.
struct Server {
    hub: Hub,
    cache: TempDir,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (record, base) = (requests.clone(), endpoint.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &base, &record);
            }
        });
        let cache = tempfile::tempdir().unwrap();
        let hub = Hub {
            endpoint,
            cache: cache.path().to_owned(),
            token: Some("hf_secret".into()),
            offline: false,
        };
        Self { hub, cache, requests }
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    fn error(&self, repo: &str, name: &str) -> String {
        self.hub.file(repo, name).unwrap_err().to_string()
    }
}

fn answer(mut stream: TcpStream, base: &str, record: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(&stream).lines().map_while(|line| line.ok());
    let first = lines.next().unwrap_or_default();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let secret = headers.iter().find_map(|line| line.strip_prefix("Authorization: "));
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    record.lock().unwrap().push(format!("{method} {path} {}", secret.unwrap_or("-")));
    let sha = format!("{:x}", Sha256::digest(LARGE));
    let about = format!("X-Repo-Commit: {COMMIT}\r\n");
    let linked = |etag: &str, to: &str| {
        format!(
            "{about}X-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: 100000\r\nLocation: {base}{to}\r\n"
        )
    };
    let (status, header, body): (&str, String, &[u8]) = match path {
        "/owner/name/resolve/main/config.json" | "/owner/name/resolve/v1/sub/config.json" => {
            ("200 OK", format!("{about}ETag: \"abc123\"\r\n"), SMALL)
        }
        "/datasets/owner/name/resolve/main/big%20file.bin" => {
            ("302 Found", linked(&sha, "/store/big"), b"")
        }
        "/owner/name/resolve/main/damaged.bin" => {
            ("302 Found", linked(&"0".repeat(64), "/store/big"), b"")
        }
        "/owner/name/resolve/main/short.bin" => ("302 Found", linked("e7a9", "/store/short"), b""),
        "/store/big" => ("200 OK", String::new(), LARGE),
        "/store/short" => ("200 OK", String::new(), SMALL),
        "/old/name/resolve/main/config.json" => (
            "307 Temporary Redirect",
            "Location: /owner/name/resolve/main/config.json\r\n".into(),
            b"",
        ),
        "/owner/gated/resolve/main/config.json" => ("401 Unauthorized", String::new(), b""),
        "/not/hub/resolve/main/config.json" => ("200 OK", String::new(), b"hello"),
        "/owner/broken/resolve/main/config.json" => ("500 Oops", String::new(), b""),
        _ => ("404 Not Found", String::new(), b""),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n");
    let _ = stream.write_all(format!("{head}{header}\r\n").as_bytes());
    if method == "GET" {
        let _ = stream.write_all(body);
    }
}

#[test]
fn a_small_file_is_fetched_once_into_the_shared_layout() {
    let server = Server::start();
    let path = server.hub.file("owner/name", "config.json").unwrap();
    let folder = server.cache.path().join("models--owner--name");
    assert_eq!(path, folder.join("snapshots").join(COMMIT).join("config.json"));
    assert_eq!(fs::read(&path).unwrap(), SMALL);
    assert_eq!(fs::read(folder.join("blobs/abc123")).unwrap(), SMALL);
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let asked = server.requests();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked.iter().all(|request| request.ends_with("config.json Bearer hf_secret")));

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

#[test]
fn a_large_file_follows_the_redirect_and_is_checked() {
    let server = Server::start();
    let paths = server.hub.files("datasets/owner/name", &["big file.bin"]).unwrap();
    assert!(paths[0].starts_with(server.cache.path().join("datasets--owner--name")));
    assert_eq!(fs::read(&paths[0]).unwrap(), LARGE);
}

#[test]
fn what_is_not_as_announced_is_refused_and_not_kept() {
    let server = Server::start();
    let error = server.error("owner/name", "damaged.bin");
    assert!(error.contains("expected SHA-256 000000") && error.contains("try again"), "{error}");
    let error = server.error("owner/name", "short.bin");
    assert!(error.contains("expected 100000 bytes, found 8"), "{error}");
    let blobs = server.cache.path().join("models--owner--name/blobs");
    assert_eq!(fs::read_dir(blobs).unwrap().count(), 0);
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
