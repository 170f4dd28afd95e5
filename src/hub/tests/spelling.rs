//! Names of files with characters that addresses have other uses for.

use super::*;

const SPECIAL: [char; 34] = [
    '+', ':', ' ', '%', '#', '?', '&', '=', ';', ',', '@', '!', '$', '*', '\'', '(', ')', '[', ']',
    '{', '}', '<', '>', '|', '^', '`', '"', '~', '-', 'é', 'ß', '✓', '模', '😀',
];

/// A name by RFC 3986: every byte but those of unreserved characters and slashes as two digits.
fn escaped(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'/' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}

#[test]
fn each_special_character_is_fetched_listed_and_kept_as_it_is() {
    let server = Server::start();
    let names = SPECIAL.map(|c| format!("a{c}b/{c}c%20{c}.bin"));
    for name in &names {
        server.put(&format!("/o/s/resolve/main/{name}"), name.as_bytes().to_vec());
    }
    let repository = Repository::on(server.hub.clone(), "o/s");
    for name in &names {
        let (folder, file) = name.split_once('/').unwrap();
        assert_eq!(repository.names_in(folder).unwrap(), [file]);
        assert!(repository.has(name).unwrap() && !repository.has(&format!("{name}+")).unwrap());
        server.requests();
        let path = server.hub.file("o/s", name).unwrap();
        let snapshot = server.cache.path().join("models--o--s/snapshots").join(COMMIT);
        assert_eq!(path, snapshot.join(folder).join(file));
        assert_eq!(fs::read(path).unwrap(), name.as_bytes());
        let asked = server.requests().remove(0);
        let address = format!("/o/s/resolve/main/{} ", escaped(name));
        assert!(asked.starts_with(&address), "{asked} for {address}");
        assert_eq!(server.hub.clone().offline().file("o/s", name).unwrap(), snapshot.join(name));
    }
}

#[test]
fn redirects_of_special_characters_are_followed_as_they_are_written() {
    let server = Server::start();
    for (i, c) in SPECIAL.into_iter().enumerate() {
        let name = format!("a{c}b/c{c}.bin");
        let content = format!("{c} by redirect").into_bytes();
        server.put(&format!("/new/s/resolve/main/{name}"), content.clone());
        // A repository with another name since, and a store on another address.
        let base = if i % 2 == 0 { "" } else { &*server.state.base };
        let location = format!("Location: {base}/new/s/resolve/main/{}\r\n", escaped(&name));
        server.put_answer(&format!("/old/s/resolve/main/{name}"), "307 Moved", &location);
        let path = server.hub.file("old/s", &name).unwrap();
        assert!(path.ends_with(Path::new(&name)), "{}", path.display());
        assert_eq!(fs::read(path).unwrap(), content);
        let asked = server.requests();
        let address = format!("/new/s/resolve/main/{} ", escaped(&name));
        assert!(asked.iter().any(|request| request.starts_with(&address)), "{asked:?}");
    }
    // Large files are in a store of the hub.
    let name = "sae:v1 +50%/w#1?.bin";
    let store = format!("/store/{}", escaped(name));
    server.put(&format!("/{name}"), large());
    let hash = format!("{:x}", Sha256::digest(large()));
    let about = format!("X-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{hash}\"\r\n");
    let answer = format!("{about}Location: {store}\r\n");
    server.put_answer(&format!("/o/s/resolve/main/{name}"), "302 Found", &answer);
    assert_eq!(fs::read(server.hub.file("o/s", name).unwrap()).unwrap(), large());
}

#[test]
fn names_that_lead_elsewhere_are_refused_before_anything_is_asked() {
    let server = Server::start();
    let repository = Repository::on(server.hub.clone(), "o/s");
    let names = [
        "..",
        "../x",
        "a/../b",
        "a/..",
        ".",
        "/etc/passwd",
        "a//b",
        "a/",
        "a\\b",
        "a\0b",
        "a\nb",
        "",
    ];
    for name in names {
        let error = server.error("o/s", name);
        assert!(error.contains("the file's name"), "{error}");
        assert!(repository.has(name).is_err() && repository.read(name).is_err(), "{name:?}");
    }
    for repo in ["../s", "o/..", "o/s@../x", "o/s@a\\b", "o/s@a\0b", "o s/x", "o/s/x"] {
        assert!(server.hub.file(repo, "x.bin").is_err(), "{repo}");
    }
    assert!(server.requests().is_empty());
    assert_eq!(fs::read_dir(server.cache.path()).unwrap().count(), 0);
}
