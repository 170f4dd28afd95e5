//! Hubs, proxies and processes that do not behave.

use std::error::Error as _;
use std::fs::File;
use std::time::Instant;

use super::*;

static STOPPED: AtomicBool = AtomicBool::new(false);

fn soon(hub: Hub) -> Hub {
    let is_stopped = || STOPPED.load(Ordering::SeqCst);
    Hub { patience: Patience { is_stopped, ..hub.patience.clone() }, ..hub }
}

#[test]
fn a_hub_that_never_answers_is_given_up_in_words() {
    let server = Server::start();
    server.silence("/");
    let error = server.impatient().file("owner/name", "config.json").unwrap_err();
    let words = error.source().unwrap();
    assert!(words.is::<std::io::Error>() && error.to_string().ends_with(&words.to_string()));
    assert!(matches!(words.source().unwrap().downcast_ref(), Some(ureq::Error::Timeout(_))));
    let error = error.to_string();
    assert!(error.starts_with(&format!("could not fetch {}", server.hub.endpoint)), "{error}");
    assert!(error.contains("no answer for 150ms"), "{error}");
    for way in ["HF_HUB_OFFLINE=1", "HF_ENDPOINT", "HTTPS_PROXY"] {
        assert!(error.contains(way), "{error}");
    }
    assert_eq!(server.requests().len(), 1);
    assert_eq!(fs::read_dir(server.cache.path()).unwrap().count(), 0);
}

#[test]
fn a_download_that_stalls_is_given_up_and_goes_on_later() {
    let server = Server::start();
    server.state.stalls.store(true, Ordering::SeqCst);
    let error = server.impatient().file(DATA, "big-file.bin").unwrap_err().to_string();
    assert!(error.contains("nothing arrived for 150ms"), "{error}");
    server.state.stalls.store(false, Ordering::SeqCst);
    server.requests();
    let path = server.hub.file(DATA, "big-file.bin").unwrap();
    assert_eq!(fs::read(path).unwrap(), large());
    assert!(server.requests().iter().any(|request| request.contains("bytes=50000-")));
}

#[test]
fn stop_ends_every_wait() {
    let server = Server::start();
    server.silence("/owner/silent");
    server.state.stalls.store(true, Ordering::SeqCst);
    let hub = soon(server.hub.clone());
    let other = Server::start();
    let hash = format!("{:x}", Sha256::digest(large()));
    let lock = other.cache.path().join(".locks").join(DATA_FOLDER);
    fs::create_dir_all(&lock).unwrap();
    let lock = File::create(lock.join(format!("{hash}.lock"))).unwrap();
    lock.lock().unwrap();
    let waiting = soon(other.hub.clone());
    std::thread::scope(|scope| {
        let all = [
            scope.spawn(|| hub.file("owner/silent", "config.json")),
            scope.spawn(|| hub.file(DATA, "big-file.bin")),
            scope.spawn(|| waiting.file(DATA, "big-file.bin")),
            scope.spawn(|| {
                let has = Repository::on(hub.clone(), "owner/silent").has("x");
                has.map(|_| PathBuf::new())
            }),
        ];
        std::thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        STOPPED.store(true, Ordering::SeqCst);
        for waiting in all {
            let error = waiting.join().unwrap().unwrap_err();
            assert!(matches!(error, Error::Interrupted { .. }), "{error}");
        }
        assert!(start.elapsed() < Duration::from_secs(10));
    });
    STOPPED.store(false, Ordering::SeqCst);
    server.state.stalls.store(false, Ordering::SeqCst);
    assert_eq!(fs::read(hub.file(DATA, "big-file.bin").unwrap()).unwrap(), large());
}

#[test]
fn a_second_process_waits_and_takes_the_firsts_file() {
    let server = Server::start();
    let hash = format!("{:x}", Sha256::digest(large()));
    let folder = server.cache.path().join(DATA_FOLDER).join("blobs");
    fs::create_dir_all(&folder).unwrap();
    // As hf-hub holds it; Python's is in another folder.
    let lock = File::create(folder.join(format!("{hash}.lock"))).unwrap();
    lock.lock().unwrap();
    let second = std::thread::spawn({
        let hub = server.hub.clone();
        move || hub.file(DATA, "big-file.bin")
    });
    std::thread::sleep(Duration::from_millis(250));
    assert!(!second.is_finished());
    fs::write(folder.join(&hash), large()).unwrap();
    server.requests();
    drop(lock);
    assert_eq!(fs::read(second.join().unwrap().unwrap()).unwrap(), large());
    assert!(server.requests().is_empty());
}

#[test]
fn threads_that_fetch_one_file_fetch_it_once() {
    let server = Server::start();
    std::thread::scope(|scope| {
        let hub = &server.hub;
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| hub.file(DATA, "big-file.bin"))).collect();
        for one in all {
            assert_eq!(fs::read(one.join().unwrap().unwrap()).unwrap(), large());
        }
    });
    let asked = server.requests();
    let whole = |request: &&String| request.starts_with("/store") && request.contains("bytes=0- ");
    assert_eq!(asked.iter().filter(whole).count(), 1, "{asked:?}");
}

#[test]
fn what_a_killed_process_left_does_no_harm() {
    let server = Server::start();
    let hash = format!("{:x}", Sha256::digest(large()));
    let folder = server.cache.path().join(DATA_FOLDER);
    let snapshot = folder.join("snapshots").join(COMMIT);
    fs::create_dir_all(folder.join("blobs")).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(folder.join(format!("blobs/{hash}.lock")), "").unwrap();
    fs::write(folder.join(format!("blobs/{hash}.part")), [7; 1000]).unwrap();
    std::os::unix::fs::symlink("../../blobs/gone", snapshot.join("big-file.bin")).unwrap();
    // A rest with other bytes than the file's is fetched anew.
    let path = server.hub.file(DATA, "big-file.bin").unwrap();
    assert_eq!(fs::read(path).unwrap(), large());
}

#[test]
fn redirects_and_answers_of_no_hub_are_told_in_words() {
    let server = Server::start();
    let address = "/o/s/resolve/main/x";
    let cases = [
        ("302 Found", "", "a redirect (status 302) without a Location"),
        ("302 Found", "Location: /o/s/resolve/main/x\r\n", "more than 10 redirects"),
        ("200 OK", "Content-Type: text/html; charset=utf-8\r\n", "login page"),
        ("206 Partial Content", "ETag: \"a\"\r\n", "without X-Repo-Commit"),
        ("206 Partial Content", "X-Repo-Commit: ../x\r\n", "a commit that is none"),
        ("206 Partial Content", "X-Repo-Commit: c1\r\n", "without ETag"),
        ("418 Teapot", "", "status 418"),
    ];
    for (status, headers, expected) in cases {
        server.put_answer(address, status, headers);
        let error = server.error("o/s", "x");
        assert!(error.contains(expected) && error.contains("is HF_ENDPOINT right?"), "{error}");
    }
    assert!(!server.cache.path().join("models--o--s").exists());
}

#[test]
fn closed_doors_say_who_opens_them() {
    let server = Server::start();
    let address = "/o/s/resolve/main/x";
    let cases = [
        ("403 Forbidden", "X-Error-Code: GatedRepo\r\n", "accept its terms: do so at http"),
        (
            "401 Unauthorized",
            "X-Error-Code: RepoNotFound\r\n",
            "has no repository o/s, or it is private",
        ),
        ("401 Unauthorized", "X-Error-Code: RepoNotFound\r\n", "no longer valid"),
        ("404 Not Found", "X-Error-Code: RevisionNotFound\r\n", "no branch, tag or commit `main`"),
        ("404 Not Found", "X-Error-Code: EntryNotFound\r\n", "no file of this name"),
        ("401 Unauthorized", "", "Set HF_TOKEN"),
    ];
    for (status, headers, expected) in cases {
        server.put_answer(address, status, headers);
        let error = server.error("o/s", "x");
        assert!(error.contains(expected) && error.contains("x of o/s@main"), "{error}");
    }
    let hub = Hub { token: None, ..server.hub.clone() };
    server.put_answer(address, "401 Unauthorized", "X-Error-Code: RepoNotFound\r\n");
    let error = hub.file("o/s", "x").unwrap_err().to_string();
    assert!(error.contains("set HF_TOKEN to a token that may read it"), "{error}");
}

#[test]
fn a_limit_of_requests_is_waited_for_unless_it_is_long() {
    let server = Server::start();
    let address = "/owner/name/resolve/main/config.json";
    server.put_answer(address, "429 Too Many Requests", "Retry-After: 0\r\n");
    let error = server.error("owner/name", "config.json");
    assert!(error.contains("status 429") && error.contains("HF_TOKEN"), "{error}");
    assert_eq!(server.requests().len(), 4);
    server.put_answer(address, "429 Too Many Requests", "Retry-After: 3600\r\n");
    let error = server.error("owner/name", "config.json");
    assert!(error.contains("It asks to wait 3600s"), "{error}");
    assert_eq!(server.requests().len(), 1);
    server.state.answers.lock().unwrap().remove(address);
    server.put_answer(address, "503 Service Unavailable", "");
    let second = std::thread::spawn({
        let hub = Hub {
            patience: Patience { pause: Duration::from_millis(100), ..Patience::default() },
            ..server.hub.clone()
        };
        move || hub.file("owner/name", "config.json")
    });
    while server.requests().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    server.state.answers.lock().unwrap().remove(address);
    assert_eq!(fs::read(second.join().unwrap().unwrap()).unwrap(), SMALL);
}

#[test]
fn servers_without_ranges_and_empty_files_are_served_too() {
    let server = Server::start();
    let headers = format!("X-Repo-Commit: {COMMIT}\r\nETag: W/\"whole\"\r\n");
    server.put_body("/o/s/resolve/main/whole.json", "200 OK", &headers, "[1, 2]");
    let path = server.hub.file("o/s", "whole.json").unwrap();
    assert_eq!(fs::read(path).unwrap(), b"[1, 2]");
    server.put("/o/s/resolve/main/__init__.py", Vec::new());
    let path = server.hub.file("o/s", "__init__.py").unwrap();
    assert_eq!(fs::read(path).unwrap(), b"");
}

#[test]
fn a_token_goes_to_its_hub_only() {
    let (server, other) = (Server::start(), Server::start());
    other.put("/elsewhere", SMALL.to_vec());
    let location = format!("Location: {}/elsewhere\r\n", other.state.base);
    server.put_answer("/o/s/resolve/main/x", "302 Found", &location);
    assert_eq!(fs::read(server.hub.file("o/s", "x").unwrap()).unwrap(), SMALL);
    assert!(server.requests().iter().all(|request| request.ends_with("Bearer hf_secret")));
    assert!(other.requests().iter().all(|request| request.ends_with(" -")));
}

#[test]
fn names_with_any_character_are_fetched_and_found_again() {
    let server = Server::start();
    let names = [
        "gpt2-small_L0_Hcat_z_lr1.20e-03_l11.80e+00_v9.pt",
        "sae_group_gpt2_blocks.0.hook_mlp_out_24576:v1/a.json",
        "k=32, x@2 [a](b)'s/w#1?.pt",
        "100% a%20b.bin",
        "模型/ä ✓.json",
    ];
    for name in names {
        server.put(&format!("/o/s/resolve/main/{name}"), name.as_bytes().to_vec());
        let path = server.hub.file("o/s", name).unwrap();
        assert!(path.ends_with(Path::new(name)), "{}", path.display());
        assert_eq!(fs::read(path).unwrap(), name.as_bytes());
        // Address, range, and two words of the token: nothing was left unescaped.
        assert!(server.requests().iter().all(|request| request.split(' ').count() == 4));
        assert!(server.hub.clone().offline().file("o/s", name).is_ok());
        assert!(Repository::on(server.hub.clone(), "o/s").has(name).unwrap());
        assert!(server.requests().is_empty());
    }
}

#[test]
fn a_disk_that_cannot_be_written_is_told() {
    let server = Server::start();
    let cache = server.cache.path().join("a file");
    fs::write(&cache, "").unwrap();
    let hub = server.hub.clone().with_cache(&cache);
    let error = hub.file("owner/name", "config.json").unwrap_err().to_string();
    assert!(error.contains("could not create") && error.contains("a file"), "{error}");
    assert_eq!(fs::read(&cache).unwrap(), b"");
}
