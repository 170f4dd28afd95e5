//! Fetching files into the cache.

use super::*;

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
    assert_eq!(asked.len(), 1, "{asked:?}");
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
    let not_hub = "/not/hub/resolve/main/config.json";
    server.put_body(not_hub, "200 OK", "", "hello");
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
